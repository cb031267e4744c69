"""The plan of an epoch: which video stands at which position of a training run."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.wording import numbered
from lstcl_platform.video.draws import PLAN_STREAM, raw_bits


class EpochPlan:
    """Order of the videos over all epochs, as a function of (seed, epoch) alone.

    Position p = step * global_batch + slot counts samples over the whole run; the videos of an epoch that do
    not fill a last global batch are dropped (others in each epoch). Memory: 4 bytes a video for each of the
    last three epochs asked for, whatever the number of epochs.
    """

    def __init__(self, *, videos: int, global_batch: int, seed: int) -> None:
        """Plan for `videos` usable videos.

        Raises:
            UserError: There are fewer videos than one global batch takes.
        """
        if videos < global_batch:
            raise UserError(
                f"{numbered(videos, 'usable video')} cannot fill one global batch of {global_batch}: "
                f"lower batch_size to {videos} or less, or add videos"
            )
        self.videos = videos
        self.global_batch = global_batch
        self.seed = seed

    @property
    def steps_per_epoch(self) -> int:
        """Full global batches in one epoch."""
        return self.videos // self.global_batch

    def order(self, epoch: int) -> npt.NDArray[np.int32]:
        """Permutation of range(videos) in `epoch`: a sort of raw bits, which no NumPy version changes."""
        return _order(self.videos, self.seed, epoch)

    def locate(self, positions: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Epoch (from 0) and ordinal of the video (in [0, videos)) at each position."""
        positions = np.asarray(positions, dtype=np.int64)
        epochs, within = np.divmod(positions, self.steps_per_epoch * self.global_batch)
        ordinals = np.empty_like(positions)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            ordinals[here] = self.order(int(epoch))[within[here]]
        return epochs, ordinals

    def stand_ins(self, position: int) -> npt.NDArray[np.int64]:
        """Positions whose videos may replace the one at `position`, in the order to try them.

        They are the same slot of the following steps of the same epoch, wrapping inside it: the first one is
        one global batch away, so a batch never holds a video twice unless an epoch has a single step. Then,
        and after all steps, nothing is left.
        """
        step, slot = divmod(position, self.global_batch)
        first = step - step % self.steps_per_epoch
        offsets = (step - first + np.arange(1, self.steps_per_epoch)) % self.steps_per_epoch
        return np.asarray((first + offsets) * self.global_batch + slot, dtype=np.int64)


# Kept for the process, not in the plan: a plan is pickled into every task. A block of positions touches one
# epoch, seldom two.
@lru_cache(maxsize=3)
def _order(videos: int, seed: int, epoch: int) -> npt.NDArray[np.int32]:
    bits = raw_bits(videos, seed=seed, stream=PLAN_STREAM, epoch=epoch)
    order = np.argsort(bits, kind="stable").astype(np.int32)
    order.flags.writeable = False
    return order
