"""A prepared copy of a dataset: where its files go, what it was made with, what is there already."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from lstcl_platform import storage
from lstcl_platform.specs.errors import UserError
from lstcl_platform.storage.places import Place, place_of
from lstcl_platform.video.guarded import answer_lines, guarded_answers
from lstcl_platform.video.layouts.listing import Listing
from lstcl_platform.video.transcoding import Transcoded, TranscodeSettings, transcode

RECORD = ".prepared.json"
"""File in a prepared folder that says what it was made from, and with which settings."""
FORMAT = 1
"""Raised when equal settings give other files: an older folder is then not gone on with."""
_LIMIT_SECONDS = 3600.0
_SERVE = "from lstcl_platform.video.preparing import serve; serve()"


@dataclass(frozen=True)
class Job:
    """A video to transcode: absolute paths or URIs."""

    source: str
    target: str


def plan_copy(listing: Listing, out: Place) -> list[Job]:
    """Where each video goes: its path below the root, ending in `.mp4`.

    Raises:
        UserError: a video lies outside the root, two get the same name, or `out` lies among the videos.
    """
    root, folder = listing.root.resolve(), out.resolve()
    # A CSV names each of its videos, so that copies below its folder are not taken for videos of the set.
    searched = not listing.annotations or listing.classes is not None
    if f"{root}/".startswith(f"{folder}/") or (searched and f"{folder}/".startswith(f"{root}/")):
        raise UserError(
            f"{out}: lies inside the folder of the videos, {root}, or around it; name another folder"
        )
    jobs: list[Job] = []
    taken: dict[str, str] = {}
    for video in listing.videos:
        path = PurePosixPath(video.path)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{video.path}: lies outside {listing.root}, so it has no place in {out}")
        if f"{root / video.path}".startswith(f"{folder}/"):
            raise UserError(f"{out}: holds {video.path}, a video of {listing.root}; name another folder")
        target = prepared_path(video.path)
        if target in taken:
            raise UserError(f"{listing.root}: {taken[target]} and {video.path} would both become {target}")
        taken[target] = video.path
        jobs.append(Job(str(root / video.path), str(folder / target)))
    return jobs


def prepared_path(path: str) -> str:
    """Path of a prepared video below its folder."""
    return PurePosixPath(path).with_suffix(".mp4").as_posix()


def claim(out: Place, *, root: Place, settings: TranscodeSettings) -> None:
    """Make `out`, or find that it was begun with the same settings from videos in the same folder.

    Raises:
        UserError: it holds something else.
    """
    record = out / RECORD
    wanted: dict[str, Any] = {"format": FORMAT, "videos": str(root.resolve()), **asdict(settings)}
    if record.is_file():
        found = json.loads(record.read_text())
        other = [
            f"{name} {found.get(name)} (now {value})"
            for name, value in wanted.items()
            if found.get(name) != value
        ]
        if other:
            raise UserError(f"{out}: was prepared with {', '.join(other)}; name another folder or remove it")
        return
    if out.exists() and (not out.is_dir() or storage.list_names(str(out))):
        raise UserError(f"{out}: exists and holds no prepared videos; name an empty or a new folder")
    storage.write_bytes(str(record), json.dumps(wanted, indent=1).encode())


def is_done(job: Job) -> bool:
    """Whether the target is there and no older than its source; a file is there only when it was verified."""
    try:
        target, source = place_of(job.target).stat(), place_of(job.source).stat()
    except FileNotFoundError:
        return False
    return target.st_mtime_ns >= source.st_mtime_ns


def transcode_guarded(jobs: Sequence[Job], settings: TranscodeSettings) -> Iterator[Transcoded]:
    """`transcode` each job in turn, in a child process that is replaced when a video crashes or hangs it."""
    requests = [{"job": asdict(job), "settings": asdict(settings)} for job in jobs]
    for answer in guarded_answers(_SERVE, requests, limit_seconds=_LIMIT_SECONDS):
        yield Transcoded(problem=answer) if isinstance(answer, str) else Transcoded(**answer)


def serve() -> None:
    """Body of the child: a job and settings a request, a `Transcoded` an answer."""
    answer_lines(_answer)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    source, target = (place_of(request["job"][name]) for name in ("source", "target"))
    try:
        storage.delete_tree(str(target))
        done = transcode(source, target, TranscodeSettings(**request["settings"]))
    except Exception as error:
        # Whatever it is, the child must say so: to die would be taken for the video's fault.
        done = Transcoded(failure=f"{target}: {type(error).__name__}: {error}")
    return asdict(done)


def copy_annotations(source: Place, listing: Listing, out: Place) -> Place:
    """Give `out` what the source has beside its videos; returns what names the prepared dataset.

    Annotations of published datasets find videos by name and are copied. A CSV of `path,label` is written anew, with
    the prepared paths and the labels as they were.
    """
    if not listing.annotations:
        return out
    if listing.classes is None:
        target = out / f"{source.stem}.csv"
        rows = [(prepared_path(video.path), video.label_name) for video in listing.videos]
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("path", "label"), *rows])
        storage.write_bytes(str(target), text.getvalue().encode())
        return target
    first = listing.annotations[0].parent
    folder = out / first.name if source.name.partition("#")[0] == first.name else out
    for file in listing.annotations:
        storage.write_bytes(str(folder / file.name), file.read_bytes())
    return out / source.name
