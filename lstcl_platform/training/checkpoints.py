"""Checkpoints that survive kills: complete or invisible, checked by digest, fenced by attempt.

Layout of a stage: `<stage>/a<N>/step-00000123/state.pt` and, written last, `complete.json` with the size
and SHA-256 of every file. A folder without `complete.json` was never finished; a folder whose files do not
match it is damaged.
"""

import hashlib
import io
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, cast

from lstcl_platform import storage
from lstcl_platform.specs.errors import StorageError
from lstcl_platform.storage import HashingWriter

logger = logging.getLogger(__name__)

MARKER = "complete.json"
STATE = "state.pt"
CLAIM = "claimed"
"""The first file of an attempt's folder; all that there is of one that never began."""


class DamagedCheckpointError(Exception):
    """A checkpoint's files are not what its marker says they are."""


@dataclass(frozen=True, kw_only=True)
class CheckpointRef:
    """A checkpoint that was completely written.

    Attributes:
        uri: its folder.
        step: optimizer steps done.
        attempt: number of the attempt that wrote it.
        files: file name -> SHA-256.
        about: what the writer noted beside the state, e.g. the numerics fingerprint; JSON values.
    """

    uri: str
    step: int
    attempt: int
    files: Mapping[str, str]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stage_dir(self) -> str:
        """Folder of the stage."""
        return storage.parent(storage.parent(self.uri)[0])[0]


def next_attempt(stage_dir: str) -> int:
    """Claim the next attempt of a stage: creates `a<N>`, one above all that exist, and returns N (from 1).

    Exclusive on a local or network file system: two callers get two numbers. For object stores see
    `storage.create_exclusively`.
    """
    number = max(_attempts(stage_dir), default=0) + 1
    while not storage.create_exclusively(storage.join(stage_dir, f"a{number}", CLAIM), b""):
        number += 1
    return number


def save_checkpoint(
    attempt_dir: str, step: int, state: Mapping[str, Any], *, about: Mapping[str, Any] | None = None
) -> CheckpointRef:
    """Write `state` as the checkpoint after `step` steps; it counts only once this returns.

    Args:
        attempt_dir: `<stage>/a<N>`.
        step: optimizer steps done.
        state: tensors and plain Python values in nested dicts and lists (loadable with `weights_only`).
        about: JSON values that can be read without loading the state.

    Raises:
        StorageError: storage is away or full; nothing that was complete before is touched.
    """
    import torch  # not above: the driver of a stage only looks for checkpoints, and starts faster without it

    folder = storage.join(attempt_dir, f"step-{step:08d}")
    _delete(folder)
    location = storage.join(folder, STATE)

    def write() -> HashingWriter:
        with storage.open_write(location) as file:
            torch.save(dict(state), cast(IO[bytes], file))  # it only writes and flushes
        return file

    file = storage.repeated(location, write)
    marker = {
        "step": step,
        "files": {STATE: {"sha256": file.sha256, "bytes": file.bytes}},
        "about": dict(about or {}),
    }
    marker["sha256"] = _digest_of(marker)
    storage.write_bytes(storage.join(folder, MARKER), json.dumps(marker, indent=1).encode())
    return open_checkpoint(folder)


def open_checkpoint(uri: str) -> CheckpointRef:
    """Read the marker of the checkpoint in folder `uri`, not its files.

    Raises:
        FileNotFoundError: the checkpoint was never completed.
        DamagedCheckpointError: the marker cannot be read.
    """
    text = storage.read_bytes(storage.join(uri, MARKER))
    attempt_dir, name = storage.parent(uri)
    attempt = _attempt_number(storage.parent(attempt_dir)[1])
    try:
        marker = json.loads(text)
        stated = marker.pop("sha256", None)
        files = {file: str(entry["sha256"]) for file, entry in marker["files"].items()}
        step, about = int(marker["step"]), dict(marker["about"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpointError(f"{uri}: {MARKER} cannot be read ({error})") from error
    if stated not in (None, _digest_of(marker)):  # None: of an earlier version
        raise DamagedCheckpointError(f"{uri}: {MARKER} is not what was written (SHA-256)")
    if name != f"step-{step:08d}" or STATE not in files or attempt is None:
        raise DamagedCheckpointError(f"{uri}: {MARKER} belongs to another folder")
    return CheckpointRef(uri=uri, step=step, attempt=attempt, files=files, about=about)


def _digest_of(marker: Mapping[str, Any]) -> str:
    """SHA-256 of what a marker says, itself apart."""
    return hashlib.sha256(json.dumps(marker, sort_keys=True).encode()).hexdigest()


def verify_checkpoint(ref: CheckpointRef) -> None:
    """Read all files of a checkpoint and compare their digests.

    Raises:
        DamagedCheckpointError: a file is missing, unreadable or changed.
        StorageError: storage is away, which says nothing of the checkpoint.
    """
    for name, expected in ref.files.items():
        digest = hashlib.sha256()
        try:
            with storage.open_read(storage.join(ref.uri, name)) as stream:
                while chunk := stream.read(storage.CHUNK_BYTES):
                    digest.update(chunk)
        except StorageError:
            raise
        except OSError as error:
            raise DamagedCheckpointError(f"{ref.uri}: {name} cannot be read ({error})") from error
        if digest.hexdigest() != expected:
            raise DamagedCheckpointError(f"{ref.uri}: {name} is not what was written (SHA-256)")


def newest_good(stage_dir: str, *, on_damage: Callable[[str], None] | None = None) -> CheckpointRef | None:
    """The checkpoint with most steps over all attempts whose files are what was written, or None.

    A damaged one is named in a warning and passed over; one that was never completed is passed over in
    silence. Of two at one step the later attempt's comes first.

    Args:
        stage_dir: folder of the stage.
        on_damage: told of every damaged one, by name.

    Raises:
        StorageError: storage is away, which says nothing of the checkpoints.
    """
    intact = (intact_checkpoint(uri, on_damage=on_damage) for _, _, uri in checkpoint_folders(stage_dir))
    return next((ref for ref in intact if ref is not None), None)


def intact_checkpoint(uri: str, *, on_damage: Callable[[str], None] | None = None) -> CheckpointRef | None:
    """The checkpoint in folder `uri`, or None where it was never completed, was removed or is damaged.

    Args:
        uri: its folder.
        on_damage: told of a damaged one, by name.

    Raises:
        StorageError: storage is away, which says nothing of the checkpoint.
    """
    try:
        ref = open_checkpoint(uri)
        verify_checkpoint(ref)
    except FileNotFoundError:
        return None
    except DamagedCheckpointError as error:
        text = f"damaged checkpoint passed over: {error}"
        logger.warning("%s", text)
        if on_damage is not None:
            on_damage(text)
        return None
    return ref


def load_checkpoint(ref: CheckpointRef | str) -> dict[str, Any]:
    """Load a checkpoint's state to CPU tensors, checking its digest on the way.

    Raises:
        FileNotFoundError: it was never completed.
        DamagedCheckpointError: it is not what was written.
    """
    if isinstance(ref, str):
        ref = open_checkpoint(ref)
    data = storage.read_bytes(storage.join(ref.uri, STATE))
    if hashlib.sha256(data).hexdigest() != ref.files[STATE]:
        raise DamagedCheckpointError(f"{ref.uri}: {STATE} is not what was written")
    import torch

    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return dict(state)


def prune_checkpoints(attempt_dir: str, *, keep: int, started_at: int = 0) -> None:
    """Delete all but the `keep` checkpoints with most steps, over this attempt and earlier ones.

    Earlier attempts' unfinished checkpoints go too, and those beyond `started_at`: this attempt passed them
    over, so they are damaged or come from an orphan. Later attempts are not touched: an attempt that was
    replaced while it still runs must not delete its successor's files.

    Args:
        attempt_dir: `<stage>/a<N>` of the caller, which has just completed a checkpoint.
        keep: checkpoints kept.
        started_at: step from which this attempt went on.
    """
    stage_dir, attempt_name = storage.parent(attempt_dir)
    current = _attempt_number(attempt_name)
    if current is None:
        raise ValueError(f"{attempt_dir} does not end in a<N>")
    kept: set[int] = set()
    for attempt, step, uri in checkpoint_folders(stage_dir):
        if attempt > current:
            continue
        complete = storage.exists(storage.join(uri, MARKER))
        trusted = complete and (attempt == current or step <= started_at)
        if trusted and step not in kept and len(kept) < keep:
            kept.add(step)
        elif complete or attempt < current:
            _delete(uri)


def _delete(folder: str) -> None:
    # The marker goes first: what a kill leaves behind then reads as never finished, not as damaged.
    storage.delete_tree(storage.join(folder, MARKER))
    storage.delete_tree(folder)


def _attempts(stage_dir: str) -> list[int]:
    return [n for n in map(_attempt_number, storage.list_names(stage_dir)) if n is not None]


def checkpoint_folders(stage_dir: str) -> list[tuple[int, int, str]]:
    """(attempt, step, folder) of all checkpoints, complete or not: most steps first, then latest attempt."""
    found = []
    for attempt in _attempts(stage_dir):
        folder = storage.join(stage_dir, f"a{attempt}")
        for name in storage.list_names(folder):
            step = _step_number(name)
            if step is not None:
                found.append((attempt, step, storage.join(folder, name)))
    return sorted(found, key=lambda entry: (entry[1], entry[0]), reverse=True)


def step_of(uri: str) -> int:
    """Steps after which the checkpoint in folder `uri` was taken, as its name says; -1 for another folder."""
    step = _step_number(storage.parent(uri)[1])
    return -1 if step is None else step


def _attempt_number(name: str) -> int | None:
    match = re.fullmatch(r"a(\d+)", name)
    return int(match[1]) if match else None


def _step_number(name: str) -> int | None:
    match = re.fullmatch(r"step-(\d+)", name)
    return int(match[1]) if match else None
