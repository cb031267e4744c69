"""What a study reads: the videos, their time grid, and what to do about damaged ones."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from lstcl_platform.specs.base import Fraction, PositiveInt, Relation, Seed, Spec

ShortVideos = Literal["clamp", "loop"]

SYNTHETIC_FPS = 30
"""Frame rate of every video that `data.synthesize` renders."""


class SyntheticSpec(Spec):
    """A labelled set of H.264 videos that `launch` renders when `data.train` does not exist yet."""

    train_videos: PositiveInt = 480
    """Training videos, spread evenly over the classes."""
    val_videos: PositiveInt = 180
    """Validation videos, spread evenly over the classes."""
    side: Annotated[int, Field(gt=0, multiple_of=2)] = 64
    """Height and width in pixels; even, as H.264 stores colour."""
    seconds: float = Field(default=10.0, gt=0)
    """Length of each video at 30 frames a second."""
    seed: Seed = 0
    """Seed of the whole set: equal seeds give equal videos."""


class DataSpec(Spec):
    """The videos of a study."""

    train: str
    """Folder with one folder a class, `path,label` CSV, Parquet manifest, or annotation of a published dataset:
    Kinetics `train.csv`, Something-Something-V2 `train.json`, UCF101 `trainlist01.txt`, HMDB51 `splits#train1` (its
    folder of split files). Relative to the spec file."""
    val: str
    """The same, for evaluation."""
    pretrain: str | None = None
    """The same, for pretraining, which reads no label; null takes `train`."""
    target_fps: float | None = Field(default=30.0, gt=0)
    """Time grid on which strides count, in frames a second; null counts the file's own frames."""
    short_videos: ShortVideos = "clamp"
    """What a clip longer than its video shows beyond the end: its last frame, or the video again from the
    start. Either way it is counted as `clips_padded`."""
    max_bad_fraction: Fraction = 0.01
    """The run stops when more than this share of the videos cannot be used, known before or found on the way."""
    synthesize: SyntheticSpec | None = None
    """Render this set into `train` and `val` when they are missing."""

    @property
    def pretraining(self) -> str:
        """Where the videos of a pretraining are."""
        return self.train if self.pretrain is None else self.pretrain

    def broken_relations(self) -> Iterator[Relation]:
        """The splits differ."""
        for split, source in (("train", self.train), ("pretrain", self.pretrain)):
            if source == self.val:
                yield Relation(
                    fields=(split, "val"),
                    text=f"{split} and val name the same data: evaluation would test on training videos",
                )
