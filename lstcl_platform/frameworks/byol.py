"""BYOL (Grill et al. 2020) on pairs of a short and a long clip (paper, Eq. 5-6)."""

from torch import Tensor

from lstcl_platform.frameworks.batch_norm import BatchNorm
from lstcl_platform.frameworks.momentum import MomentumFramework
from lstcl_platform.frameworks.pairs import own_columns
from lstcl_platform.models import Backbone
from lstcl_platform.models.heads import mlp_head
from lstcl_platform.specs.frameworks import BYOLSpec


def regression_loss(queries: Tensor, keys: Tensor) -> Tensor:
    """2 - 2 cos of each query and its own key (paper, Eq. 6 and 7), as a mean over videos.

    Args:
        queries: Unit rows (B, D).
        keys: Unit rows (B, D) without gradient, in the same order.

    Returns:
        Scalar in [0, 4].
    """
    return (2 - 2 * (queries * keys).sum(1)).mean()


class BYOL(MomentumFramework):
    """Draws each query to its own key; predictor and momentum encoder keep it from collapsing.

    Heads of two layers that end in a linear layer, as in the public codes.

    Args:
        spec: Sizes, first momentum, loss scale, frozen patch embedding.
        backbone: Is trained in place.
    """

    def __init__(self, spec: BYOLSpec, backbone: Backbone) -> None:
        out = spec.output_dim
        projector = (backbone.feature_dim, spec.projector_hidden, out)
        super().__init__(
            backbone,
            projector=mlp_head(projector, last="linear", norm=BatchNorm),
            predictor=mlp_head((out, spec.predictor_hidden, out), last="linear", norm=BatchNorm),
            momentum=spec.momentum,
            loss_scale=spec.loss_scale,
            freeze_patch_embed=spec.freeze_patch_embed,
        )

    def _loss(self, queries: Tensor, keys: Tensor) -> Tensor:
        return regression_loss(queries, keys[own_columns(queries)])
