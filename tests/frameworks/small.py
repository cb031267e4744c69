"""Small frameworks in float64, clips for them, and their steps written out plainly."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lstcl_platform.frameworks import Framework, build_framework
from lstcl_platform.models import build_backbone
from lstcl_platform.specs.frameworks import BYOLSpec, FrameworkSpec, MoCoV3Spec, SimSiamSpec

BATCH = 10
SPECS: dict[str, FrameworkSpec] = {
    "moco_v3": MoCoV3Spec(projector_hidden=24, predictor_hidden=20, output_dim=16),
    "byol": BYOLSpec(momentum=0.99, projector_hidden=24, predictor_hidden=20, output_dim=16),
    "simsiam": SimSiamSpec(projector_hidden=24, predictor_hidden=20, output_dim=16),
    "simsiam_byol_heads": SimSiamSpec(heads="byol", projector_hidden=24, predictor_hidden=20, output_dim=16),
}


def small(name: str = "moco_v3", **fields: Any) -> Framework:
    torch.manual_seed(0)
    backbone = build_backbone("st_swin_micro", frames=2, image_size=16)
    return build_framework(SPECS[name].model_copy(update=fields), backbone).double()


def views(seed: int = 1, batch: int = BATCH) -> Tensor:
    """Both views of a batch of videos."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, batch, 3, 2, 16, 16, dtype=torch.float64, generator=generator)


def with_torch_batch_norm(head: nn.Sequential) -> nn.Sequential:
    """A copy of a head in which torch's own BatchNorm stands in the place of ours."""
    layers = []
    for layer in head:
        if isinstance(layer, nn.BatchNorm1d):
            own = nn.BatchNorm1d(layer.num_features, affine=layer.affine).double()
            own.load_state_dict(layer.state_dict())
            layers.append(own)
        else:
            layers.append(copy.deepcopy(layer))
    return nn.Sequential(*layers)


def info_nce(q: Tensor, k: Tensor) -> Tensor:
    similarity = torch.einsum("nc,mc->nm", F.normalize(q, dim=1), F.normalize(k, dim=1)) / 0.2
    return F.cross_entropy(similarity, torch.arange(len(q))) * 0.4


def negative_cosine(q: Tensor, k: Tensor) -> Tensor:
    return -F.cosine_similarity(q, k, dim=1).mean()


class Plain(nn.Module):
    """The public codes' steps, one view at a time, with a loop for the average."""

    def __init__(self, framework: Framework, name: str) -> None:
        super().__init__()
        self.name = name
        self.backbone = copy.deepcopy(framework.backbone)
        self.projector = with_torch_batch_norm(framework.projector)
        self.predictor = with_torch_batch_norm(framework.predictor)
        if framework.momentum is not None:
            self.momentum_backbone = copy.deepcopy(framework.momentum_backbone)
            self.momentum_projector = with_torch_batch_norm(framework.momentum_projector).requires_grad_(
                False
            )

    def forward(self, x1: Tensor, x2: Tensor, momentum: float) -> Tensor:
        z1 = self.projector(self.backbone(x1))
        z2 = self.projector(self.backbone(x2))
        q1, q2 = self.predictor(z1), self.predictor(z2)
        if self.name.startswith("simsiam"):
            # The public code's -(cos + cos) / 2, brought to the paper's 2 - 2 cos.
            return 4 + 4 * (negative_cosine(q1, z2.detach()) + negative_cosine(q2, z1.detach())) / 2
        with torch.no_grad():
            for average, source in (
                (self.momentum_backbone, self.backbone),
                (self.momentum_projector, self.projector),
            ):
                for a, p in zip(average.parameters(), source.parameters(), strict=True):
                    a.copy_(a * momentum + p * (1 - momentum))
            k1 = self.momentum_projector(self.momentum_backbone(x1))
            k2 = self.momentum_projector(self.momentum_backbone(x2))
        if self.name == "byol":
            return 4 + 2 * (negative_cosine(q1, k2) + negative_cosine(q2, k1))
        return info_nce(q1, k2) + info_nce(q2, k1)
