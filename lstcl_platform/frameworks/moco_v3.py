"""MoCo v3 (Chen, Xie, He 2021) on pairs of a short and a long clip (paper, Eq. 3-4).

The order of a step, the heads and the loss are those of the public code (facebookresearch/moco-v3,
`moco/builder.py`): queries of both views, then the momentum update, then the keys.
"""

from collections.abc import Iterator
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstcl_platform.frameworks.base import Framework
from lstcl_platform.frameworks.batch_norm import BatchNorm
from lstcl_platform.frameworks.workers import gather, rank_and_count
from lstcl_platform.models import Backbone
from lstcl_platform.models.heads import mlp_head
from lstcl_platform.specs.frameworks import MoCoV3Spec


def retrieval_logits(queries: Tensor, keys: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """Similarity of this worker's queries to the keys of all workers.

    Args:
        queries: Unit rows (B, D) of this worker.
        keys: Unit rows (workers * B, D), in order of rank.
        temperature: Divides the cosine; above 0.

    Returns:
        Logits (B, workers * B) and the column of each query's own video, int64 (B,).
    """
    rank, _ = rank_and_count()
    own = torch.arange(len(queries), device=queries.device) + rank * len(queries)
    return queries @ keys.T / temperature, own


def contrastive_loss(queries: Tensor, keys: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE of this worker's queries (paper, Eq. 4, as a mean over videos and without a factor).

    Args:
        queries: Unit rows (B, D) of this worker; B is equal on all workers.
        keys: Unit rows (workers * B, D) without gradient, in order of rank.
        temperature: Softmax temperature, above 0.

    Returns:
        Scalar; every other video of the joined batch is a negative.
    """
    logits, own = retrieval_logits(queries, keys, temperature=temperature)
    return F.cross_entropy(logits, own)


def unit_rows(x: Tensor) -> Tensor:
    """Rows scaled to length 1, in at least float32."""
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=1)


class MoCoV3(Framework):
    """Backbone, projector and predictor against a momentum copy of backbone and projector.

    The trunk sees both views in one batch; the heads see one view at a time, so that their BatchNorm
    statistics do not mix. The momentum update averages parameters only: the momentum heads' BatchNorm buffers
    come from their own passes in train mode.

    Diagnostics: `retrieval_top1`, the share of short clips whose most similar long clip in the joined batch
    is of the same video, in [0, 1]; `feature_std`, the standard deviation over the batch of the short clips'
    unit backbone features, averaged over dimensions, times sqrt(D): 0 when collapsed, 1 when spread evenly.
    (The embeddings behind the heads would not tell: their last BatchNorm gives each dimension variance 1.)

    Args:
        spec: Sizes, temperature, first momentum, frozen patch embedding.
        backbone: Is trained in place.
    """

    def __init__(self, spec: MoCoV3Spec, backbone: Backbone) -> None:
        super().__init__()
        hidden, out = spec.projector_hidden, spec.output_dim
        self.temperature = spec.temperature
        self.loss_scale = 2 * spec.temperature if spec.loss_scale is None else spec.loss_scale
        self.momentum = spec.momentum
        self.stats = {}
        if spec.freeze_patch_embed:
            backbone.patch_projection().requires_grad_(False)
        self.backbone = backbone
        self.projector = mlp_head((backbone.feature_dim, hidden, hidden, out), norm=BatchNorm)
        self.predictor = mlp_head((out, spec.predictor_hidden, out), norm=BatchNorm)
        self.momentum_backbone = deepcopy(backbone).requires_grad_(False)
        self.momentum_projector = deepcopy(self.projector).requires_grad_(False)

    def forward(self, short: Tensor, long: Tensor) -> Tensor:
        """(B, 3, T, H, W) twice -> scalar loss; updates the momentum encoder on the way."""
        clips = torch.cat([short, long])
        features = self.backbone(clips).chunk(2)
        queries = [self.predictor(self.projector(view)) for view in features]
        with torch.no_grad():
            self._update_momentum_encoder()
            keys = [self.momentum_projector(view) for view in self.momentum_backbone(clips).chunk(2)]
        with torch.autocast(clips.device.type, enabled=False):
            q_short, q_long = (unit_rows(q) for q in queries)
            gathered = gather(torch.stack([unit_rows(k) for k in keys]))
            k_short, k_long = gathered.transpose(0, 1).flatten(1, 2)
            self._diagnose(features[0], q_short, k_long)
            losses = [
                contrastive_loss(q, k, temperature=self.temperature)
                for q, k in ((q_short, k_long), (q_long, k_short))
            ]
            return (losses[0] + losses[1]) * self.loss_scale

    def _update_momentum_encoder(self) -> None:
        averaged = list(_parameters(self.momentum_backbone, self.momentum_projector))
        trained = list(_parameters(self.backbone, self.projector))
        # One fused call; a loop over some 300 tensors costs more than the arithmetic.
        torch._foreach_lerp_(averaged, trained, 1.0 - self.momentum)

    @torch.no_grad()
    def _diagnose(self, features: Tensor, queries: Tensor, keys: Tensor) -> None:
        logits, own = retrieval_logits(queries, keys, temperature=self.temperature)
        spread = unit_rows(features).std(0, correction=0).mean() * features.shape[1] ** 0.5
        self.stats = {
            "retrieval_top1": (logits.argmax(1) == own).to(queries.dtype).mean(),
            "feature_std": spread,
        }


def _parameters(*modules: nn.Module) -> Iterator[Tensor]:
    for module in modules:
        yield from module.parameters()
