"""A weights file that says what it is, and the model in it: `load_trained`."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import nn

from lstcl_platform.models.build import backbone_of
from lstcl_platform.models.classifier import Classifier
from lstcl_platform.models.weights import load_weights
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.trained import TrainedSpec

_NOTE = "lstcl_platform.trained"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained model.

    Attributes:
        spec: what it is, its classes, and how it was tested.
        module: in eval mode on the CPU: normalised clips (B, 3, T, H, W) float -> logits (B, K) of a classifier, or
            features (B, feature_dim) of a backbone.
    """

    spec: TrainedSpec
    module: nn.Module

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each class; empty for a backbone."""
        return self.spec.classes or ()

    @property
    def backbone(self) -> nn.Module:
        """The backbone: normalised clips (B, 3, T, H, W) -> features (B, feature_dim)."""
        return self.module.backbone if isinstance(self.module, Classifier) else self.module


def load_trained(path: str | Path, *, spec: TrainedSpec | None = None) -> Trained:
    """The model in a file that `lstcl-platform export` wrote with native names.

    Args:
        path: local safetensors file.
        spec: what is in it, for a file that does not say so itself.

    Raises:
        UserError: the file is missing, is no safetensors, does not say what it is, or holds something else.
    """
    path = Path(path)
    with _opened(path) as file:
        metadata = file.metadata() or {}
        head = "head.weight"
        classes = file.get_slice(head).get_shape()[0] if head in file.keys() else 0  # noqa: SIM118 -- no mapping
    spec = spec or _spec_in(metadata, path)
    backbone = backbone_of(spec.model)
    module = Classifier(backbone, max(classes, 1)) if spec.kind == "finetune" else backbone
    load_weights(module, path)
    return Trained(spec=spec, module=module.eval())


def trained_note(spec: TrainedSpec) -> dict[str, str]:
    """Metadata of a safetensors file from which `load_trained` knows what is in it."""
    return {_NOTE: spec.model_dump_json()}


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(str(path), framework="pt")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such weights file") from error
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error


def _spec_in(metadata: dict[str, str], path: Path) -> TrainedSpec:
    if _NOTE not in metadata:
        raise UserError(
            f"{path}: does not say which model it holds; write it with `lstcl-platform export RUN -o {path.name}`"
        )
    try:
        return TrainedSpec.model_validate_json(metadata[_NOTE])
    except ValidationError as error:
        raise UserError(f"{path}: was written by another version of lstcl_platform: {error}") from error
