"""What every backbone of the study offers to the frameworks and the classifier."""

from abc import ABC, abstractmethod

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
