"""MLP heads between a backbone's feature and a contrastive loss."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from torch import nn

LastLayer = Literal["norm", "idle_bias_norm", "linear"]
"""End of a head: a BatchNorm without gain and bias; the same after a linear layer with a bias that is not
trained; or a plain linear layer with bias."""


def mlp_head(
    widths: Sequence[int], *, last: LastLayer = "norm", norm: Callable[..., nn.Module] = nn.BatchNorm1d
) -> nn.Sequential:
    """Projector or predictor of MoCo v3, BYOL or SimSiam, by the layers of their public codes.

    Linear layers without bias, BatchNorm and ReLU after each but the last. MoCo v3's ViT recipe
    (`moco/builder.py`, `_build_mlp`) ends both heads with `norm`; BYOL ends both with `linear`; SimSiam
    (`simsiam/builder.py`) ends its projector with `idle_bias_norm` and its predictor with `linear`.

    Args:
        widths: Input, hidden and output widths; at least an input and an output.
        last: What comes at the end.
        norm: Makes the BatchNorm of a width; takes `affine` as nn.BatchNorm1d does.

    Returns:
        Module (B, widths[0]) -> (B, widths[-1]).

    Raises:
        ValueError: Fewer than two widths.
    """
    if len(widths) < 2:
        raise ValueError(f"a head needs an input and an output width, not {list(widths)}")
    layers: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        layers += [nn.Linear(before, after, bias=False), norm(after), nn.ReLU(inplace=True)]
    out = nn.Linear(widths[-2], widths[-1], bias=last != "norm")
    layers.append(out)
    if last == "idle_bias_norm":
        out.bias.requires_grad_(False)
    if last != "linear":
        layers.append(norm(widths[-1], affine=False))
    return nn.Sequential(*layers)
