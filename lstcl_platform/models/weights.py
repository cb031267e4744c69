"""Weights of a module in a safetensors file: all of them or an error that names the difference."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lstcl_platform.specs.errors import UserError

_SHOWN = 8


def save_weights(module: nn.Module, path: str | Path) -> None:
    """Write a module's state dict; the file appears whole or not at all.

    Args:
        module: Any module; parameters and persistent buffers are written in their own dtype.
        path: Local file to write, usually `*.safetensors`; its folder must exist.
    """
    save_tensors(module.state_dict(), path)


def save_tensors(
    tensors: Mapping[str, Tensor], path: str | Path, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors by name, as `save_weights` does, with texts about them in the file's header."""
    path = Path(path)
    values = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file(values, str(partial), metadata=None if metadata is None else dict(metadata))
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load a file written by `save_weights` into a module of the same architecture, or change nothing.

    Args:
        module: Receives the values, converted to its own dtype and device.
        path: Local safetensors file.

    Raises:
        UserError: The file is missing or unreadable, or names and shapes differ; the message lists what is
            missing, unexpected and misshapen.
    """
    found = read_safetensors(path)
    own = module.state_dict()
    problems = [
        listing("missing in the file", (name for name in own if name not in found)),
        listing("not part of the model", (name for name in found if name not in own)),
        listing(
            "of another shape",
            (
                f"{name} (file {list(found[name].shape)}, model {list(own[name].shape)})"
                for name in own
                if name in found and found[name].shape != own[name].shape
            ),
        ),
    ]
    if any(problems):
        lines = "".join(f"\n  {problem}" for problem in problems if problem)
        raise UserError(f"{path}: weights do not fit {type(module).__name__}:{lines}")
    module.load_state_dict(found)


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a local safetensors file by name; raises UserError when it is missing or unreadable."""
    try:
        found: dict[str, Tensor] = load_file(str(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such weights file") from error
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error
    return found


def listing(what: str, names: Iterable[str]) -> str:
    """``3 missing: a, b, c``, sorted and cut after a few names; empty without names."""
    listed = sorted(names)
    if not listed:
        return ""
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"{len(listed)} {what}: {', '.join(listed[:_SHOWN])}{more}"
