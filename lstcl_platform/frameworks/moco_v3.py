"""MoCo v3 (Chen, Xie, He 2021) on pairs of a short and a long clip (paper, Eq. 3-4).

Heads and loss are those of the public code (facebookresearch/moco-v3, `moco/builder.py`).
"""

import torch.nn.functional as F
from torch import Tensor

from lstcl_platform.frameworks.batch_norm import BatchNorm
from lstcl_platform.frameworks.momentum import MomentumFramework
from lstcl_platform.frameworks.pairs import own_columns
from lstcl_platform.models import Backbone
from lstcl_platform.models.heads import mlp_head
from lstcl_platform.specs.frameworks import MoCoV3Spec


def contrastive_loss(queries: Tensor, keys: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE of this worker's queries (paper, Eq. 4, as a mean over videos and without a factor).

    Args:
        queries: Unit rows (B, D) of this worker; B is equal on all workers.
        keys: Unit rows (workers * B, D) without gradient, in order of rank.
        temperature: Softmax temperature, above 0.

    Returns:
        Scalar; every other video of the joined batch is a negative.
    """
    return F.cross_entropy(queries @ keys.T / temperature, own_columns(queries))


class MoCoV3(MomentumFramework):
    """Picks each query's own key among those of all videos of all workers.

    Args:
        spec: Sizes, temperature, first momentum, frozen patch embedding.
        backbone: Is trained in place.
    """

    def __init__(self, spec: MoCoV3Spec, backbone: Backbone) -> None:
        hidden, out = spec.projector_hidden, spec.output_dim
        super().__init__(
            backbone,
            projector=mlp_head((backbone.feature_dim, hidden, hidden, out), norm=BatchNorm),
            predictor=mlp_head((out, spec.predictor_hidden, out), norm=BatchNorm),
            momentum=spec.momentum,
            loss_scale=2 * spec.temperature if spec.loss_scale is None else spec.loss_scale,
            freeze_patch_embed=spec.freeze_patch_embed,
        )
        self.temperature = spec.temperature

    def _loss(self, queries: Tensor, keys: Tensor) -> Tensor:
        return contrastive_loss(queries, keys, temperature=self.temperature)
