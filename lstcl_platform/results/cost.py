"""What the cells of a comparison cost at test time, as the paper's Table 4 has it beside accuracy."""

from dataclasses import replace

from lstcl_platform.models.cost import Convention, Cost, model_cost
from lstcl_platform.results.compare import CellCost, ComparedCell, Comparison
from lstcl_platform.specs.model import ModelSpec


def with_costs(comparison: Comparison, *, convention: Convention) -> Comparison:
    """The comparison with parameters and multiply-accumulates in each cell whose settings are known.

    Args:
        comparison: of one or more experiments, with settings.
        convention: which products count.
    """
    counted: dict[ModelSpec, Cost] = {}
    return replace(comparison, cells=tuple(_paid(cell, counted, convention) for cell in comparison.cells))


def _paid(cell: ComparedCell, counted: dict[ModelSpec, Cost], convention: Convention) -> ComparedCell:
    if cell.spec is None:
        return cell
    model = cell.spec.model.model_copy(update={"init": None})
    if model not in counted:
        counted[model] = model_cost(model)
    cost = CellCost(
        convention=convention,
        parameters=counted[model].parameters,
        gmacs=counted[model].macs(convention) / 1e9,
        views=cell.spec.evaluate.clips * cell.spec.evaluate.crops,
    )
    return replace(cell, cost=cost)
