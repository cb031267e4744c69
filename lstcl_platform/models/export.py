"""Our weights in the names of public code, so that timm or the official code takes them back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lstcl_platform.models.build import backbone_of
from lstcl_platform.models.public_names import NATIVE, SWIN, TIMESFORMER, TIMM_SWIN, VIDEO_SWIN, VIT, Naming
from lstcl_platform.models.weights import listing, read_safetensors, save_tensors
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import ModelSpec

ExportFormat = Literal["native", "timm", "official"]


def export_weights(
    stored: Path,
    target: Path,
    *,
    model: ModelSpec,
    form: ExportFormat,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Rewrite a stage's weights file in other names.

    Args:
        stored: safetensors of a backbone, or of a classifier, whose head is exported too.
        target: safetensors file to write; its folder must exist.
        model: the backbone.
        form: `native` as stored. `timm`: Swin frame by frame as timm's Swin, TimeSformer with space-only
            attention as timm's ViT. `official`: facebookresearch/TimeSformer, microsoft/Swin-Transformer or
            Video-Swin (mmaction); index and mask buffers, which these compute, are left out.
        metadata: texts for the file's header: with `trained_note` and native names, `load_trained` reads it.

    Returns:
        Tensors written.

    Raises:
        UserError: the format has no place for such a backbone, or the file does not hold one.
    """
    tensors = renamed(read_safetensors(stored), model=model, form=form)
    save_tensors(tensors, target, metadata=metadata)
    return len(tensors)


def renamed(tensors: Mapping[str, Tensor], *, model: ModelSpec, form: ExportFormat) -> dict[str, Tensor]:
    """The tensors of a stage in the names of `form`; arguments and errors as in `export_weights`."""
    naming = _naming(model, form)
    start = next((p for p in NATIVE.prefixes if any(name.startswith(p) for name in tensors)), "")
    body = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
    head = {name: value for name, value in tensors.items() if start and name.startswith("head.")}
    with torch.device("meta"):
        wanted = backbone_of(model).state_dict()
    problems = [
        listing("missing", wanted.keys() - body.keys()),
        listing("with no place in the model", body.keys() - wanted.keys()),
        listing(
            "of another shape", (n for n in wanted.keys() & body.keys() if wanted[n].shape != body[n].shape)
        ),
    ]
    if any(problems):
        raise UserError(f"these weights are not of {model.name}: {'; '.join(filter(None, problems))}")
    if naming is None:
        return dict(tensors)
    images = naming in (SWIN, TIMM_SWIN)
    out = {}
    for name, value in body.items():
        if images and name == "patch_embed.proj.weight":
            value = value.squeeze(2)
        out[naming.prefixes[0] + naming.public(name)] = value.contiguous()
    return out | {name.replace("head", naming.head, 1): value for name, value in head.items()}


def _naming(model: ModelSpec, form: ExportFormat) -> Naming | None:
    """The names to use; None keeps ours."""
    family = model.name.rpartition("_")[0]
    match form, family:
        case "native", _:
            return None
        case "official", _:
            return {"timesformer": TIMESFORMER, "swin": SWIN, "st_swin": VIDEO_SWIN}[family]
        case "timm", "swin":
            return TIMM_SWIN
        case "timm", "timesformer" if model.attention == "space_only":
            return VIT
    what = f"{model.name} with {model.attention} attention" if family == "timesformer" else model.name
    raise UserError(f"timm has no model for {what}, which looks across frames: use --format official")
