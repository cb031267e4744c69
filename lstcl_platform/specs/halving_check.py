"""What successive halving asks of the cells that it ranks."""

from collections.abc import Iterator, Sequence

from lstcl_platform.specs.cell_names import cell_id
from lstcl_platform.specs.halving import HalvingSpec
from lstcl_platform.specs.problems import Problem
from lstcl_platform.specs.stages import Trial
from lstcl_platform.specs.validation import broken_rules

_HERE = ("sweep", "halving")


def halving_problems(spec: HalvingSpec, trials: Sequence[Trial]) -> Iterator[Problem]:
    """Yield what keeps `trials`, all of one experiment, from being ranked after `spec.after_epochs`."""
    for rule in broken_rules(spec):
        yield Problem(
            path=(*_HERE, *rule.path), text=rule.text, about=tuple((*_HERE, *p) for p in rule.about)
        )
    last = max(spec.after_epochs, default=0)
    short = next((trial for trial in trials if trial.spec.finetune.epochs <= last), None)
    if short is not None:
        yield Problem(
            path=(*_HERE, "after_epochs"),
            text=f"cells are ranked before finetuning ends, but cell '{short.name}' has finetune.epochs "
            f"{short.spec.finetune.epochs}: epoch {last} does not come before that",
        )
    frozen = next((trial for trial in trials if "finetuned" not in trial.spec.evaluate.protocols), None)
    if frozen is not None:
        yield Problem(
            path=_HERE,
            text=f"ranks cells by their finetuning, but evaluate.protocols of cell '{frozen.name}' has no 'finetuned'",
        )
    if len({trial.spec.data.val for trial in trials}) > 1:
        yield Problem(
            path=_HERE,
            text="ranks cells on data.val, which must be the same for all of them, but the sweep sets it",
        )
    if trials and len({cell_id(trial.experiment, trial.name, trial.cell) for trial in trials}) == 1:
        yield Problem(
            path=_HERE, text="needs two cells or more to rank; seeds are ranked together, as one cell"
        )
