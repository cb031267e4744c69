"""The momentum encoder of MoCo v3 and BYOL: a slow copy of backbone and projector that makes the keys."""

from collections.abc import Iterator, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from lstcl_platform.frameworks.base import Framework
from lstcl_platform.models import Backbone


class MomentumFramework(Framework):
    """A framework whose keys come from a moving average of the trained encoder (paper, Eq. 5).

    The order of a step is that of the public codes (facebookresearch/moco-v3, `moco/builder.py`; SlowFast's
    BYOL): queries of both views, then the average over parameters before the optimizer's step, then the keys.
    BatchNorm buffers are not averaged: the momentum heads' come from their own passes in train mode.

    Args:
        momentum: First momentum, in [0, 1].
        backbone, projector, predictor, loss_scale, freeze_patch_embed: As in `Framework`.
    """

    momentum: float

    def __init__(
        self,
        backbone: Backbone,
        *,
        projector: nn.Module,
        predictor: nn.Module,
        momentum: float,
        loss_scale: float,
        freeze_patch_embed: bool,
    ) -> None:
        super().__init__(
            backbone,
            projector=projector,
            predictor=predictor,
            loss_scale=loss_scale,
            freeze_patch_embed=freeze_patch_embed,
        )
        self.momentum = momentum
        self.momentum_backbone = deepcopy(backbone).requires_grad_(False)
        self.momentum_projector = deepcopy(projector).requires_grad_(False)

    def _keys(self, clips: Tensor, projections: Sequence[Tensor]) -> list[Tensor]:
        self._update_momentum_encoder()
        keys = self._features(self.momentum_backbone, clips)
        return [self.momentum_projector(view) for view in keys.chunk(2)]

    def _update_momentum_encoder(self) -> None:
        averaged = list(_parameters(self.momentum_backbone, self.momentum_projector))
        trained = list(_parameters(self.backbone, self.projector))
        # One fused call; a loop over some 300 tensors costs more than the arithmetic.
        torch._foreach_lerp_(averaged, trained, 1.0 - self.momentum)


def _parameters(*modules: nn.Module) -> Iterator[Tensor]:
    for module in modules:
        yield from module.parameters()
