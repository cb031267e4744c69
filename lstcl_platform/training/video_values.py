"""One pass of a frozen model over videos: a row of values for each, gathered and checked for completeness."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lstcl_platform.training.context import StageContext
from lstcl_platform.training.transfer import Feed, HostBatch


@dataclass(frozen=True, kw_only=True)
class VideoValues:
    """What a model says of some videos; all arrays have one entry a video.

    Attributes:
        video: row of the manifest, int64 (N,).
        split: which of several manifests, int64 (N,).
        label: true class, int64 (N,).
        values: class probabilities or features, float32 (N, D); zeros when the video could not be decoded.
        decoded: whether it could be decoded, bool (N,).
        clips_padded: clips that are longer than the video, int64 (N,).
        path: path of the video, or "" where the data plane gave none.
    """

    video: NDArray[np.int64]
    split: NDArray[np.int64]
    label: NDArray[np.int64]
    values: NDArray[np.float32]
    decoded: NDArray[np.bool_]
    clips_padded: NDArray[np.int64]
    path: NDArray[Any]

    @classmethod
    def of_batch(cls, host: Mapping[str, NDArray[Any]], values: NDArray[np.float32]) -> Self:
        """The values of a batch as the data plane made it, less its padding (video -1).

        Raises:
            FloatingPointError: values are not finite.
        """
        real = host["video"] >= 0
        rows = len(real)
        decoded = np.array([not problem for problem in host["bad"]], dtype=bool)
        values = np.where(decoded[:, None], values, np.float32(0))
        if not np.isfinite(values[real]).all():
            raise FloatingPointError("the model's values are not finite: its training has diverged")
        return cls(
            video=host["video"],
            split=host.get("split", np.zeros(rows, dtype=np.int64)),
            label=host["label"],
            values=values,
            decoded=decoded,
            clips_padded=host["clips_padded"],
            path=host["path"],
        ).rows(real)

    @classmethod
    def merged(cls, parts: Sequence[Self], *, videos: int) -> Self:
        """All parts in order of split and manifest row.

        Raises:
            RuntimeError: they do not hold `videos` different videos, each once.
        """
        names = [field.name for field in fields(cls)]
        whole = cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
        different = len(np.unique(np.stack([whole.split, whole.video]), axis=1).T)
        if len(whole.video) != videos or different != videos:
            raise RuntimeError(
                f"{videos} videos were to be scored, but {len(whole.video)} came, {different} of them different"
            )
        return whole.rows(np.lexsort((whole.video, whole.split)))

    def rows(self, chosen: NDArray[Any]) -> Self:
        """The entries that a mask or an index array chooses."""
        return type(self)(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


Values = TypeVar("Values", bound=VideoValues)


def values_of_all(
    kind: type[Values],
    compute: Callable[[Tensor], Tensor],
    context: StageContext,
    batches: Iterator[HostBatch],
) -> list[Values] | None:
    """Run a model over this rank's batches, `context.steps_per_epoch` of them.

    Args:
        kind: of the records.
        compute: uint8 clips (B, C, T, H, W, 3) -> values (B, D).
        context: where it runs.
        batches: as `EvaluateSamples` makes them.

    Returns:
        One record a batch, or None when the reporter asked to stop.
    """
    total = context.steps_per_epoch
    feed = Feed(batches, device=context.device, columns=("clips",))
    done: list[Values] = []
    for step in range(1, total + 1):
        batch = feed.take()
        values = compute(batch.tensors["clips"])
        if context.reporter.should_stop(step) and step < total:
            return None
        if step < total:
            feed.prefetch()
        for problem in batch.host["bad"]:
            if problem:
                context.reporter.bad_video(str(problem))
        done.append(kind.of_batch(batch.host, values.float().cpu().numpy()))
        context.reporter.progress(step, total, {})
    return done
