"""Mixup and cutmix of labelled clips by timm, with draws that do not depend on the number of workers."""

from timm.data import Mixup
from torch import Tensor

from lstcl_platform.specs.training import FinetuneSpec
from lstcl_platform.training.context import StageContext
from lstcl_platform.video.draws import MIX_STREAM, library_draws


class PairMixer:
    """Mixes neighbours of the global batch: samples 2k and 2k + 1, both with the draw of their pair.

    timm flips the batch of a worker and, in its `batch` mode, mixes all of it with one draw, so that what is
    mixed with what depends on how many workers there are. Here each pair is a batch of timm's: the same as
    its `pair` mode but for who is paired with whom, which the shuffled order makes a matter of chance anyway.

    Args:
        spec: Alphas and probabilities; the seed; the global batch, an even share of which each rank holds.
        num_classes: Classes K.
        context: Rank and number of ranks.
    """

    def __init__(self, spec: FinetuneSpec, *, num_classes: int, context: StageContext) -> None:
        self._seed = spec.seed
        self._batch_size = spec.batch_size
        self._offset = context.rank * (spec.batch_size // context.world_size)
        self._mixup = Mixup(
            mixup_alpha=spec.mixup,
            cutmix_alpha=spec.cutmix,
            prob=spec.mix_probability,
            switch_prob=spec.cutmix_share,
            label_smoothing=spec.label_smoothing,
            num_classes=num_classes,
        )

    def __call__(self, step: int, clips: Tensor, labels: Tensor) -> Tensor:
        """Mix the clips of a step in place.

        Args:
            step: Number of the step, from 0: with the row it gives the position in the plan.
            clips: This rank's share (B, 3, T, H, W), contiguous; a box of cutmix spans all frames.
            labels: int64 (B,).

        Returns:
            Smoothed and mixed targets, float32 (B, K); each row sums to 1.
        """
        first = (step * self._batch_size + self._offset) // 2
        targets = labels.new_zeros((len(labels), self._mixup.num_classes), dtype=clips.dtype)
        for pair in range(len(clips) // 2):
            rows = slice(2 * pair, 2 * pair + 2)
            frames = clips[rows].view(2, -1, *clips.shape[-2:])  # timm knows images: frames become channels
            with library_draws(seed=self._seed, stream=MIX_STREAM, item=first + pair):
                _, targets[rows] = self._mixup(frames, labels[rows])
        return targets
