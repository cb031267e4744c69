"""The manifest: a Parquet index of a dataset, one row a video, and the reason why a video is unusable."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lstcl_platform.specs.errors import StorageError, UserError
from lstcl_platform.specs.wording import numbered
from lstcl_platform.storage import write_bytes
from lstcl_platform.storage.places import Place, place_of, root_from, stored_root
from lstcl_platform.video.table_digest import table_digest

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.int32()),
        ("label_name", pa.string()),
        ("frames", pa.int32()),
        ("fps", pa.float64()),
        ("duration", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("codec", pa.string()),
        ("rotation", pa.int32()),
        ("size_bytes", pa.int64()),
        ("modified_ns", pa.int64()),
        ("digest", pa.string()),
        ("problem", pa.string()),
    ]
)
_ROOT_KEY = b"lstcl_platform.root"
_CLASSES_KEY = b"lstcl_platform.classes"
_PUBLISHED_KEY = b"lstcl_platform.published"
_CONTENT_KEY = b"lstcl_platform.content"
_NOTES = (_ROOT_KEY, _CLASSES_KEY, _PUBLISHED_KEY)
_OUTSIDE = r"^/|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\x00"
"""Paths that lead out of the folder they are relative to, or to no file at all."""


@dataclass(frozen=True, kw_only=True)
class VideoRow:
    """What the manifest knows of one video."""

    row: int
    """Row number in the manifest: the video's identity in every random draw, equal on every machine."""
    path: str
    """Path relative to the manifest's root, with forward slashes."""
    label: int
    label_name: str
    frames: int
    """Frames that a player shows: packets that an edit list hides do not count. 0 if unusable."""
    fps: float
    """Frames a second; the mean where the rate varies."""
    duration: float
    """Seconds from the first shown frame to the end of the last one."""
    width: int
    """Pixels across, after display rotation."""
    height: int
    """Pixels down, after display rotation."""
    codec: str
    rotation: int
    """Counter-clockwise display rotation in degrees: 0, 90, 180 or 270."""
    size_bytes: int
    modified_ns: int
    """Modification time when the file was read: tells whether to read it again; no part of the digest."""
    digest: str
    """SHA-256 of the file's content, hexadecimal; empty for a missing file."""
    problem: str | None
    """Why the video cannot be used, or None."""


@dataclass(frozen=True)
class Manifest:
    """Index of a dataset; rows keep the order of the source (sorted paths of a folder, lines of a CSV)."""

    table: pa.Table
    """Columns of `SCHEMA`."""
    root: Place
    """Folder that the paths are relative to."""
    stated_classes: tuple[str, ...] | None = None
    """Names of the labels from 0 on, where the dataset's layout says them."""
    published: int | None = None
    """Videos that the dataset was published with, where only those that are here have a row."""

    @classmethod
    def from_rows(
        cls,
        rows: Sequence[VideoRow],
        *,
        root: Place,
        stated_classes: tuple[str, ...] | None = None,
        published: int | None = None,
    ) -> "Manifest":
        """Build a manifest from rows in order; `row` numbers are assigned by position."""
        columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
        return cls(pa.table(columns, schema=SCHEMA), root, stated_classes, published)

    @classmethod
    def load(cls, path: str | Place) -> "Manifest":
        """Read a manifest Parquet; the videos themselves are not looked at.

        Raises:
            UserError: The file is missing, is no Parquet or not a manifest, is not what was written, or names a
                video outside its root.
            StorageError: Its storage is away.
        """
        path = place_of(path)
        if not path.is_file():
            raise UserError(
                f"{path}: no such manifest; write one with `lstcl-platform data index SOURCE -o {path.name}`"
            )
        try:
            source = path if isinstance(path, Path) else pa.BufferReader(path.read_bytes())
            table = pq.read_table(source, memory_map=False, page_checksum_verification=True)
            table.validate(full=True)
        except StorageError:
            raise
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: cannot be read as a Parquet manifest: {reason}") from error
        missing = [name for name in SCHEMA.names if name not in table.column_names]
        if missing:
            raise UserError(
                f"{path}: not a video manifest: column {', '.join(missing)} is missing; "
                f"write one with `lstcl-platform data index SOURCE -o {path.name}`"
            )
        said = dict(table.schema.metadata or {})
        try:
            table = table.select(SCHEMA.names).cast(SCHEMA)
            _check_content(table, said, path)
            classes = json.loads(said.get(_CLASSES_KEY, b"null"))
            published = json.loads(said.get(_PUBLISHED_KEY, b"null"))
            root = root_from(said.get(_ROOT_KEY, b".").decode(), folder=path.parent)
        except (pa.ArrowException, ValueError) as error:
            raise UserError(f"{path}: not a video manifest: {str(error).splitlines()[0]}") from error
        return cls(table, root, None if classes is None else tuple(classes), published)

    def save(self, path: str | Place) -> None:
        """Write the manifest as Parquet, atomically.

        The root is stored relative to the Parquet where it lies in, above or below the same folder, so that a
        dataset moves together with its manifest; otherwise as an absolute path.
        """
        path = place_of(path)
        said = {
            _ROOT_KEY: stored_root(self.root, folder=path.parent),
            _CLASSES_KEY: json.dumps(self.stated_classes),
            _PUBLISHED_KEY: json.dumps(self.published),
        }
        notes = {key: text.encode() for key, text in said.items()}
        notes[_CONTENT_KEY] = table_digest(self.table, notes).encode()
        content = pa.BufferOutputStream()
        pq.write_table(self.table.replace_schema_metadata(notes), content, write_page_checksum=True)
        write_bytes(str(path), content.getvalue().to_pybytes())

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the label map and path, label, content digest and usability of every row.

        Equal on every machine.
        """
        fold = hashlib.sha256(f"{self.label_map}\n".encode())
        columns = (self.table[name].to_pylist() for name in ("path", "label", "digest", "problem"))
        for path, label, digest, problem in zip(*columns, strict=True):
            fold.update(f"{path}\0{label}\0{digest}\0{problem is None}\n".encode())
        return fold.hexdigest()

    @cached_property
    def usable(self) -> npt.NDArray[np.int64]:
        """Row numbers of the videos without a problem, ascending."""
        return np.flatnonzero(self.table["problem"].is_null().to_numpy()).astype(np.int64)

    @property
    def short_sides(self) -> npt.NDArray[np.int64]:
        """Pixels on the shorter edge of every usable video."""
        width, height = (np.asarray(self.table[name].to_numpy(), np.int64) for name in ("width", "height"))
        return np.minimum(width, height)[self.usable]

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """Label of every row."""
        return np.asarray(self.table["label"].to_numpy(), dtype=np.int64)

    @cached_property
    def classes(self) -> list[str]:
        """Name of every label, from 0 on: as stated, or to the largest that a video has.

        A label that no video has is then named by its number.
        """
        if self.stated_classes is not None:
            return list(self.stated_classes)
        pairs = zip(self.table["label"].to_pylist(), self.table["label_name"].to_pylist(), strict=True)
        names: dict[int, str] = dict(pairs)
        return [names.get(label, str(label)) for label in range(max(names, default=-1) + 1)]

    @cached_property
    def label_map(self) -> str:
        """SHA-256 of `classes`: what the labels mean."""
        return hashlib.sha256(json.dumps(self.classes).encode()).hexdigest()

    @cached_property
    def problems(self) -> list[tuple[str, str]]:
        """(path, problem) of every unusable video."""
        pairs = zip(self.table["path"].to_pylist(), self.table["problem"].to_pylist(), strict=True)
        return [(path, problem) for path, problem in pairs if problem is not None]

    @property
    def hours(self) -> float:
        """Summed duration of the usable videos."""
        durations = self.table["duration"].to_numpy()
        return float(durations[self.usable].sum()) / 3600

    def row(self, number: int) -> VideoRow:
        """Row `number` as an object."""
        values: dict[str, Any] = {name: self._columns[name][number].as_py() for name in SCHEMA.names}
        return VideoRow(row=int(number), **values)

    def file(self, number: int) -> Place:
        """Path of the file of row `number`."""
        relative: str = self._columns["path"][number].as_py()
        return self.root / relative

    @cached_property
    def _columns(self) -> dict[str, pa.Array]:
        return {name: self.table[name].combine_chunks() for name in SCHEMA.names}


def _check_content(table: pa.Table, said: dict[bytes, bytes], path: Place) -> None:
    """Refuse a manifest that is not what was written, or that reaches beyond its root.

    One without a digest (of an earlier version, or of another program) is believed.
    """
    notes = {key: said[key] for key in _NOTES if key in said}
    if _CONTENT_KEY in said and said[_CONTENT_KEY] != table_digest(table, notes).encode():
        raise UserError(f"{path}: damaged: its content is not what was written; index the data again")
    outside = table["path"].filter(pc.match_substring_regex(table["path"], _OUTSIDE))
    if len(outside):
        raise UserError(
            f"{path}: names {outside[0].as_py()!r}, which is not below its root; a manifest holds paths below one "
            f"folder: index the data again"
        )
    if table["path"].null_count:
        raise UserError(f"{path}: not a video manifest: a row has no path")


def check_usable(
    manifest: Manifest, *, max_bad_fraction: float, found: Mapping[str, str] | None = None
) -> None:
    """Refuse a dataset of which too much is unusable.

    Args:
        manifest: The dataset.
        max_bad_fraction: Share of its videos that may be.
        found: Path -> problem of usable videos that have turned out bad.

    Raises:
        UserError: More than `max_bad_fraction` of the videos have a problem; names the first three.
    """
    problems = [*(found or {}).items(), *manifest.problems]
    bad = len(problems)
    if bad > max_bad_fraction * len(manifest):
        first = "; ".join(f"{path}: {problem}" for path, problem in problems[:3])
        raise UserError(
            f"{manifest.root}: {bad} of {numbered(len(manifest), 'video')} cannot be used, more than "
            f"data.max_bad_fraction ({max_bad_fraction:g}) allows: {first}{'; ...' if bad > 3 else ''}"
        )


def check_same_classes(train: Manifest, val: Manifest) -> None:
    """Refuse two splits whose label maps differ.

    Where a map was made from the labels that occur, a split may lack classes, as long as those it has are the same.

    Raises:
        UserError: A label has another name in `val` than in `train`, or does not occur in `train`.
    """
    if val.label_map == train.label_map:
        return
    maps = f"(label maps {train.label_map[:10]} and {val.label_map[:10]})"
    both_stated = train.stated_classes is not None and val.stated_classes is not None
    if len(val.classes) > len(train.classes):
        extra = ", ".join(val.classes[len(train.classes) :][:3])
        raise UserError(
            f"{val.root}: {numbered(len(val.classes), 'class', 'classes')}, but the training videos in "
            f"{train.root} have only {len(train.classes)}: {extra} cannot be learned {maps}"
        )
    present = set(val.labels.tolist())
    for label, (ours, theirs) in enumerate(zip(train.classes, val.classes, strict=False)):
        if ours != theirs and (both_stated or label in present):
            raise UserError(
                f"{val.root}: label {label} is '{theirs}', but '{ours}' in {train.root}: "
                f"both splits need the same classes {maps}"
            )
    if both_stated:
        raise UserError(
            f"{val.root}: {numbered(len(val.classes), 'class', 'classes')}, but {len(train.classes)} in {train.root}: '"
            f"{train.classes[len(val.classes)]}' is missing {maps}"
        )
