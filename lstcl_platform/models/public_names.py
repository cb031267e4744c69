"""What public code calls our tensors: one table for each naming, used to load weights and to export them.

Our own names are those of the public video code (TimeSformer, Video-Swin), so the tables are short.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Names = tuple[tuple[str, str], ...]
"""Pattern of a whole name -> why such a tensor is as it is."""


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How one public code names the tensors of a backbone.

    Attributes:
        public: our name -> the name there, without prefix.
        prefixes: what the names there may begin with, most specific first.
        heads: name there of the classifier's layer.
        twins: pattern and replacement in our names: the tensor that a missing one is copied from.
        new: our tensors that may be missing there.
        unused: tensors there that have no place here.
    """

    public: Callable[[str], str]
    prefixes: tuple[str, ...] = ("",)
    head: str = "head"
    twins: tuple[tuple[str, str], ...] = ()
    new: Names = ()
    unused: Names = ()


def _same(name: str) -> str:
    return name


def _merging_first(name: str) -> str:
    """timm puts the patch merging at the head of the stage behind it."""
    return re.sub(r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name)


_CLASSIFIER = (r"(head|head\.fc|cls_head\.fc_cls)\.(weight|bias)", "classifier of its own classes")
_BUFFERS = (r".*\.(relative_position_index|attn_mask)", "computed from the sizes here")

VIT = Naming(
    public=_same,
    twins=((r"\.temporal_attn\.", ".attn."), (r"\.temporal_norm1\.", ".norm1.")),
    new=(
        (r"blocks\.\d+\.temporal_fc\.(weight|bias)", "zero: attention over time adds nothing at first"),
        (r"time_embed", "zero: an image model knows no time"),
    ),
    unused=(_CLASSIFIER,),
)
"""timm's plain ViT. Attention over time starts as attention over space (TimeSformer, `models/helpers.py`)."""

TIMM_SWIN = Naming(public=_merging_first, head="head.fc", unused=(_CLASSIFIER, _BUFFERS))
"""timm's Swin."""

SWIN = Naming(public=_same, unused=(_CLASSIFIER, _BUFFERS))
"""microsoft/Swin-Transformer."""

TIMESFORMER = Naming(public=_same, prefixes=("model.", ""), head="model.head", unused=(_CLASSIFIER,))
"""facebookresearch/TimeSformer: `VisionTransformer` inside `TimeSformer`."""

VIDEO_SWIN = Naming(
    public=_same, prefixes=("backbone.", ""), head="cls_head.fc_cls", unused=(_CLASSIFIER, _BUFFERS)
)
"""SwinTransformer/Video-Swin-Transformer: `SwinTransformer3D` inside mmaction's recogniser."""

NATIVE = Naming(public=_same, prefixes=("backbone.", ""), unused=(_CLASSIFIER,))
"""This platform: a backbone alone, or inside a `Classifier`."""


def reason(name: str, patterns: Names) -> str | None:
    """Why a tensor called `name` is among `patterns`, or None where it is not."""
    return next((why for pattern, why in patterns if re.fullmatch(pattern, name)), None)


def twin(name: str, naming: Naming) -> str | None:
    """Our tensor whose counterpart stands in for that of `name`, or None."""
    for pattern, replacement in naming.twins:
        if re.search(pattern, name):
            return re.sub(pattern, replacement, name)
    return None


def prefix(names: Iterable[str], naming: Naming) -> str:
    """The most specific prefix of `naming` that any of `names` has."""
    names = list(names)
    return next((p for p in naming.prefixes if any(name.startswith(p) for name in names)), "")
