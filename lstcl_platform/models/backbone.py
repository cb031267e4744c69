"""What every backbone of the study offers to the frameworks and the classifier."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """A clip encoder: (B, 3, T, H, W) float -> (B, feature_dim)."""

    feature_dim: int
    """Width D of the feature vector."""

    @abstractmethod
    def forward(self, clip: Tensor) -> Tensor:
        """Encode clips.

        Args:
            clip: Normalised clips (B, 3, T, H, W).

        Returns:
            Features (B, feature_dim).
        """

    @abstractmethod
    def patch_projection(self) -> nn.Module:
        """The convolution that turns pixels into tokens; MoCo v3 keeps it at its random values."""

    @abstractmethod
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Which parameters make a layer, from the input on, in timm's convention (regular expressions).

        For layer-wise learning rates: the embedding is layer 0, each block one more, and what no expression
        matches (the last norm) belongs to the classifier's layer.

        Args:
            coarse: Part of the convention; layers are always fine here.
        """
