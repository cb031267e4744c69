"""What trained weights are, and how the stage that tested them looked at videos."""

from typing import Literal

from lstcl_platform.specs.base import Spec
from lstcl_platform.specs.data import ShortVideos
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import EvaluateSpec, Indexing, Timing


class TrainedSpec(Spec):
    """Everything that is needed to use a stage's weights on a video; it travels inside exported files."""

    key: str
    """Key of the stage that trained the weights."""
    kind: Literal["pretrain", "finetune"]
    """A `pretrain` stage leaves a backbone, a `finetune` stage a classifier."""
    model: ModelSpec
    """The backbone; `init` is null, since it no longer matters."""
    classes: tuple[str, ...] | None = None
    """Name of each label of the training data, from 0 on; null for a backbone."""
    target_fps: float | None = 30.0
    """Time grid of the clips, as `data.target_fps`."""
    short_videos: ShortVideos = "clamp"
    """What fills a clip beyond the end of its video, as `data.short_videos`."""
    evaluate: EvaluateSpec = EvaluateSpec()
    """Clips, crops and precision of the test; `protocols`, `knn` and `linear` are not read."""
    stride: Timing = 8
    """Time-grid frames between two frames of a clip, or `segments`."""
    indexing: Indexing = "exact"
    """As in `finetune.indexing`."""

    @property
    def views(self) -> int:
        """Clips of a video that the model sees: clips x crops."""
        return self.evaluate.clips * self.evaluate.crops
