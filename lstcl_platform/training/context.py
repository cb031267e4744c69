"""What a stage is given from above and what it gives back: the whole interface to whoever runs the loops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lstcl_platform.specs.run import CheckpointSpec

if TYPE_CHECKING:  # the launch process only names this interface: without torch it starts two seconds sooner
    import torch


class Reporter(Protocol):
    """Where a stage's figures go. All ranks call all methods at the same steps; rank 0's rows count."""

    def log(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Keep rows of metrics; each has `step` (1-based: steps done) and `epoch` (fractional)."""

    def progress(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """Show that `step` of `total` is done; called every step, may drop what it is told.

        `metrics` are the latest row's (empty before the first): newer ones would make the loop wait for the
        device.
        """

    def bad_video(self, problem: str) -> None:
        """Note a video that could not be used, as `<path>: <error>`."""

    def warning(self, text: str) -> None:
        """Tell the user of something that the run goes on with and that he should look at."""

    def file(self, location: str) -> None:
        """Keep a finished file of rank 0 with the run, as path or URI; the file itself stays where it is."""

    def should_stop(self, step: int) -> bool:
        """Whether to save and leave after `step` steps; the answer must be the same on all ranks."""


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """Where and under what identity a stage runs.

    Attributes:
        device: device of this rank.
        rank: number of this process, from 0.
        world_size: processes of the stage; above 1, `torch.distributed` must be initialised.
        steps_per_epoch: optimizer steps an epoch.
        attempt_dir: folder or URI `<storage>/train/<stage key>/a<N>` that this attempt alone writes to.
        resume_from: URI of a good checkpoint of this stage, or None for a fresh start.
        parent_weights: URI of the parent's final weights (safetensors), or None.
        parent_sha256: their recorded digest, which they must have; None where it is not known.
        checkpoint: when state is saved and how much is kept.
        log_every_steps: steps between two rows of metrics.
        reporter: where figures go.
        profile_steps: first and last step (1-based) that rank 0 profiles, or None.
        allow_numerics_change: go on from a checkpoint written under another numerics fingerprint.
        end_step: step after which a training ends before its schedule does; None goes to the end.
    """

    device: "torch.device"
    rank: int
    world_size: int
    steps_per_epoch: int
    attempt_dir: str
    resume_from: str | None
    parent_weights: str | None
    checkpoint: CheckpointSpec
    log_every_steps: int
    reporter: Reporter
    parent_sha256: str | None = None
    profile_steps: tuple[int, int] | None = None
    allow_numerics_change: bool = False
    end_step: int | None = None

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files."""
        return self.rank == 0


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """How a stage ended; equal on all ranks.

    Attributes:
        status: `stopped` means a checkpoint was written and the stage can go on from it.
        steps: optimizer steps done (evaluate: batches scored).
        metrics: last row of a training stage; top1, top5 and counts of evaluate.
        weights: URI of the final weights (safetensors) of a finished training stage.
        weights_digest: SHA-256 of that file.
        checkpoint: URI of the last checkpoint written or resumed from.
        predictions: URI of evaluate's Parquet file, one row a video.
        predictions_digest: SHA-256 of that file.
        state_digest: SHA-256 over model, momentum encoder, optimizer, scaler and RNG state after the last
            step.
        fingerprint: how the numbers were computed (`training.fingerprint`).
        numerics_changes: entries in which the fingerprint differed from the resumed checkpoint's; empty:
            none.
    """

    status: Literal["finished", "stopped"]
    steps: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    weights: str | None = None
    weights_digest: str | None = None
    checkpoint: str | None = None
    predictions: str | None = None
    predictions_digest: str | None = None
    state_digest: str | None = None
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    numerics_changes: tuple[str, ...] = ()
