"""What the contrastive frameworks share: the order of a forward pass, and what the training loop sees of it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lstcl_platform.frameworks.pairs import retrieval_top1, unit_rows
from lstcl_platform.frameworks.workers import gather
from lstcl_platform.models import Backbone


class Framework(nn.Module, ABC):
    """Backbone, projector and predictor, and a loss that draws each view's query to the other view's key.

    The trunk sees both views in one batch; the heads see one view at a time, so that their BatchNorm
    statistics do not mix.

    Diagnostics: `retrieval_top1`, the share of short clips whose most similar long clip in the joined batch
    is of the same video, in [0, 1].

    Args:
        backbone: Is trained in place.
        projector: (B, feature_dim) -> (B, D).
        predictor: (B, D) -> (B, D).
        loss_scale: Factor on the sum of both directions' losses.
        freeze_patch_embed: Leave the backbone's patch convolution at its random values.
    """

    momentum: float | None = None
    """Momentum of the key encoder in the next forward pass, in [0, 1]; the loop sets it every step. None: there
    is no such encoder."""
    trunk_parts: int = 1
    """Pieces in which the batch passes the trunk, each computed again in the backward pass, so that only one piece's
    activations are held at a time; heads and loss see the whole batch (Gao et al. 2021, "GradCache"). Divides B."""
    stats: dict[str, Tensor]
    """Diagnostics of the last forward pass: detached scalars on its device, of this worker's videos."""
    observed: dict[str, Tensor]
    """The short clips' rows (B, D) of the last forward pass, detached: `feature`, of the backbone, and `embedding`,
    behind the projector."""

    def __init__(
        self,
        backbone: Backbone,
        *,
        projector: nn.Module,
        predictor: nn.Module,
        loss_scale: float,
        freeze_patch_embed: bool,
    ) -> None:
        super().__init__()
        if freeze_patch_embed:
            backbone.patch_projection().requires_grad_(False)
        self.backbone = backbone
        self.projector = projector
        self.predictor = predictor
        self.loss_scale = loss_scale
        self.stats = {}
        self.observed = {}

    def forward(self, short: Tensor, long: Tensor) -> Tensor:
        """Loss of a batch of pairs; moves a key encoder, where there is one, on the way.

        Args:
            short: Short clips (B, 3, T, H, W), one a video.
            long: Long clips of the same videos, in the same order and of the same shape.

        Returns:
            Scalar; its mean over workers is the loss of the joined batch. B must be equal on all workers.
        """
        clips = torch.cat([short, long])
        features = self._features(self.backbone, clips).chunk(2)
        projections = [self.projector(view) for view in features]
        queries = [self.predictor(view) for view in projections]
        with torch.no_grad():
            keys = self._keys(clips, projections)
        with torch.autocast(clips.device.type, enabled=False):
            q_short, q_long = (unit_rows(q) for q in queries)
            gathered = gather(torch.stack([unit_rows(k) for k in keys]))
            k_short, k_long = gathered.transpose(0, 1).flatten(1, 2)
            with torch.no_grad():
                self.stats = {"retrieval_top1": retrieval_top1(q_short, k_long)}
                self.observed = {"feature": features[0].detach(), "embedding": projections[0].detach()}
            return (self._loss(q_short, k_long) + self._loss(q_long, k_short)) * self.loss_scale

    def _features(self, trunk: Backbone, clips: Tensor) -> Tensor:
        """(2B, 3, T, H, W) -> (2B, feature_dim), both views of `trunk_parts` groups of videos one after another."""
        if self.trunk_parts == 1:
            whole: Tensor = trunk(clips)
            return whole
        views = clips.view(2, -1, *clips.shape[1:])
        features: list[Tensor] = []
        for part in views.chunk(self.trunk_parts, dim=1):
            rows = part.flatten(0, 1)
            kept = checkpoint(trunk, rows, use_reentrant=False) if torch.is_grad_enabled() else trunk(rows)
            features.append(kept.view(2, -1, trunk.feature_dim))
        return torch.cat(features, dim=1).flatten(0, 1)

    @abstractmethod
    def _keys(self, clips: Tensor, projections: Sequence[Tensor]) -> list[Tensor]:
        """Keys of both views, (B, D) each, without gradient; called once a step, after the queries.

        Args:
            clips: Both views (2B, 3, T, H, W).
            projections: The trained encoder's embeddings of both views, (B, D) each.
        """

    @abstractmethod
    def _loss(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Mean over this worker's videos of the loss of one direction.

        Args:
            queries: Unit rows (B, D) of this worker, with gradient.
            keys: Unit rows (workers * B, D) of the other view, in order of rank, without.
        """
