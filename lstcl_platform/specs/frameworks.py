"""The contrastive frameworks: one spec each, told apart by `kind`."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from lstcl_platform.specs.base import Fraction, PositiveInt, Spec

_NAMED = ConfigDict(json_schema_extra={"required": ["kind"]})
"""For a schema in which a block without `kind` is one framework only: `DEFAULT_KIND`."""


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
    """Factor on the loss, a mean over videos; null is the public code's 2 x temperature. The paper's Eq. 4, a sum
    over the batch, is the contrast batch; 1 is its mean."""
    freeze_patch_embed: bool = True
    """Keep the patch convolution at its random values, as MoCo v3 does for ViT; its norm is trained."""


class BYOLSpec(Spec):
    """BYOL (Grill et al. 2020); the paper's Eq. 5-6. Head sizes are the public code's; momentum that of the
    video BYOL over 200 epochs in the paper's reference [19]."""

    model_config = _NAMED

    kind: Literal["byol"] = "byol"
    """Framework name."""
    momentum: Fraction = 0.996
    """Momentum of the target encoder at step 0; rises to 1 by a half cosine."""
    projector_hidden: PositiveInt = 4096
    """Width of the projector's hidden layer."""
    predictor_hidden: PositiveInt = 4096
    """Width of the predictor's hidden layer."""
    output_dim: PositiveInt = 256
    """Width of the embedding that is compared."""
    loss_scale: float = Field(default=1.0, gt=0)
    """Factor on the mean over videos of 2 - 2 cos, of which both directions are summed. The paper's Eq. 6, a sum
    over the batch, is the contrast batch."""
    freeze_patch_embed: bool = True
    """As in MoCo v3, whose authors found it to help BYOL too; so the frameworks differ in the heads only."""


class SimSiamSpec(Spec):
    """SimSiam (Chen, He 2021); the paper's Eq. 7. Heads and the predictor's learning rate are the public code's."""

    model_config = _NAMED

    kind: Literal["simsiam"] = "simsiam"
    """Framework name."""
    heads: Literal["simsiam", "byol"] = "simsiam"
    """`simsiam`: a projector of three layers with a BatchNorm at its end, and its own predictor. `byol`: the heads
    of BYOL, two layers each (their sizes are 4096, 4096 and 256)."""
    projector_hidden: PositiveInt | None = None
    """Width of the projector's hidden layers; null is the backbone's feature width."""
    predictor_hidden: PositiveInt = 512
    """Width of the predictor's hidden layer."""
    output_dim: PositiveInt = 2048
    """Width of the embedding that is compared."""
    predictor_lr: Literal["constant", "scheduled"] = "constant"
    """`constant`: the predictor always learns at the peak rate (the public code's --fix-pred-lr)."""
    loss_scale: float = Field(default=1.0, gt=0)
    """As in BYOL, for the paper's Eq. 7; 0.25 gives the gradients of the public code's -(cos + cos) / 2."""
    freeze_patch_embed: bool = True
    """As in BYOL."""


DEFAULT_KIND = "moco_v3"
"""Kind of a block that does not say which it is: the one that the paper adopts."""


def _kind(value: Any) -> Any:
    return (
        value.get("kind", DEFAULT_KIND) if isinstance(value, dict) else getattr(value, "kind", DEFAULT_KIND)
    )


FrameworkSpec = Annotated[
    Annotated[MoCoV3Spec, Tag("moco_v3")]
    | Annotated[BYOLSpec, Tag("byol")]
    | Annotated[SimSiamSpec, Tag("simsiam")],
    Discriminator(_kind),
]
"""Union of all framework specs, told apart by `kind`."""
