"""What the three stages do: pretrain, finetune, evaluate. Defaults are the paper's settings."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from lstcl_platform.specs.base import Fraction, PositiveInt, Precision, Relation, Seed, Spec
from lstcl_platform.specs.frameworks import FrameworkSpec, MoCoV3Spec
from lstcl_platform.specs.probes import KnnSpec, LinearProbeSpec

Indexing = Literal["exact", "linspace"]
StrideSet = Annotated[tuple[PositiveInt, ...], Field(min_length=2)]
Timing = PositiveInt | Literal["segments"]
"""How the T frames of a labelled clip lie in the video: a stride, or one in each of T equal segments (TSN)."""


def clip_span(*, frames: int, stride: int, indexing: Indexing) -> int:
    """Time-grid positions from a clip's first to its last frame, both counted (linspace: T * stride)."""
    return (frames - 1) * stride + 1 if indexing == "exact" else frames * stride


def _disordered_ranges(**ranges: tuple[float, float]) -> Iterator[Relation]:
    """Yield a relation for every range that is not an increasing pair of positive numbers."""
    for name, (low, high) in ranges.items():
        if low > high or low <= 0:
            yield Relation(
                fields=(name,),
                text=f"{name} must be an increasing pair of positive numbers, not [{low}, {high}]",
            )


def _shown(strides: tuple[int, ...]) -> str:
    return str(strides[0]) if len(strides) == 1 else str(list(strides))


def _warmup_too_long(warmup_epochs: float, epochs: int) -> Relation:
    return Relation(
        fields=("warmup_epochs", "epochs"),
        text=f"warmup_epochs ({warmup_epochs:g}) must be below epochs ({epochs})",
    )


class ClipPairSpec(Spec):
    """How the short and the long clip of one video are cut (paper, Section 4)."""

    short_stride: PositiveInt | StrideSet = 8
    """tau_S: time-grid frames between two frames of the short clip. A list is a set to draw from for every
    sample (Table 1), jointly with tau_L: each pair with tau_S <= tau_L is equally likely."""
    long_stride: PositiveInt | StrideSet = 32
    """tau_L: the same for the long clip; at least tau_S."""
    sampling: Literal["random_independent", "random_included", "random_disjoint"] = "random_independent"
    """How the two start times relate (Table 2): not at all; the short clip inside the long one's extent, which
    is drawn first; or no overlap, each such pair of starts equally likely."""
    if_not_disjoint: Literal["least_overlap", "independent"] = "least_overlap"
    """What `random_disjoint` does where a video is too short for both clips: put them at its two ends, in
    random order, or draw them independently. Either way they are counted as `pairs_not_disjoint`."""
    indexing: Indexing = "exact"
    """`exact`: frame i at start + i * stride. `linspace`: T frames spread over T * stride, as in SlowFast."""

    @property
    def short_strides(self) -> tuple[int, ...]:
        """All that tau_S may be, ascending."""
        return (self.short_stride,) if isinstance(self.short_stride, int) else self.short_stride

    @property
    def long_strides(self) -> tuple[int, ...]:
        """All that tau_L may be, ascending."""
        return (self.long_stride,) if isinstance(self.long_stride, int) else self.long_stride

    def broken_relations(self) -> Iterator[Relation]:
        """tau_S <= tau_L for every stride in some pair; sets are ascending."""
        short, long = self.short_strides, self.long_strides
        for name, strides in (("short_stride", short), ("long_stride", long)):
            if list(strides) != sorted(set(strides)):
                yield Relation(
                    fields=(name,), text=f"a set of strides must be ascending, not {_shown(strides)}"
                )
                return
        if short[-1] > long[-1]:
            yield Relation(
                fields=("short_stride", "long_stride"),
                text=f"short_stride ({short[-1]}) must not exceed long_stride ({long[-1]}): "
                "the short clip is matched to a clip that covers at least as much time",
            )
        elif long[0] < short[0]:
            yield Relation(
                fields=("short_stride", "long_stride"),
                text=f"long_stride {long[0]} can never be drawn: no short_stride of {_shown(short)} is as small",
            )


class PretrainAugmentSpec(Spec):
    """Clip augmentation of the paper's reference [19]; one draw a clip, independent between the two views."""

    crop_area: tuple[Fraction, Fraction] = (0.2, 0.766)
    """Range of the random crop's share of the frame area."""
    crop_aspect: tuple[float, float] = (0.75, 1.3333)
    """Range of the random crop's width / height."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip."""
    jitter: Fraction = 0.8
    """Probability of colour jitter."""
    brightness: float = Field(default=0.6, ge=0)
    """Largest relative change of brightness."""
    contrast: float = Field(default=0.6, ge=0)
    """Largest relative change of contrast."""
    saturation: float = Field(default=0.6, ge=0)
    """Largest relative change of saturation."""
    hue: float = Field(default=0.15, ge=0, le=0.5)
    """Largest shift of hue, in turns of the colour circle."""
    jitter_order: Literal["random", "fixed"] = "random"
    """Order of brightness, contrast, saturation and hue: `random` draws one a clip, as torchvision's ColorJitter."""
    grayscale: Fraction = 0.2
    """Probability of turning the clip grey."""
    blur: Fraction = 0.5
    """Probability of a Gaussian blur."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Range of the blur's sigma in pixels."""

    def broken_relations(self) -> Iterator[Relation]:
        """Ranges run from low to high and are above 0."""
        yield from _disordered_ranges(
            crop_area=self.crop_area, crop_aspect=self.crop_aspect, blur_sigma=self.blur_sigma
        )


class PretrainSpec(Spec):
    """Self-supervised pretraining on pairs of clips; no label is read."""

    framework: FrameworkSpec = MoCoV3Spec()
    """Contrastive framework: heads, loss and momentum rule around the backbone."""
    clips: ClipPairSpec = ClipPairSpec()
    """Strides and sampling of the two views."""
    augment: PretrainAugmentSpec = PretrainAugmentSpec()
    """Augmentation of each view."""
    epochs: PositiveInt = 200
    """Passes over the training videos."""
    warmup_epochs: float = Field(default=40.0, ge=0)
    """Epochs of linear warm-up from 0."""
    batch_size: PositiveInt = 512
    """Videos a step over all workers (global batch)."""
    contrast_batch: PositiveInt | None = None
    """Videos that negatives and BatchNorm see together: batch_size, or batch_size / accumulation_steps; null is
    batch_size."""
    accumulation_steps: PositiveInt = 1
    """Pieces in which a step's batch passes the backbone, to save memory. With the whole batch as contrast_batch every
    piece passes it twice forward, once more than else, and the loss stays that of the whole batch; with
    batch_size / accumulation_steps each piece is a batch of its own to negatives and BatchNorm."""
    lr_base: float = Field(default=1.5e-4, gt=0)
    """Learning rate at batch 256; scaled by batch_size / 256."""
    weight_decay: float = Field(default=0.1, ge=0)
    """AdamW weight decay, on all parameters as in MoCo v3."""
    drop_path: Fraction = 0.0
    """Largest stochastic-depth rate."""
    precision: Precision = "bf16"
    """Arithmetic of forward and backward; fp16 uses a gradient scaler."""
    seed: Seed = 0
    """Seed of initialisation, sample order, clips and augmentation."""

    def broken_relations(self) -> Iterator[Relation]:
        """Warm-up ends before training does; accumulation divides the batch and says what it costs."""
        if self.warmup_epochs >= self.epochs:
            yield _warmup_too_long(self.warmup_epochs, self.epochs)
        if self.batch_size % self.accumulation_steps:
            yield Relation(
                fields=("batch_size", "accumulation_steps"),
                text=f"batch_size ({self.batch_size}) is not divisible by accumulation_steps "
                f"({self.accumulation_steps})",
            )
            return
        seen = self.batch_size // self.accumulation_steps
        if self.effective_contrast_batch not in (self.batch_size, seen):
            yield Relation(
                fields=("contrast_batch", "batch_size", "accumulation_steps"),
                text=f"with batch_size {self.batch_size} and accumulation_steps {self.accumulation_steps} "
                f"negatives and BatchNorm see {self.batch_size} videos or {seen}, "
                f"not {self.effective_contrast_batch}",
            )

    @property
    def effective_contrast_batch(self) -> int:
        """Videos that negatives and BatchNorm statistics are taken over."""
        return self.batch_size if self.contrast_batch is None else self.contrast_batch

    @property
    def contrasts(self) -> int:
        """Losses a step, each of one contrast batch."""
        return self.batch_size // self.effective_contrast_batch


class FinetuneAugmentSpec(Spec):
    """Augmentation of a labelled training clip; every draw holds for all its frames."""

    crop_area: tuple[Fraction, Fraction] = (0.08, 1.0)
    """Range of the random crop's share of the frame area."""
    crop_aspect: tuple[float, float] = (0.75, 1.3333)
    """Range of the random crop's width / height."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip."""
    randaugment_ops: int = Field(default=4, ge=0)
    """RandAugment operations a clip, each applied with probability 1/2 (timm's `rand-n`); 0 is none."""
    randaugment_magnitude: int = Field(default=7, ge=0, le=10)
    """Their mean strength, of 10 (timm's `rand-m`, with strength rising with it: `inc1`)."""
    randaugment_spread: float = Field(default=0.5, ge=0)
    """Standard deviation of their strength (timm's `rand-mstd`)."""
    erasing: Fraction = 0.0
    """Probability that a box of the clip becomes noise; DeiT and VideoMAE use 0.25."""

    def broken_relations(self) -> Iterator[Relation]:
        """Ranges run from low to high and are above 0."""
        yield from _disordered_ranges(crop_area=self.crop_area, crop_aspect=self.crop_aspect)


class FinetuneSpec(Spec):
    """Supervised training of backbone and classifier, from a pretraining or from scratch.

    The paper states 200 epochs and the stride; the rest is the recipe that DeiT, MoCo v3 and VideoMAE share.
    """

    stride: Timing = 8
    """tau: time-grid frames between two frames of the clip; `segments` takes a random frame of each of T equal
    parts of the video (TSN), as is usual for Something-Something."""
    indexing: Indexing = "exact"
    """As in `pretrain.clips.indexing`, for strides; evaluation takes it over."""
    augment: FinetuneAugmentSpec = FinetuneAugmentSpec()
    """Augmentation of the clip."""
    epochs: PositiveInt = 200
    """Passes over the labelled videos."""
    warmup_epochs: float = Field(default=5.0, ge=0)
    """Epochs of linear warm-up from 0."""
    batch_size: PositiveInt = 256
    """Videos a step over all workers (global batch)."""
    lr_base: float = Field(default=5e-4, gt=0)
    """Learning rate at batch 512; scaled by batch_size / 512."""
    weight_decay: float = Field(default=0.05, ge=0)
    """AdamW weight decay; none on biases, norms and position tables."""
    layer_decay: float = Field(default=0.75, gt=0, le=1)
    """Each layer learns at this share of the rate of the one above it; not from scratch, where all are new."""
    label_smoothing: Fraction = 0.1
    """Share of the target spread over all classes."""
    mixup: float = Field(default=0.8, ge=0)
    """Alpha of mixup's Beta distribution; 0 is no mixup."""
    cutmix: float = Field(default=1.0, ge=0)
    """Alpha of cutmix's Beta distribution; 0 is no cutmix."""
    mix_probability: Fraction = 1.0
    """Probability that a pair of clips is mixed."""
    cutmix_share: Fraction = 0.5
    """Share of cutmix in the mixed pairs where mixup is on too."""
    drop_path: Fraction | None = None
    """Largest stochastic-depth rate; null is 0.2, for TimeSformer 0.1."""
    head_dropout: Fraction = 0.0
    """Dropout before the classifier."""
    labels_per_class: PositiveInt | None = None
    """Train on this many labelled videos a class (a fixed draw by `seed`); null uses all."""
    precision: Precision = "bf16"
    """Arithmetic of forward and backward."""
    seed: Seed = 0
    """Seed of the classifier's initialisation, sample order, clips and augmentation."""

    def broken_relations(self) -> Iterator[Relation]:
        """Warm-up ends before training does."""
        if self.warmup_epochs >= self.epochs:
            yield _warmup_too_long(self.warmup_epochs, self.epochs)

    @property
    def mixes(self) -> bool:
        """Whether clips are mixed in pairs."""
        return (self.mixup > 0 or self.cutmix > 0) and self.mix_probability > 0


Protocol = Literal["finetuned", "knn", "linear"]
FrozenProtocol = Literal["knn", "linear"]


class EvaluateSpec(Spec):
    """Test protocols on uniform clips; the paper's (Section 4) averages the finetuned classifier's softmax scores
    over 5 clips, centre crop."""

    protocols: tuple[Protocol, ...] = Field(default=("finetuned",), min_length=1)
    """What is tested: the `finetuned` classifier; `knn` and `linear` test the features of the pretrained backbone
    as they are. Without `finetuned` nothing is finetuned."""

    clips: PositiveInt = 5
    """Clips spread uniformly over each video; with `segments`, over each segment (one: its centre)."""
    stride: Timing | None = None
    """As `finetune.stride`, which null takes over."""
    crop_ratio: float = Field(default=256 / 224, ge=1)
    """The short side is resized to image_size x this before crops of image_size are taken."""
    crops: Literal[1, 3] = 1
    """Crops a clip: the centre, or also both ends of the long side (the usual n x 3 views take crop_ratio 1)."""
    precision: Precision = "fp32"
    """Arithmetic of the forward pass."""
    knn: KnnSpec = KnnSpec()
    """Settings of the protocol `knn`."""
    linear: LinearProbeSpec = LinearProbeSpec()
    """Settings of the protocol `linear`."""
    probe_epochs: tuple[PositiveInt, ...] = ()
    """Epochs of pretraining, ascending and before its last, whose weights are kept and tested by `knn` and `linear`
    too, while pretraining goes on. No part of any result's identity."""

    def broken_relations(self) -> Iterator[Relation]:
        """Each protocol once; the epochs ascend, and something tests them."""
        if len(set(self.protocols)) < len(self.protocols):
            yield Relation(fields=("protocols",), text=f"a protocol is listed twice: {list(self.protocols)}")
        if list(self.probe_epochs) != sorted(set(self.probe_epochs)):
            yield Relation(
                fields=("probe_epochs",),
                text=f"probe_epochs must be ascending, not {list(self.probe_epochs)}",
            )
        if self.probe_epochs and not self.frozen_protocols:
            yield Relation(
                fields=("probe_epochs", "protocols"),
                text="probe_epochs are tested on frozen features: add 'knn' or 'linear' to evaluate.protocols",
            )

    @property
    def frozen_protocols(self) -> tuple[FrozenProtocol, ...]:
        """Those that test frozen features, in a fixed order."""
        known: tuple[FrozenProtocol, ...] = ("knn", "linear")
        return tuple(protocol for protocol in known if protocol in self.protocols)
