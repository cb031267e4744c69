"""The experiment: what one YAML file says."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from lstcl_platform.specs.base import Relation, Spec
from lstcl_platform.specs.data import SYNTHETIC_FPS, DataSpec
from lstcl_platform.specs.halving import HalvingSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.run import CheckpointSpec, ResourcesSpec, StorageSpec, TrackingSpec
from lstcl_platform.specs.training import (
    EvaluateSpec,
    FinetuneSpec,
    Indexing,
    PretrainSpec,
    Timing,
    clip_span,
)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]


Published = Literal[
    "figure2", "figure3", "figure4", "table1", "table2", "table3", "table4", "table5", "table6"
]


class SweepSpec(Spec):
    """Which cells the study has: the grid and the cases, less what is excluded."""

    grid: dict[str, list[Any]] = Field(default_factory=dict)
    """Dotted field -> values; the cells are the cartesian product, last field fastest. Seeds are axes like
    any other. A value replaces the whole field, also where the field is a block."""
    cases: list[dict[str, Any]] = Field(default_factory=list)
    """Further cells beside the grid (not crossed with it), each a map of dotted field -> value. A list of
    values makes the case a small grid of its own; `name` names its trials."""
    exclude: list[dict[str, Any]] = Field(default_factory=list)
    """Cells whose resolved fields match all entries of one map are left out; a list matches any item."""
    illegal: Literal["refuse", "exclude"] = "refuse"
    """What happens to a cell that breaks a rule: an error, or left out with its reason shown."""
    halving: HalvingSpec | None = None
    """Stop the finetuning of the worse cells early; null trains all to the end."""


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

    def broken_relations(self) -> Iterator[Relation]:
        """Batches divide evenly over the workers; clips fit into videos whose length is known."""
        workers = self.resources.workers
        if self.pretrain is not None:
            share, rest = divmod(self.pretrain.batch_size, self.pretrain.accumulation_steps)
            if not rest and share % workers:
                yield Relation(
                    fields=("pretrain.batch_size", "pretrain.accumulation_steps", "resources.workers"),
                    text=f"pretrain.batch_size / pretrain.accumulation_steps ({share}) is not divisible by "
                    f"resources.workers ({workers})",
                )
        if self.finetune.batch_size % workers:
            yield Relation(
                fields=("finetune.batch_size", "resources.workers"),
                text=f"finetune.batch_size ({self.finetune.batch_size}) is not divisible by "
                f"resources.workers ({workers})",
            )
        elif self.finetune.mixes and self.finetune.batch_size // workers % 2:
            yield Relation(
                fields=("finetune.batch_size", "resources.workers", "finetune.mixup", "finetune.cutmix"),
                text=f"finetune.batch_size / resources.workers ({self.finetune.batch_size // workers}) is odd, "
                "but clips are mixed in pairs: make it even, or set finetune.mixup and finetune.cutmix to 0",
            )
        last = max(self.evaluate.probe_epochs, default=0)
        if self.pretrain is not None and last >= self.pretrain.epochs:
            yield Relation(
                fields=("evaluate.probe_epochs", "pretrain.epochs"),
                text=f"evaluate.probe_epochs come before the last epoch of pretraining, which is probed anyway: "
                f"{last} is not below pretrain.epochs ({self.pretrain.epochs})",
            )
        yield from self._clips_beyond_synthetic_videos()

    @property
    def finetune_drop_path(self) -> float:
        """Largest stochastic-depth rate of finetuning: as set, or what is usual for the backbone."""
        if self.finetune.drop_path is not None:
            return self.finetune.drop_path
        return 0.1 if self.model.name.startswith("timesformer") else 0.2

    @property
    def finetune_layer_decay(self) -> float:
        """Layer decay of finetuning: none where all layers start at random."""
        from_scratch = self.pretrain is None and self.model.init is None
        return 1.0 if from_scratch else self.finetune.layer_decay

    def clip_spans(self) -> dict[str, int]:
        """Time-grid frames that a clip covers, first to last, for each field that sets a stride."""
        strides: dict[str, tuple[Timing | None, Indexing]] = {
            "finetune.stride": (self.finetune.stride, self.finetune.indexing),
            "evaluate.stride": (self.evaluate.stride, self.finetune.indexing),
        }
        if self.pretrain is not None:
            clips = self.pretrain.clips
            strides["pretrain.clips.long_stride"] = (clips.long_strides[-1], clips.indexing)
        return {
            field: clip_span(frames=self.model.frames, stride=stride, indexing=indexing)
            for field, (stride, indexing) in strides.items()
            if isinstance(stride, int)
        }

    def sources(self) -> tuple[str, ...]:
        """Resolved paths of the data that the trial's stages read, each once."""
        data = self.data
        pretraining = () if self.pretrain is None else (data.pretraining,)
        return tuple(dict.fromkeys((data.train, data.val, *pretraining)))

    def _clips_beyond_synthetic_videos(self) -> Iterator[Relation]:
        if self.data.synthesize is None:
            return
        seconds = self.data.synthesize.seconds
        fps = SYNTHETIC_FPS if self.data.target_fps is None else self.data.target_fps
        for field, span in self.clip_spans().items():
            if span > seconds * fps:
                yield Relation(
                    fields=(field, "model.frames", "data.target_fps", "data.synthesize.seconds"),
                    text=f"{field} with model.frames {self.model.frames} gives a clip of {span / fps:.3g} s, "
                    f"longer than data.synthesize.seconds ({seconds:g})",
                )


class ExperimentSpec(TrialSpec):
    """One YAML file: the common settings, the sweep over them, and where it runs."""

    name: Name
    """Name of the study; its MLflow experiment and the argument of `status`, `compare`, `resume`."""
    description: str = ""
    """What the study asks, in a sentence or two."""
    published: Published | None = None
    """The figure or table of the LSTCL paper that the study repeats: `report` and `compare` draw it as the paper does
    and set the printed values beside. Null for a study of its own."""
    sweep: SweepSpec = SweepSpec()
    """The cells."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """When training state is saved."""
    storage: StorageSpec = StorageSpec()
    """Where checkpoints go."""
    tracking: TrackingSpec = TrackingSpec()
    """Where results go."""
