"""AdamW as the recipes set it up."""

from collections.abc import Iterable
from typing import Any

import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from lstcl_platform.models import Classifier

POSITION_TABLES = frozenset({"relative_position_bias_table", "pos_embed", "time_embed", "cls_token"})
"""Parameters of more than one dimension that, like norms and biases, are not decayed in finetuning."""


_AT_PEAK = "at_peak"
"""Entry of a parameter group whose learning rate does not follow the schedule."""


def pretrain_optimizer(
    model: nn.Module, *, weight_decay: float, at_peak: nn.Module | None = None
) -> torch.optim.AdamW:
    """AdamW with decay on all trainable parameters, biases and norms too, as MoCo v3 (main_moco.py:229).

    Args:
        model: Whose parameters are trained.
        weight_decay: Of all of them.
        at_peak: Part of it that learns at the schedule's peak rate all the time, if there is one.
    """
    apart = set() if at_peak is None else {id(p) for p in at_peak.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": [p for p in trained if id(p) not in apart]}]
    if apart:
        groups.append({"params": [p for p in trained if id(p) in apart], _AT_PEAK: True})
    return _adamw(groups, weight_decay)


def finetune_optimizer(
    model: Classifier, *, weight_decay: float, layer_decay: float = 1.0
) -> torch.optim.AdamW:
    """AdamW without decay on biases, norms (all 1-D parameters) and position tables, by timm's grouping.

    Args:
        model: Its backbone says which parameters make a layer.
        weight_decay: Of the other parameters.
        layer_decay: In (0, 1]: layer l of L (the head is L) learns at `layer_decay` ** (L - l) of the rate.
    """
    tables = [name for name, _ in model.named_parameters() if name.rpartition(".")[2] in POSITION_TABLES]
    if layer_decay == 1:
        groups = param_groups_weight_decay(model, weight_decay, no_weight_decay_list=tables)
    else:
        tables = [name.removeprefix("backbone.") for name in tables]
        groups = [
            *param_groups_layer_decay(model.backbone, weight_decay, tables, layer_decay=layer_decay),
            *param_groups_weight_decay(model.head, weight_decay),
        ]
    return _adamw(groups, weight_decay)


def _adamw(groups: Iterable[dict[str, Any]], weight_decay: float) -> torch.optim.AdamW:
    # The loop sets the rate before every step; betas and eps are torch's defaults, which the recipes use.
    groups = list(groups)
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, lr=0.0, weight_decay=weight_decay, fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float, *, peak: float | None = None) -> None:
    """Use `lr` from the next step on: times its `lr_scale` in a group that has one, and `peak` instead in the
    groups that do not follow the schedule."""
    for group in optimizer.param_groups:
        rate = peak if peak is not None and group.get(_AT_PEAK) else lr
        group["lr"] = rate * group.get("lr_scale", 1.0)
