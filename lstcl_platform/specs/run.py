"""Where and with what a study runs: nothing here changes what a result means."""

from typing import Annotated, Literal

from pydantic import Field

from lstcl_platform.specs.base import PositiveInt, Spec


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
    evaluate_batch_size: PositiveInt = 16
    """Videos a worker scores at once in `evaluate`."""
    max_concurrent_stages: PositiveInt | Literal["auto"] = "auto"
    """Stages that may run at the same time; `auto` is what the cluster holds."""
    max_failures: int = Field(default=2, ge=0)
    """Further attempts after a stage fails; preemptions do not count."""


class CheckpointSpec(Spec):
    """When training state is saved, and how much of it is kept."""

    every_steps: PositiveInt | None = None
    """Optimizer steps between two checkpoints; null is once an epoch."""
    keep: PositiveInt = 2
    """Newest checkpoints kept of an unfinished stage."""


class StorageSpec(Spec):
    """Where checkpoints and prepared files go."""

    path: str = "lstcl_runs"
    """Folder or URI (`s3://`, `gs://`); a relative path counts from the working directory."""


class TrackingSpec(Spec):
    """Where MLflow keeps runs."""

    uri: str | None = None
    """MLflow tracking URI; null is MLFLOW_TRACKING_URI or else SQLite inside `storage.path`."""
    log_every_steps: PositiveInt = 10
    """Optimizer steps between two logged rows of metrics."""
