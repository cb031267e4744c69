"""What a backbone costs: parameters, and multiply-accumulates of one clip under two named conventions.

Published tables differ in whether they count the products inside attention: the paper's Table 4 has 0.60 T for
Swin without them and 0.59 T for TimeSformer with them (a MAC is two floating-point operations).
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from lstcl_platform.models.build import backbone_of
from lstcl_platform.specs.model import ModelSpec

Convention = Literal["linear+conv", "all"]
"""`linear+conv`: matrix products with weights; `all`: and the products of queries, keys and values."""

_WITH_WEIGHTS = frozenset({"mm", "addmm", "convolution", "_convolution"})


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Size and arithmetic of a backbone.

    Attributes:
        parameters: trainable numbers, without a classifier.
        feature_dim: width of the feature; K classes add K * (feature_dim + 1) parameters.
        linear: multiply-accumulates of linear layers and convolutions in one clip.
        attention: those of the products inside attention.
    """

    parameters: int
    feature_dim: int
    linear: int
    attention: int

    def macs(self, convention: Convention) -> int:
        """Multiply-accumulates of one clip; the classifier's (below 0.001 %) are in neither convention."""
        return self.linear if convention == "linear+conv" else self.linear + self.attention

    def parameters_with(self, classes: int) -> int:
        """Parameters of backbone and classifier."""
        return self.parameters + classes * (self.feature_dim + 1)


def model_cost(model: ModelSpec) -> Cost:
    """Count on the meta device, where nothing is computed; takes about a second for a base size."""
    with torch.device("meta"):
        backbone = backbone_of(model).eval()
        clip = torch.empty(1, 3, model.frames, model.image_size, model.image_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(clip)
    counts: dict[Any, int] = counter.get_flop_counts()["Global"]
    linear = sum(flops for op, flops in counts.items() if op.__name__ in _WITH_WEIGHTS)
    return Cost(
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        feature_dim=backbone.feature_dim,
        linear=linear // 2,
        attention=(sum(counts.values()) - linear) // 2,
    )
