"""From an experiment to the graph of stages that it needs.

A trial is a chain pretrain -> finetune -> evaluate, and pretrain -> probe where frozen features are tested. A
stage is identified by its key, a hash of everything that its result means; stages with equal keys are one stage,
across trials and across experiments.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.halving import HalvingSpec

StageKind = Literal["pretrain", "probe", "finetune", "evaluate"]

TESTS: tuple[StageKind, ...] = ("probe", "evaluate")
"""Stages that read test videos and end a trial; their metrics are the trial's."""

KEY_FORMAT = 1
"""Raised when the meaning of a stage's inputs changes (draws, loss, schedule): old results stop matching."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One legal cell of an experiment.

    Attributes:
        experiment: name of the experiment.
        name: readable name, e.g. ``short=8 long=32 seed=0``.
        cell: the swept fields, dotted path -> value.
        spec: the resolved settings of this cell.
        halving: after which epochs of finetuning the cell is ranked among those of its experiment, or None.
    """

    experiment: str
    name: str
    cell: Mapping[str, Any]
    spec: TrialSpec
    halving: HalvingSpec | None = None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The unit that is scheduled, checkpointed, cached and resumed.

    Attributes:
        kind: what it does.
        key: 64 hex digits; equal keys mean equal results.
        parent: key of the stage whose weights it starts from, or None.
        identity: what was hashed into the key (JSON-ready).
        spec: settings of the first trial that needs it; only the part in `identity` matters to the result.
        trials: names ``experiment/trial`` of all trials that need it.
        until: epochs after which a training ends before its last one, for a rung of successive halving or for a probe
            during pretraining; or after which the weights are that it tests. None for a training to the end, and its
            test.
        earlier: keys of stages that train the same for fewer epochs, from whose end this one can go on; the longest
            comes last.
    """

    kind: StageKind
    key: str
    parent: str | None
    identity: Mapping[str, Any]
    spec: TrialSpec
    trials: tuple[str, ...] = ()
    until: int | None = None
    earlier: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the stages that must be finished before it starts.

        A pretraining goes on only from where its weights are probed: past that, they could not be had any more.
        """
        before = self.earlier[-1:] if self.kind == "pretrain" else ()
        return before if self.parent is None else (self.parent, *before)

    @property
    def epoch(self) -> int | None:
        """Epochs of training behind what it leaves or tests; None for a test of weights that nothing here trained."""
        if self.kind in ("finetune", "evaluate"):
            return self.until or self.spec.finetune.epochs
        return None if self.spec.pretrain is None else self.until or self.spec.pretrain.epochs

    @property
    def short_key(self) -> str:
        """First 10 digits of the key, for people."""
        return self.key[:10]


@dataclass(frozen=True, kw_only=True)
class StageGraph:
    """Stages in an order in which parents come first, and the stages of each trial."""

    stages: Mapping[str, Stage]
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def longer(self, key: str) -> list[Stage]:
        """The stages that train the same as stage `key` for more epochs."""
        return [stage for stage in self.stages.values() if key in stage.earlier]


def hash_identity(identity: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of `identity`, as 64 hex digits."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
