"""What a training stage changes step by step, saved, restored and digested as a whole."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lstcl_platform import storage
from lstcl_platform.models.weights import load_weights, save_weights
from lstcl_platform.specs.errors import UserError
from lstcl_platform.training.seeding import rng_state, set_rng_state


@dataclass(kw_only=True)
class Trainee:
    """Model, optimizer and scaler of one stage.

    Attributes:
        model: with all its state (a framework holds its momentum encoder); not wrapped for several ranks.
        optimizer: over the trainable parameters.
        scaler: gradient scaler, disabled unless the precision is fp16.
        device: where they are.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    device: torch.device

    def state(self) -> dict[str, Any]:
        """All of it, with the state of torch's generators; shares memory with the live objects."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": rng_state(self.device),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned, possibly on another device."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        set_rng_state(state["rng"], self.device)

    def digest(self) -> str:
        """SHA-256 over names, types, shapes and bytes of the whole state, in order of name; 64 hex digits."""
        digest = hashlib.sha256()
        _digest_into(digest, "", self.state())
        return digest.hexdigest()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss` to those accumulated."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def apply_gradients(self) -> Tensor:
        """One optimizer step with the accumulated gradients, which are dropped; returns their L2 norm."""
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm


def _digest_into(digest: Any, name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            _digest_into(digest, f"{name}/{key}", value[key])
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _digest_into(digest, f"{name}/{number}", item)
    elif isinstance(value, Tensor):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        data = value.detach().cpu().contiguous().reshape(-1)
        digest.update(data.view(torch.uint8).numpy().data)
    else:
        digest.update(f"{name} {value!r}\n".encode())


def store_weights(module: nn.Module, location: str) -> str:
    """Write a module's weights as safetensors to a path or URI; returns the file's SHA-256."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_weights(module, path)

        def write() -> str:
            with path.open("rb") as source, storage.open_write(location) as target:
                while chunk := source.read(storage.CHUNK_BYTES):
                    target.write(chunk)
            return target.sha256

        return storage.repeated(location, write)


def fetch_weights(module: nn.Module, location: str, *, sha256: str | None) -> None:
    """Load weights from a path or URI.

    Args:
        module: receives them.
        location: safetensors file.
        sha256: what was recorded of the file when it was written; None where that is not known.

    Raises:
        UserError: they are missing, do not fit, or are not those that were recorded.
    """
    local = storage.local_path(location)
    with tempfile.TemporaryDirectory() as folder:
        path = local or Path(folder) / "weights.safetensors"
        if local is None:
            storage.download(location, path)
        if sha256 is not None and path.is_file():
            _check_digest(path, sha256, location=location)
        load_weights(module, path)


def _check_digest(path: Path, recorded: str, *, location: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != recorded:
        raise UserError(
            f"{location}: these are not the weights that were recorded when the stage before wrote them: SHA-256 "
            f"{found}, recorded {recorded}; put the file back from a copy"
        )
