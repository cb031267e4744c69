"""Where and with what a study runs: nothing here changes what a result means."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from lstcl_platform.specs.base import PositiveInt, Relation, Spec


class ResourcesSpec(Spec):
    """What one stage takes from the cluster, and how many stages run at once."""

    workers: PositiveInt = 1
    """Training processes a stage."""
    gpus_per_worker: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """GPUs a training process; `auto` is 1 when the cluster can have GPUs and 0 otherwise."""
    cpus_per_worker: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """CPUs reserved for a training process (not for decoding)."""
    threads_per_worker: PositiveInt = 1
    """Torch threads of a training process on CPU; part of the numerics fingerprint."""
    compile: bool = False
    """Compile each block of the backbone with torch.compile; needs a C++ compiler on every node, on a GPU Triton
    (which comes with torch). Part of the numerics fingerprint."""
    checkpoint_activations: bool = False
    """Keep only the input of each block for the backward pass, which computes the rest a second time: about a third
    more arithmetic, a fraction of the memory, the same bits."""
    peak_tflops: Annotated[float, Field(gt=0)] | None = None
    """What one worker's device can do at the stage's precision, in 10^12 operations a second (H100 SXM in bf16:
    989); pretraining then logs the model FLOP utilisation. Null leaves it out."""
    evaluate_batch_size: PositiveInt = 16
    """Videos a worker scores at once in `evaluate`."""
    max_concurrent_stages: PositiveInt | Literal["auto"] = "auto"
    """Stages that may run at the same time; `auto` is what the cluster holds."""
    collective_timeout_minutes: Annotated[float, Field(gt=0)] = 10.0
    """How long a worker waits within a step for the others, and how long a stage's only worker may take for a step,
    waits for data and storage apart (or five times its slowest step so far, if that is longer; six times this for the
    first). Then the attempt is given up and tried again, and the slow worker and its node are named; after half that
    time every worker that stands still writes its stacks to its log."""
    max_failures: int = Field(default=2, ge=0)
    """Further attempts after a stage fails, counted from its newest checkpoint: a failure after progress starts the
    count again, so a long stage outlives any number of lost nodes. Preemptions do not count."""


class CheckpointSpec(Spec):
    """When training state is saved, and how much of it is kept."""

    every_steps: PositiveInt | None = None
    """Optimizer steps between two checkpoints; null is once an epoch."""
    every_minutes: Annotated[float, Field(gt=0)] | None = 15.0
    """Minutes after which a checkpoint is due even if no such step has come, asked when a row is logged
    (`tracking.log_every_steps`); null leaves it to the steps."""
    keep: PositiveInt = 2
    """Newest checkpoints kept of an unfinished stage."""


class StorageSpec(Spec):
    """Where checkpoints and prepared files go."""

    path: str = "lstcl_runs"
    """Folder or URI (`s3://`, `gs://`); a relative path counts from the working directory."""
    shared: bool | None = None
    """Whether every node sees `path`; null judges by its kind of file system, which FUSE and some others hide."""


class TrackingSpec(Spec):
    """Where MLflow keeps runs."""

    uri: str | None = None
    """MLflow tracking URI; null is MLFLOW_TRACKING_URI or else SQLite inside `storage.path`."""
    patience_minutes: Annotated[float, Field(ge=0)] = 15.0
    """How long the store, or `storage.path`, may be away before a launch writes checkpoints and stops; until then
    training goes on, and what it logs is kept and written once it is back."""
    log_every_steps: PositiveInt = 10
    """Optimizer steps between two logged rows of metrics."""
    profile_steps: tuple[PositiveInt, PositiveInt] | None = None
    """First and last step of pretraining and finetuning that rank 0 profiles, such as [10, 13]; the trace lands beside
    the checkpoints and in MLflow, and opens in Perfetto. Null profiles nothing."""

    def broken_relations(self) -> Iterator[Relation]:
        """The first profiled step does not come after the last."""
        if self.profile_steps is not None and self.profile_steps[0] > self.profile_steps[1]:
            first, last = self.profile_steps
            yield Relation(
                fields=("profile_steps",),
                text=f"profile_steps must be a first and a last step, not [{first}, {last}]",
            )
