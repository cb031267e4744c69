"""Successive halving over a launch: which cells go on, decided from finished rungs, stored, and replayed.

A rung of a cell is a pair of stages: a finetuning that ends early, and its test. A decision is made once every cell
that is still there has been tested at the rung, so it depends on results alone, never on which came first. It is stored
as `<storage>/halving/<experiment>/epoch-<E>-<digest>.json`, the digest being that of the question (rule, cells and
stage keys), and a later launch that asks the same question takes the stored answer.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from lstcl_platform import storage
from lstcl_platform.specs.cell_names import cell_id
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.halving import HalvingSpec, Standing, standings
from lstcl_platform.specs.stages import StageGraph, StageKind, Trial, hash_identity
from lstcl_platform.tracking.records import FinishedStage

_TEST: StageKind = "evaluate"
"""What ranks cells."""

Verdict = Literal["run", "wait", "drop"]
"""On a stage or a trial: it may run; the next ranking will tell; or no trial that needs it goes on."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Who goes on after a rung.

    Attributes:
        experiment: name of the experiment.
        standings: of all cells that were ranked, in the order of the study.
    """

    experiment: str
    standings: tuple[Standing, ...]

    def __str__(self) -> str:
        """``after epoch 5, 2 of 4 cells go on by val_top1: a (0.52), b (0.5); stopped: c (0.4), d (0.1)``."""
        ranked = sorted(self.standings, key=lambda standing: standing.rank)
        first = ranked[0]
        told = {
            goes_on: ", ".join(f"{s.cell} ({s.score:.4g})" for s in ranked if s.goes_on is goes_on)
            for goes_on in (True, False)
        }
        return (
            f"{self.experiment}: after epoch {first.epoch}, {first.going_on} of {first.cells} cells go on by "
            f"{first.metric}: {told[True]}" + (f"; stopped: {told[False]}" if told[False] else "")
        )


@dataclass(kw_only=True)
class _Study:
    """The cells of an experiment, and the decisions so far; a cell is its place in the order of the study."""

    experiment: str
    spec: HalvingSpec
    cells: list[str] = field(default_factory=list)
    seeds: list[list[str]] = field(default_factory=list)
    rungs: list[dict[int, Standing]] = field(default_factory=list)
    looked_up: bool = False

    @property
    def alive(self) -> list[int]:
        """Cells that no decision has stopped."""
        last = self.rungs[-1] if self.rungs else None
        return [
            cell for cell in range(len(self.cells)) if last is None or (cell in last and last[cell].goes_on)
        ]

    @property
    def next_epoch(self) -> int | None:
        """Epoch of the first rung without a decision."""
        epochs = self.spec.after_epochs
        return epochs[len(self.rungs)] if len(self.rungs) < len(epochs) else None


class Halving:
    """Knows of every stage of a launch whether successive halving lets it run.

    Args:
        graph: all stages of the launch.
        trials: all its trials; those without a rule are never stopped.
        folder: folder or URI where decisions are stored.
    """

    def __init__(self, graph: StageGraph, trials: Iterable[Trial], *, folder: str) -> None:
        self._graph = graph
        self._folder = folder
        self._studies: dict[str, _Study] = {}
        self._place: dict[str, tuple[_Study, int]] = {}
        places: dict[tuple[str, str, str], int] = {}
        for trial in trials:
            if trial.halving is None:
                continue
            new = _Study(experiment=trial.experiment, spec=trial.halving)
            study = self._studies.setdefault(trial.experiment, new)
            identity = cell_id(trial.experiment, trial.name, trial.cell)
            cell = places.setdefault(identity, len(study.cells))
            if cell == len(study.cells):
                study.cells.append(identity[1])
                study.seeds.append([])
            name = f"{trial.experiment}/{trial.name}"
            study.seeds[cell].append(name)
            self._place[name] = study, cell

    def settle(self, finished: Mapping[str, FinishedStage]) -> list[Decision]:
        """Make, or take from storage, every decision that can be made by now; returns the new ones.

        Raises:
            UserError: a stored decision cannot be read.
            StorageError: storage is away.
        """
        made = []
        for study in self._studies.values():
            while (found := self._decide(study, finished)) is not None:
                study.rungs.append(dict(zip(study.alive, found, strict=True)))
                study.looked_up = False
                made.append(Decision(experiment=study.experiment, standings=found))
        return made

    def decisions(self, experiment: str) -> list[Decision]:
        """All decisions of an experiment so far, in order."""
        study = self._studies.get(experiment)
        rungs = study.rungs if study is not None else []
        return [Decision(experiment=experiment, standings=tuple(rung.values())) for rung in rungs]

    def verdict(self, key: str) -> Verdict:
        """Whether stage `key` may run: it may as soon as one trial that needs it lets it."""
        found = {
            self._verdict_of(trial, self._rungs_before(trial, key))
            for trial in self._graph.stages[key].trials
        }
        return "run" if "run" in found or not found else "wait" if "wait" in found else "drop"

    def verdict_on(self, trial: str) -> Verdict:
        """Whether the trial ``experiment/trial`` goes to its end."""
        place = self._place.get(trial)
        return "run" if place is None else self._verdict_of(trial, len(place[0].spec.after_epochs))

    def standing(self, trial: str) -> Standing | None:
        """Where the cell of a trial stood when it was last ranked."""
        if trial not in self._place:
            return None
        study, cell = self._place[trial]
        return next((rung[cell] for rung in reversed(study.rungs) if cell in rung), None)

    def lost_with(self, key: str) -> list[str]:
        """Stages that cannot run once stage `key` has failed: its descendants, and what waits for a ranking of them.

        A cell that fails is not ranked last: what made it fail (a full disk, say) must not decide who goes on.
        """
        lost = {key: None}
        while True:
            more = [other for other in self._graph.stages if other not in lost and self._is_lost(other, lost)]
            if not more:
                return [other for other in lost if other != key]
            lost |= dict.fromkeys(more)

    def _is_lost(self, key: str, lost: Collection[str]) -> bool:
        stage = self._graph.stages[key]
        if any(needed in lost for needed in stage.needs):
            return True
        return bool(stage.trials) and all(self._waits_in_vain(trial, key, lost) for trial in stage.trials)

    def _waits_in_vain(self, trial: str, key: str, lost: Collection[str]) -> bool:
        if self._verdict_of(trial, self._rungs_before(trial, key)) != "wait":
            return False
        study, _ = self._place[trial]
        return any(test in lost for tests in self._tests(study) for test in tests)

    def _verdict_of(self, trial: str, rungs: int) -> Verdict:
        if rungs == 0:
            return "run"
        study, cell = self._place[trial]
        for rung in study.rungs[:rungs]:
            if not rung[cell].goes_on:
                return "drop"
        return "run" if rungs <= len(study.rungs) else "wait"

    def _rungs_before(self, trial: str, key: str) -> int:
        """How many rankings a trial must have passed before it lets a stage of its chain run."""
        if trial not in self._place:
            return 0
        chain = self._graph.chains[trial]
        before = (self._graph.stages[other] for other in chain[: chain.index(key)])
        return sum(stage.until is not None and stage.kind == _TEST for stage in before)

    def _tests(self, study: _Study) -> list[list[str]]:
        """Of each cell that is still there, the stages that test its seeds at the next rung."""
        epoch = study.next_epoch

        def test_of(trial: str) -> str:
            stages = (self._graph.stages[key] for key in self._graph.chains[trial])
            return next(stage.key for stage in stages if stage.kind == _TEST and stage.until == epoch)

        return [[test_of(trial) for trial in study.seeds[cell]] for cell in study.alive]

    def _decide(self, study: _Study, finished: Mapping[str, FinishedStage]) -> tuple[Standing, ...] | None:
        """The next decision of a study, or None while a result is missing."""
        epoch, rule = study.next_epoch, study.spec
        if epoch is None:
            return None
        tests, names = self._tests(study), [study.cells[cell] for cell in study.alive]
        question = {
            "after_epoch": epoch,
            "keep": rule.keep,
            "metric": rule.metric,
            "cells": [{"cell": name, "tests": keys} for name, keys in zip(names, tests, strict=True)],
        }
        location = self._location(study.experiment, epoch, question)
        if not study.looked_up:
            study.looked_up = True
            if (stored := _read(location)) is not None:
                return stored
        if not all(key in finished for keys in tests for key in keys):
            return None
        scores = [[finished[key].metrics[rule.measured] for key in keys] for keys in tests]
        found = standings(rule, epoch=epoch, cells=list(zip(names, scores, strict=True)))
        content = {"question": question, "standings": [asdict(standing) for standing in found]}
        storage.write_bytes(location, json.dumps(content, indent=1).encode())
        return found

    def _location(self, experiment: str, epoch: int, question: Mapping[str, Any]) -> str:
        return storage.join(self._folder, experiment, f"epoch-{epoch}-{hash_identity(question)[:16]}.json")


def _read(location: str) -> tuple[Standing, ...] | None:
    if not storage.exists(location):
        return None
    try:
        return tuple(Standing(**fields) for fields in json.loads(storage.read_bytes(location))["standings"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{location}: this decision of successive halving cannot be read ({error}); without the file it is made "
            "again, from the same results"
        ) from error
