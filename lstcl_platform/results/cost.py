"""What the cells of a comparison cost at test time, as the paper's Table 4 has it beside accuracy."""

from collections.abc import Iterable
from dataclasses import replace

from lstcl_platform.models.cost import Convention, Cost, model_cost
from lstcl_platform.results.compare import CellCost, Comparison, cell_id
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.stages import Trial


def with_costs(comparison: Comparison, trials: Iterable[Trial], *, convention: Convention) -> Comparison:
    """The comparison with parameters and multiply-accumulates in each cell that one of `trials` belongs to.

    Args:
        comparison: of one or more experiments.
        trials: with their resolved settings, of the same experiments.
        convention: which products count.
    """
    counted: dict[ModelSpec, Cost] = {}
    costs: dict[tuple[str, str, str], CellCost] = {}
    for trial in trials:
        model = trial.spec.model.model_copy(update={"init": None})
        if model not in counted:
            counted[model] = model_cost(model)
        costs[cell_id(trial.experiment, trial.name, trial.cell)] = CellCost(
            convention=convention,
            parameters=counted[model].parameters,
            gmacs=counted[model].macs(convention) / 1e9,
            views=trial.spec.evaluate.clips * trial.spec.evaluate.crops,
        )
    cells = tuple(
        replace(cell, cost=costs.get(cell_id(cell.experiment, cell.name, cell.cell)))
        for cell in comparison.cells
    )
    return replace(comparison, cells=cells)
