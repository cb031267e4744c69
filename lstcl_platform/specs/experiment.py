"""The experiment: what one YAML file says."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lstcl_platform.specs.base import Spec
from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.run import CheckpointSpec, ResourcesSpec, StorageSpec, TrackingSpec
from lstcl_platform.specs.training import EvaluateSpec, FinetuneSpec, PretrainSpec

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]


class SweepSpec(Spec):
    """Which cells the study has: the grid and the cases, less what is excluded."""

    grid: dict[str, list[Any]] = {}
    """Dotted field -> values; the cells are the cartesian product. Seeds are axes like any other."""
    cases: list[dict[str, Any]] = []
    """Further cells, each a map of dotted field -> value; `name` in a case names its trial."""
    exclude: list[dict[str, Any]] = []
    """Cells whose fields match all entries of one map are left out."""
    illegal: Literal["refuse", "exclude"] = "refuse"
    """What happens to a cell that breaks a rule: an error, or left out with its reason shown."""


class TrialSpec(Spec):
    """One cell, complete: a chain of pretrain (unless from scratch), finetune and evaluate."""

    data: DataSpec
    """The videos."""
    model: ModelSpec = ModelSpec()
    """Backbone and clip shape."""
    pretrain: PretrainSpec | None = PretrainSpec()
    """Self-supervised stage; null trains from scratch."""
    finetune: FinetuneSpec = FinetuneSpec()
    """Supervised stage."""
    evaluate: EvaluateSpec = EvaluateSpec()
    """Test protocol."""
    resources: ResourcesSpec = ResourcesSpec()
    """What a stage takes from the cluster."""

    @model_validator(mode="after")
    def _batches_divide(self) -> Self:
        workers = self.resources.workers
        if self.pretrain is not None:
            share = self.pretrain.batch_size // self.pretrain.accumulation_steps
            if share % workers:
                raise ValueError(
                    f"pretrain.batch_size / accumulation_steps ({share}) is not divisible by resources.workers ({workers})"
                )
        if self.finetune.batch_size % workers:
            raise ValueError(
                f"finetune.batch_size ({self.finetune.batch_size}) is not divisible by resources.workers ({workers})"
            )
        return self


class ExperimentSpec(TrialSpec):
    """One YAML file: the common settings, the sweep over them, and where it runs."""

    name: Name
    """Name of the study; its MLflow experiment and the argument of `status`, `compare`, `resume`."""
    description: str = ""
    """What the study asks, in a sentence or two."""
    sweep: SweepSpec = SweepSpec()
    """The cells."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """When training state is saved."""
    storage: StorageSpec = StorageSpec()
    """Where checkpoints go."""
    tracking: TrackingSpec = TrackingSpec()
    """Where results go."""
