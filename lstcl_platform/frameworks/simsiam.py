"""SimSiam (Chen, He 2021) on pairs of a short and a long clip (paper, Eq. 7).

Heads are those of the public code (facebookresearch/simsiam, `simsiam/builder.py`), or BYOL's.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from lstcl_platform.frameworks.base import Framework
from lstcl_platform.frameworks.batch_norm import BatchNorm
from lstcl_platform.frameworks.byol import regression_loss
from lstcl_platform.frameworks.pairs import own_columns
from lstcl_platform.models import Backbone
from lstcl_platform.models.heads import mlp_head
from lstcl_platform.specs.frameworks import SimSiamSpec


def _projector(spec: SimSiamSpec, feature_dim: int) -> nn.Sequential:
    hidden = feature_dim if spec.projector_hidden is None else spec.projector_hidden
    match spec.heads:
        case "simsiam":
            widths = (feature_dim, hidden, hidden, spec.output_dim)
            return mlp_head(widths, last="idle_bias_norm", norm=BatchNorm)
        case "byol":
            return mlp_head((feature_dim, hidden, spec.output_dim), last="linear", norm=BatchNorm)


class SimSiam(Framework):
    """Draws each query to the other view's embedding by the same encoder, which gets no gradient there.

    Args:
        spec: Heads and their sizes, loss scale, frozen patch embedding.
        backbone: Is trained in place.
    """

    def __init__(self, spec: SimSiamSpec, backbone: Backbone) -> None:
        out = spec.output_dim
        super().__init__(
            backbone,
            projector=_projector(spec, backbone.feature_dim),
            predictor=mlp_head((out, spec.predictor_hidden, out), last="linear", norm=BatchNorm),
            loss_scale=spec.loss_scale,
            freeze_patch_embed=spec.freeze_patch_embed,
        )

    def _keys(self, clips: Tensor, projections: Sequence[Tensor]) -> list[Tensor]:
        return [view.detach() for view in projections]

    def _loss(self, queries: Tensor, keys: Tensor) -> Tensor:
        return regression_loss(queries, keys[own_columns(queries)])
