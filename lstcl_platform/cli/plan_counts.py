"""How much of what some trials need is the same work: the counts behind `plan`."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lstcl_platform.specs import StageGraph
from lstcl_platform.specs.cell_names import cell_id
from lstcl_platform.specs.halving import HalvingSpec
from lstcl_platform.specs.stages import StageKind, Trial
from lstcl_platform.specs.wording import numbered

KINDS: dict[StageKind, str] = {
    "pretrain": "pretraining",
    "probe": "probe",
    "finetune": "finetuning",
    "evaluate": "evaluation",
}
"""Kinds of stages in order of execution, and what one of them is called."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Stages of some trials.

    Attributes:
        trials: number of trials.
        needed: stages of each kind, each trial's counted for itself.
        unique: of those, different ones: what is to be run.
        shared: unique stages that several of the trials need.
        shared_between_experiments: unique stages that trials of several experiments need.
        finished: unique stages whose results are there.
    """

    trials: int
    needed: Counter[StageKind]
    unique: Counter[StageKind]
    shared: Counter[StageKind]
    shared_between_experiments: Counter[StageKind]
    finished: int

    def as_json(self) -> dict[str, Any]:
        """The counts as JSON-ready values, by kind and in all."""
        tables = {
            "needed": self.needed,
            "unique": self.unique,
            "shared": self.shared,
            "shared_between_experiments": self.shared_between_experiments,
        }
        rows: dict[str, Any] = {kind: {name: table[kind] for name, table in tables.items()} for kind in KINDS}
        rows_of_all = {name: table.total() for name, table in tables.items()}
        return {"trials": self.trials, **rows, "all": rows_of_all, "finished": self.finished}

    def __str__(self) -> str:
        """``22 trials need 10 pretrainings, 22 finetunings and 22 evaluations; 3 of 54 stages are finished``."""
        needs = [numbered(self.unique[kind], word) for kind, word in KINDS.items() if self.unique[kind]]
        return (
            f"{numbered(self.trials, 'trial')} {'needs' if self.trials == 1 else 'need'} "
            f"{' and '.join(filter(None, [', '.join(needs[:-1]), needs[-1]]))}; {self.finished} of "
            f"{numbered(self.unique.total(), 'stage')} {'is' if self.finished == 1 else 'are'} finished"
        )


def halving_line(rule: HalvingSpec, trials: Sequence[Trial]) -> str:
    """``halving: of 4 cells 2 go on after epoch 5, 1 after epoch 15...``"""
    cells = len({cell_id(trial.experiment, trial.name, trial.cell) for trial in trials})
    left, parts = cells, []
    for epoch in rule.after_epochs:
        left = rule.going_on(left)
        parts.append(f"{left} after epoch {epoch}")
    return (
        f"halving: of {cells} cells {', '.join(parts)} go on, by {rule.metric}; stages behind these epochs are counted "
        "(and predicted, from the first epoch) for every cell, and run for those that go on"
    )


def probes_line(trials: Sequence[Trial]) -> str:
    """``probed on their way: pretrainings of 4 cells after epochs 20, 50...``; empty where none is."""
    probed = [trial.spec.evaluate.probe_epochs for trial in trials if trial.spec.pretrain is not None]
    epochs = sorted({epoch for each in probed for epoch in each})
    if not epochs:
        return ""
    return (
        f"probed on their way: pretrainings of {numbered(sum(map(bool, probed)), 'trial')} after epochs "
        f"{', '.join(map(str, epochs))}; each runs, and is counted, in parts that go on from one another"
    )


def count_stages(graph: StageGraph, trials: Collection[str], *, finished: Collection[str] = ()) -> Counts:
    """Count what `trials` (names ``experiment/trial``) need of `graph`; `finished` holds keys."""
    counts = Counts(
        trials=len(trials),
        needed=Counter(),
        unique=Counter(),
        shared=Counter(),
        shared_between_experiments=Counter(),
        finished=sum(key in finished for key in {key for name in trials for key in graph.chains[name]}),
    )
    chosen = frozenset(trials)
    for stage in graph.stages.values():
        users = [name for name in stage.trials if name in chosen]
        if not users:
            continue
        counts.needed[stage.kind] += len(users)
        counts.unique[stage.kind] += 1
        counts.shared[stage.kind] += len(users) > 1
        counts.shared_between_experiments[stage.kind] += len({name.split("/")[0] for name in users}) > 1
    return counts
