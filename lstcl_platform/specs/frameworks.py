"""The contrastive frameworks: one spec each, told apart by `kind`."""

from typing import Literal

from pydantic import Field

from lstcl_platform.specs.base import Fraction, PositiveInt, Spec


class MoCoV3Spec(Spec):
    """MoCo v3 (Chen, Xie, He 2021); the paper's Eq. 3-4. Defaults are the ViT recipe of the public code."""

    kind: Literal["moco_v3"] = "moco_v3"
    """Framework name."""
    temperature: float = Field(default=0.2, gt=0)
    """Softmax temperature of the InfoNCE loss."""
    momentum: Fraction = 0.99
    """Momentum of the key encoder at step 0; rises to 1 by a half cosine."""
    projector_hidden: PositiveInt = 4096
    """Width of the projector's two hidden layers."""
    predictor_hidden: PositiveInt = 4096
    """Width of the predictor's hidden layer."""
    output_dim: PositiveInt = 256
    """Width of the embedding that is compared."""
    loss_scale: float | None = Field(default=None, gt=0)
    """Factor on the loss; null is the reference code's 2 x temperature, 1 is the paper's Eq. 4 as a mean."""
    freeze_patch_embed: bool = True
    """Keep the patch convolution at its random values, as MoCo v3 does for ViT; its norm is trained."""


FrameworkSpec = MoCoV3Spec
"""Union of all framework specs; becomes a tagged union on `kind` with the second member."""
