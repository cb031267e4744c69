"""Public weights into a backbone, with a report in which every tensor of both sides has its place."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor

from lstcl_platform.models.backbone import Backbone
from lstcl_platform.models.fitting import fit
from lstcl_platform.models.public_names import (
    NATIVE,
    SWIN,
    TIMESFORMER,
    TIMM_SWIN,
    VIDEO_SWIN,
    VIT,
    Naming,
    prefix,
    reason,
    twin,
)
from lstcl_platform.models.timesformer import TimeSformer
from lstcl_platform.models.weights import listing, read_safetensors
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.weights import (
    NativeWeights,
    TimeSformerWeights,
    TimmWeights,
    VideoSwinWeights,
    WeightsSpec,
)

_WRAPPERS = ("state_dict", "model_state", "model")
"""Where public checkpoints keep the tensors beside epoch, optimizer and settings."""
_SHOWN = 4


@dataclass(kw_only=True)
class LoadReport:
    """What became of every tensor.

    Attributes:
        source: where the weights come from.
        loaded: ours that were there under the same name and in the same shape.
        renamed: ours -> the name there.
        interpolated: ours -> what was done to fit it.
        new: ours that were not there -> what they start as.
        unused: those there that have no place here -> why.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    interpolated: dict[str, str] = field(default_factory=dict)
    new: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        named = {
            "renamed": self.renamed,
            "interpolated": self.interpolated,
            "new": self.new,
            "unused": self.unused,
        }
        counts = ", ".join(
            [f"{len(self.loaded)} loaded", *(f"{len(of)} {what}" for what, of in named.items())]
        )
        lines = [f"  {what}: {name} ({why})" for what, of in named.items() for name, why in of.items()]
        return "\n".join([f"initial weights from {self.source}: {counts}", *lines])


def load_initial_weights(backbone: Backbone, weights: WeightsSpec, *, file: Path | None = None) -> LoadReport:
    """Fill a backbone with public weights, or change nothing.

    Args:
        backbone: receives them, in its own dtype and on its own device.
        weights: which, and in whose names.
        file: local copy of `weights.file`, where that is a URI.

    Returns:
        What became of every tensor.

    Raises:
        UserError: the file or the model on the hub cannot be read, has another SHA-256 than stated, or has or
            lacks a tensor for no known reason; the message lists all such tensors.
    """
    if weights.file is None:
        assert isinstance(weights, TimmWeights)
        assert weights.name is not None
        source, found = f"timm {weights.name}", _from_hub(weights.name)
    else:
        file = Path(weights.file) if file is None else file
        source, found = weights.file, read_tensors(file, sha256=weights.sha256)
    return adopt(backbone, found, _naming(weights, backbone, found), source=source)


def _naming(weights: WeightsSpec, backbone: Backbone, found: Mapping[str, Tensor]) -> Naming:
    match weights:
        case TimeSformerWeights():
            return TIMESFORMER
        case VideoSwinWeights():
            return VIDEO_SWIN
        case NativeWeights():
            return NATIVE
        case TimmWeights():
            if isinstance(backbone, TimeSformer):
                return VIT
            # Microsoft's first stage ends with a merging; timm's first stage has none.
            return SWIN if "layers.0.downsample.reduction.weight" in found else TIMM_SWIN


def adopt(backbone: Backbone, found: Mapping[str, Tensor], naming: Naming, *, source: str) -> LoadReport:
    """Load tensors by an explicit map of names; arguments and errors as in `load_initial_weights`."""
    report = LoadReport(source=source)
    start = prefix(found, naming)
    values: dict[str, Tensor] = {}
    used: set[str] = set()
    missing, misshapen = [], []
    for name, own in backbone.state_dict().items():
        there = start + naming.public(name)
        stand_in = twin(name, naming)
        if there not in found and stand_in is not None:
            there = start + naming.public(stand_in)
        if there not in found:
            why = reason(name, naming.new)
            if why is None:
                missing.append(name)
            else:
                report.new[name] = why
            continue
        used.add(there)
        try:
            fitted, how = fit(name, found[there], backbone)
        except ValueError:
            misshapen.append(f"{there} (file {list(found[there].shape)}, model {list(own.shape)})")
            continue
        values[name] = fitted
        if how:
            report.interpolated[name] = f"{there}: {how}"
        elif there != name:
            report.renamed[name] = there
        else:
            report.loaded.append(name)
    unexplained = []
    for name in found:
        if name not in used:
            why = reason(name.removeprefix(start), naming.unused)
            if why is None:
                unexplained.append(name)
            else:
                report.unused[name] = why
    problems = [
        listing("missing", missing),
        listing("with no place in the model", unexplained),
        listing("of another shape", misshapen),
    ]
    if any(problems):
        lines = "".join(f"\n  {problem}" for problem in problems if problem)
        raise UserError(f"{source}: these weights do not fit the backbone:{lines}")
    backbone.load_state_dict(values, strict=False)
    return report


def read_tensors(file: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Tensors by name, from safetensors or from what `torch.save` wrote (no code in it is run).

    Raises:
        UserError: the file is missing, unreadable, not of the stated SHA-256, or holds no tensors.
    """
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest() if sha256 else None
    except OSError as error:
        raise UserError(f"{file}: cannot read the weights: {error.strerror}") from error
    if digest != sha256:
        raise UserError(f"{file}: the file's SHA-256 is {digest}, but sha256 states {sha256}")
    if file.suffix == ".safetensors":
        return read_safetensors(file)
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its zip and pickle readers raise
        raise UserError(
            f"{file}: not readable as a checkpoint of plain tensors ({error}); save its tensors as safetensors"
        ) from error
    found = dict(_tensors_of(stored))
    if not found:
        raise UserError(f"{file}: holds no tensors by name")
    return found


def _tensors_of(stored: object) -> Iterator[tuple[str, Tensor]]:
    if not isinstance(stored, Mapping):
        return
    inside = next((stored[key] for key in _WRAPPERS if isinstance(stored.get(key), Mapping)), stored)
    for name, value in inside.items():
        if isinstance(value, Tensor):
            yield str(name).removeprefix("module."), value


def _from_hub(name: str) -> dict[str, Tensor]:
    from timm.models import get_pretrained_cfg, list_pretrained, load_state_dict_from_hf

    known = list_pretrained(f"{name.partition('.')[0]}.*")
    if not any(name in (one, one.partition(".")[0]) for one in known):
        near = known or get_close_matches(name, list_pretrained(), n=_SHOWN, cutoff=0.8)
        hint = f"; did you mean {' or '.join(near[:_SHOWN])}?" if near else ""
        raise UserError(f"model.init.name: timm has no weights {name!r}{hint}")
    config = get_pretrained_cfg(name)
    try:
        found: dict[str, Tensor] = load_state_dict_from_hf(config.hf_hub_id)
    except Exception as error:  # whatever the hub, the network or the cache may raise
        raise UserError(
            f"model.init.name: cannot fetch {name} from the Hugging Face hub ({error}); "
            "where there is no network, download the file elsewhere and give it as model.init.file"
        ) from error
    return found
