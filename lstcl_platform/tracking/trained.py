"""From what a person calls a run to the weights that it left."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import yaml

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.stages import TESTS
from lstcl_platform.tracking.launch_runs import LaunchRuns
from lstcl_platform.tracking.store import STAGES

_SHORTEST_PREFIX = 6


@dataclass(frozen=True, kw_only=True)
class TrainedWeights:
    """Weights of a finished stage.

    Attributes:
        key: stage key.
        kind: ``pretrain`` (of the backbone) or ``finetune`` (of the classifier).
        run_id: MLflow run of the stage.
        weights: URI of the safetensors file.
        sha256: its digest.
        model: the backbone; `init` is left out, since it no longer matters.
    """

    key: str
    kind: str
    run_id: str
    weights: str
    sha256: str
    model: ModelSpec


class TrainedRuns(LaunchRuns):
    """The part of the tracking store that finds weights."""

    def trained_weights(self, name: str) -> TrainedWeights:
        """Weights by the MLflow run id of a stage, the first digits of its key, or `experiment/trial`.

        A trial stands for its finetuning, or its pretraining if it has no other; an evaluation or a probe for
        the stage that it scored.

        Raises:
            UserError: nothing or several things are called so, or there are no weights yet.
        """
        run = self._trained_run(name)
        if run.data.tags.get("lstcl.kind") in TESTS:
            run = self._newest(run.data.tags.get("lstcl.parent_key", ""), asked=name)
        tags = run.data.tags
        if run.info.status != "FINISHED" or not tags.get("lstcl.weights"):
            raise UserError(f"{name}: its {tags.get('lstcl.kind')} is not finished, so it has no weights yet")
        identity: Mapping[str, Any] = yaml.safe_load(self._read_text(run.info.run_id, "resolved.yaml"))
        return TrainedWeights(
            key=tags["lstcl.stage_key"],
            kind=tags["lstcl.kind"],
            run_id=run.info.run_id,
            weights=tags["lstcl.weights"],
            sha256=tags.get("lstcl.weights_sha256", ""),
            model=ModelSpec.model_validate({**identity["identity"]["model"], "init": None}),
        )

    def _trained_run(self, name: str) -> Any:
        experiment, slash, trial = name.partition("/")
        if slash:
            return self._newest(self._finetuning_of(experiment, trial), asked=name)
        stages = self._experiment(STAGES)
        runs = [] if stages is None else list(self._search([stages], f"attributes.run_id = '{name}'"))
        if not runs and len(name) >= _SHORTEST_PREFIX and set(name) <= set("0123456789abcdef"):
            return self._newest(name, asked=name)
        if not runs:
            raise UserError(
                f"{name}: neither the id of a stage's run, nor the first {_SHORTEST_PREFIX} or more digits of a "
                "stage's key, nor EXPERIMENT/TRIAL"
            )
        return runs[0]

    def _finetuning_of(self, experiment: str, trial: str) -> str:
        trials = {found.name: found for found in self.trial_results(experiment)}
        if trial not in trials:
            near = get_close_matches(trial, trials, n=1, cutoff=0.3)
            hint = f"did you mean {experiment}/{near[0]}?" if near else f"there are: {', '.join(trials)}"
            raise UserError(f"{experiment} has no trial {trial!r}; {hint}")
        keys = {stage.kind: stage.key for stage in trials[trial].stages}
        for kind in ("finetune", "pretrain"):
            if kind in keys:
                return keys[kind]
        raise UserError(f"{experiment}/{trial} trains nothing, so it has no weights")

    def _newest(self, prefix: str, *, asked: str) -> Any:
        """The newest run of the one stage whose key begins with `prefix`; a finished one before any other."""
        stages = self._experiment(STAGES)
        query = f"tags.`lstcl.stage_key` LIKE '{prefix}%'"
        runs = [] if stages is None else list(self._search([stages], query))
        keys = {run.data.tags["lstcl.stage_key"] for run in runs}
        if not runs:
            raise UserError(f"{asked}: no such stage has begun")
        if len(keys) > 1:
            shown = ", ".join(sorted(key[: len(prefix) + 6] for key in keys))
            raise UserError(f"{asked}: {len(keys)} stages begin so: {shown}")
        return next((run for run in runs if run.info.status == "FINISHED"), runs[0])
