"""What the tracking store answers with: plain frozen records, nothing of MLflow in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lstcl_platform.specs.experiment import ExperimentSpec
from lstcl_platform.specs.halving import Standing

Status = Literal["waiting", "running", "finished", "failed", "interrupted", "stopped"]
"""A trial that is `stopped` was given up for better ones by successive halving."""


@dataclass(frozen=True, kw_only=True)
class FinishedStage:
    """A stage whose result is there.

    Attributes:
        key: stage key.
        run_id: MLflow run.
        metrics: last value of each metric.
        weights: URI of the final weights (safetensors), or None for a stage without weights.
        weights_sha256: their digest.
        checkpoint: URI of the final checkpoint, or None.
        predictions: URI of the per-video predictions (Parquet), or None.
        state_digest: digest over model, optimizer and RNG state, or None.
        fingerprint: how the numbers were computed.
        dataset_digest: digest of the data it effectively comes from, bad videos counted; None where not recorded.
        seconds: time its attempts ran in all.
    """

    key: str
    run_id: str
    metrics: Mapping[str, float]
    weights: str | None
    weights_sha256: str | None
    checkpoint: str | None
    predictions: str | None
    state_digest: str | None
    fingerprint: Mapping[str, Any]
    dataset_digest: str | None
    seconds: float


@dataclass(kw_only=True)
class StageRun:
    """An open run of a stage; made by `Tracker.begin_stage` and handed to its other methods.

    Attributes:
        key: stage key.
        run_id: MLflow run.
        resumed: the run of an earlier attempt goes on.
        last_step: the newest step whose row is stored; 0 if none.
        seconds_before: time that earlier attempts ran.
        began_at: Unix time at which this attempt began.
    """

    key: str
    run_id: str
    resumed: bool
    last_step: int
    seconds_before: float
    began_at: float


@dataclass(frozen=True, kw_only=True)
class LaunchRun:
    """The parent run of a launch and its trial runs.

    Attributes:
        experiment: name of the experiment.
        experiment_id: MLflow experiment.
        run_id: MLflow parent run.
        resumed: an earlier launch of the same resolved spec had made it.
        trials: trial name -> MLflow run.
        chains: trial name -> stage keys.
    """

    experiment: str
    experiment_id: str
    run_id: str
    resumed: bool
    trials: Mapping[str, str]
    chains: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class StageState:
    """Where one stage of a trial stands.

    Attributes:
        key: stage key.
        kind: ``pretrain``, ``finetune`` or ``evaluate``.
        run_id: MLflow run, or None while it has never begun.
        status: where it stands.
        seconds: time its attempts ran so far.
        step: newest logged step.
        total_steps: steps in all, or None if unknown.
        attempt: number of its newest attempt; 0 while it has never begun.
        error: why it failed, or None.
        log: where its log is, or None.
        epoch: epochs of training behind what it leaves or tests; None while it has never begun, or where there is no
            such training.
        metrics: last value of each metric so far.
    """

    key: str
    kind: str
    run_id: str | None
    status: Status
    seconds: float = 0.0
    step: int = 0
    total_steps: int | None = None
    attempt: int = 0
    error: str | None = None
    log: str | None = None
    epoch: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial of the newest launch of an experiment.

    Attributes:
        experiment: name of the experiment.
        name: name of the trial.
        run_id: MLflow run.
        cell: the swept fields, dotted path -> value.
        metrics: final metrics, empty until the trial is finished.
        status: where it stands.
        stages: its stages in order; of a kind that comes several times, all but the last are rungs of successive
            halving, or the parts of a pretraining that is probed on its way.
        standing: where its cell stood when successive halving last ranked it, known once the trial has ended.
    """

    experiment: str
    name: str
    run_id: str
    cell: Mapping[str, Any]
    metrics: Mapping[str, float]
    status: Status
    stages: tuple[StageState, ...] = ()
    standing: Standing | None = None

    @property
    def final_stages(self) -> dict[str, StageState]:
        """Kind -> the stage that trains or tests to the end."""
        return {stage.kind: stage for stage in self.stages}

    @property
    def probes(self) -> dict[int, Mapping[str, float]]:
        """Epoch of pretraining -> accuracies of its finished probe; empty where only its end is probed."""
        probes = [stage for stage in self.stages if stage.kind == "probe"]
        return {
            stage.epoch: accuracies(stage.metrics)
            for stage in probes
            if len(probes) > 1 and stage.epoch is not None and stage.status == "finished"
        }


def accuracies(metrics: Mapping[str, float]) -> dict[str, float]:
    """What a test says of right answers: shares in [0, 1], such as ``top1`` or ``linear_top5``."""
    return {name: value for name, value in metrics.items() if name.endswith(("top1", "top5"))}


@dataclass(frozen=True, kw_only=True)
class LaunchState:
    """The newest launch of an experiment.

    Attributes:
        experiment: name of the experiment.
        run_id: MLflow parent run.
        status: where it stands; ``interrupted`` also when its process has not been heard of for minutes.
        began_at: Unix time of its newest start.
        heard_at: Unix time of the launcher's last sign of life.
        launches: parent runs of the experiment, that is, different resolved specs launched under this name.
        metrics: metrics of the parent run, such as baselines.
        description: what the study asks.
    """

    experiment: str
    run_id: str
    status: Status
    began_at: float
    heard_at: float
    launches: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class RecordedLaunch:
    """What the newest launch of an experiment asked for.

    Attributes:
        requested: what the user wrote, overrides in it, as YAML.
        resolved: the same with every default filled in, as YAML.
        spec: `resolved`, read back.
    """

    requested: str
    resolved: str
    spec: ExperimentSpec
