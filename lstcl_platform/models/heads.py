"""MLP heads between a backbone's feature and a contrastive loss."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn


def mlp_head(widths: Sequence[int], *, norm: Callable[..., nn.Module] = nn.BatchNorm1d) -> nn.Sequential:
    """Projector or predictor of MoCo v3's ViT recipe (public code, `moco/builder.py`, `_build_mlp`).

    Linear layers without bias; BatchNorm and ReLU after each but the last, which is followed by a BatchNorm
    without gain and bias.

    Args:
        widths: Input, hidden and output widths; at least an input and an output.
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
    layers += [nn.Linear(widths[-2], widths[-1], bias=False), norm(widths[-1], affine=False)]
    return nn.Sequential(*layers)
