"""From what a person calls a run to the weights that it left, and how they were tested."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import yaml

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.stages import TESTS
from lstcl_platform.specs.trained import TrainedSpec
from lstcl_platform.specs.training import EvaluateSpec
from lstcl_platform.specs.wording import numbered
from lstcl_platform.tracking.launch_runs import LaunchRuns
from lstcl_platform.tracking.records import TrialResult
from lstcl_platform.tracking.stage_runs import CLASSES
from lstcl_platform.tracking.store import STAGES

BEST = "best"
"""`EXPERIMENT/best`: its finished trial with the best result."""

_SHORTEST_PREFIX = 6
_TRAINED = {"finetune": "evaluate", "pretrain": "probe"}
"""Stages that leave weights -> the stage that tests them; what a trial stands for comes first."""
_DECIDING = ("top1", "linear_top1", "knn_top1")


@dataclass(frozen=True, kw_only=True)
class TrainedWeights:
    """Weights of a finished stage.

    Attributes:
        spec: what they are and how they were tested.
        run_id: MLflow run of the stage.
        weights: URI of the safetensors file.
        sha256: its digest.
        metrics: of the test, or of the training where there was no test.
    """

    spec: TrainedSpec
    run_id: str
    weights: str
    sha256: str
    metrics: Mapping[str, float]


class TrainedRuns(LaunchRuns):
    """The part of the tracking store that finds weights."""

    def trained_weights(self, name: str) -> TrainedWeights:
        """Weights by the MLflow run id of a stage, the first digits of its key, or `experiment/trial`.

        A trial stands for its finetuning, or its pretraining if it has no other; an evaluation or a probe for
        the stage that it scored; the trial `best` for the finished one with the highest top-1.

        Raises:
            UserError: nothing or several things are called so, or there are no weights yet.
        """
        run, test = self._trained_run(name)
        if run.data.tags.get("lstcl.kind") in TESTS:
            run, test = self._newest(run.data.tags.get("lstcl.parent_key", ""), asked=name), run
        tags = run.data.tags
        if run.info.status != "FINISHED" or not tags.get("lstcl.weights"):
            raise UserError(f"{name}: its {tags.get('lstcl.kind')} is not finished, so it has no weights yet")
        test = test or self._test_of(tags["lstcl.stage_key"])
        return TrainedWeights(
            spec=self._spec_of(run, test),
            run_id=run.info.run_id,
            weights=tags["lstcl.weights"],
            sha256=tags.get("lstcl.weights_sha256", ""),
            metrics=(test or run).data.metrics,
        )

    def _spec_of(self, run: Any, test: Any | None) -> TrainedSpec:
        """What the stage `run` trained, tested as `test` was, or as the paper tests where it is None."""
        kind = run.data.tags["lstcl.kind"]
        own = self._identity(run)
        views: dict[str, Any] = {"stride": own.get("finetune", {}).get("stride", 8)}
        indexing = own.get("finetune", {}).get("indexing", "exact")
        if test is not None:
            block = self._identity(test)[test.data.tags["lstcl.kind"]]
            indexing = block.get("indexing", indexing)
            views = {name: block[name] for name in EvaluateSpec.model_fields if name in block}
            views = {name: value for name, value in views.items() if name not in ("knn", "linear")}
        return TrainedSpec(
            key=run.data.tags["lstcl.stage_key"],
            kind=kind,
            model=ModelSpec.model_validate({**own["model"], "init": None}),
            classes=self._classes(run.info.run_id) if kind == "finetune" else None,
            target_fps=own["data"]["target_fps"],
            short_videos=own["data"]["short_videos"],
            stride=views["stride"],
            evaluate=EvaluateSpec.model_validate(views),
            indexing=indexing,
        )

    def _identity(self, run: Any) -> dict[str, Any]:
        identity: dict[str, Any] = yaml.safe_load(self._read_text(run.info.run_id, "resolved.yaml"))[
            "identity"
        ]
        return identity

    def _classes(self, run_id: str) -> tuple[str, ...] | None:
        """Names of the labels that a finetuning learned; None where an early version did not keep them."""
        if not any(found.path == CLASSES for found in self._client.list_artifacts(run_id)):
            return None
        return tuple(json.loads(self._read_text(run_id, CLASSES)))

    def _test_of(self, key: str) -> Any | None:
        """The newest finished test of the stage `key`, else the newest that has begun, else None."""
        stages = self._experiment(STAGES)
        query = f"tags.`lstcl.parent_key` = '{key}'"
        runs = [] if stages is None else list(self._search([stages], query))
        runs = [run for run in runs if run.data.tags.get("lstcl.kind") in TESTS]
        return next((run for run in runs if run.info.status == "FINISHED"), next(iter(runs), None))

    def _trained_run(self, name: str) -> tuple[Any, Any | None]:
        """The stage run that `name` means, and the run of its own test where `name` says which."""
        experiment, slash, trial = name.partition("/")
        if slash:
            trained, tested = self._stages_of(experiment, trial)
            known = self._runs_of([tested]) if tested else iter(())
            return self._newest(trained, asked=name), next((run for _, run in known), None)
        stages = self._experiment(STAGES)
        runs = [] if stages is None else list(self._search([stages], f"attributes.run_id = '{name}'"))
        if not runs and len(name) >= _SHORTEST_PREFIX and set(name) <= set("0123456789abcdef"):
            return self._newest(name, asked=name), None
        if not runs:
            raise UserError(
                f"{name}: neither the id of a stage's run, nor the first {_SHORTEST_PREFIX} or more digits of a "
                f"stage's key, nor EXPERIMENT/TRIAL, nor EXPERIMENT/{BEST}"
            )
        return runs[0], None

    def _stages_of(self, experiment: str, trial: str) -> tuple[str, str | None]:
        """Keys of the stage that a trial stands for, and of its test if it has one."""
        trials = {found.name: found for found in self.trial_results(experiment)}
        if trial == BEST and BEST not in trials:
            trial = _best(experiment, list(trials.values())).name
        if trial not in trials:
            near = get_close_matches(trial, trials, n=1, cutoff=0.3)
            hint = f"did you mean {experiment}/{near[0]}?" if near else f"there are: {', '.join(trials)}"
            raise UserError(f"{experiment} has no trial {trial!r}; {hint}")
        keys = {stage.kind: stage.key for stage in trials[trial].stages}
        for kind, test in _TRAINED.items():
            if kind in keys:
                return keys[kind], keys.get(test)
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


def _best(experiment: str, trials: list[TrialResult]) -> TrialResult:
    """The finished trial with the highest top-1; of equal ones the first."""
    for metric in _DECIDING:
        scored = [trial for trial in trials if trial.status == "finished" and metric in trial.metrics]
        if scored:
            return max(scored, key=lambda trial: trial.metrics[metric])
    raise UserError(
        f"{experiment}: none of its {numbered(len(trials), 'trial')} has a result yet, so none is the best"
    )
