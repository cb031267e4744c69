"""What every contrastive framework offers to the training loop."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from lstcl_platform.models import Backbone


class Framework(nn.Module, ABC):
    """A backbone with heads and a loss on pairs of views."""

    backbone: Backbone
    """The encoder that is trained, and that finetuning goes on with."""
    momentum: float
    """Momentum of the key encoder in the next forward pass, in [0, 1]; the loop sets it every step."""
    stats: dict[str, Tensor]
    """Diagnostics of the last forward pass: detached scalars on its device, of this worker's videos."""

    @abstractmethod
    def forward(self, short: Tensor, long: Tensor) -> Tensor:
        """Loss of a batch of pairs.

        Args:
            short: Short clips (B, 3, T, H, W), one a video.
            long: Long clips of the same videos, in the same order and of the same shape.

        Returns:
            Scalar; its mean over workers is the loss of the joined batch. B must be equal on all workers.
        """
