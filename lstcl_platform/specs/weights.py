"""Weights that a backbone starts from: one spec for each public naming, told apart by `kind`."""

import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field

from lstcl_platform.specs.base import Relation, Spec

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _unpinned_uri(file: str | None, sha256: str | None) -> Iterator[Relation]:
    if file is not None and "://" in file and sha256 is None:
        yield Relation(fields=("file", "sha256"), text=f"{file} is a URI: state the file's sha256 as well")


class _WeightsFile(Spec):
    """A file of weights."""

    file: str
    """Path (relative to the spec file) or URI; `.safetensors`, or what `torch.save` wrote."""
    sha256: Sha256 | None = None
    """The file's SHA-256, checked on load; null takes that of the local file when the spec is expanded."""

    def broken_relations(self) -> Iterator[Relation]:
        """What lies at a URI is pinned."""
        yield from _unpinned_uri(self.file, self.sha256)


class TimmWeights(Spec):
    """ImageNet weights of a plain ViT (for a TimeSformer) or a Swin (for Swin and Space-Time Swin), inflated.

    Downloaded from the Hugging Face hub by `name`, or read from a `file` with timm's names or those of
    microsoft/Swin-Transformer.
    """

    kind: Literal["timm"] = "timm"
    """Whose names the tensors have."""
    name: str | None = None
    """Model and tag as timm knows them, e.g. `vit_base_patch16_224.augreg_in21k_ft_in1k`."""
    file: str | None = None
    """Path (relative to the spec file) or URI of a downloaded file instead."""
    sha256: Sha256 | None = None
    """The file's SHA-256, checked on load; null takes that of the local file when the spec is expanded."""

    def broken_relations(self) -> Iterator[Relation]:
        """Hub or file, and what lies at a URI is pinned."""
        if (self.name is None) == (self.file is None):
            yield Relation(fields=("name", "file"), text="kind timm takes either a name or a file")
        if self.file is None and self.sha256 is not None:
            yield Relation(
                fields=("sha256", "file"), text="sha256 is that of a file; a name on the hub has none"
            )
        yield from _unpinned_uri(self.file, self.sha256)


class TimeSformerWeights(_WeightsFile):
    """A checkpoint of facebookresearch/TimeSformer."""

    kind: Literal["timesformer_official"] = "timesformer_official"
    """Whose names the tensors have."""


class VideoSwinWeights(_WeightsFile):
    """A checkpoint of SwinTransformer/Video-Swin-Transformer (mmaction); patches of two frames are added up."""

    kind: Literal["video_swin_official"] = "video_swin_official"
    """Whose names the tensors have."""


class NativeWeights(_WeightsFile):
    """Weights of this platform: of a pretrained backbone, or of a finetuned model, whose classifier is left."""

    kind: Literal["native"] = "native"
    """Whose names the tensors have."""


WeightsSpec = Annotated[
    TimmWeights | TimeSformerWeights | VideoSwinWeights | NativeWeights, Field(discriminator="kind")
]


def pinned(weights: WeightsSpec) -> WeightsSpec:
    """`weights` with the digest of its local file filled in, so that the content is in the stage key.

    Raises:
        OSError: the file cannot be read.
    """
    if weights.file is None or weights.sha256 is not None:
        return weights
    found = os.stat(weights.file)
    return weights.model_copy(update={"sha256": _digest(weights.file, found.st_size, found.st_mtime_ns)})


@lru_cache(maxsize=32)
def _digest(path: str, size: int, modified: int) -> str:
    """SHA-256 of a file, read once while its size and time stay what they are."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
