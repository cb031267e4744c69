"""Videos that a person names one by one or by folder, without labels: what a trained model is shown."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.layouts.listing import VIDEO_SUFFIXES, Listed, Listing, enclosed


def loose_listing(sources: Sequence[Path]) -> Listing:
    """Files as they are named, and the videos below each folder by path; label 0 stands for none.

    A file that is named is listed whatever its suffix, also when it is missing: indexing says what is wrong with it.

    Raises:
        UserError: a folder holds no video, or nothing is named.
    """
    files = list(dict.fromkeys(path for source in sources for path in _videos_of(source)))
    if not files:
        raise UserError("no video is named")
    listed = [Listed(str(path.absolute()), 0, "") for path in files]
    return enclosed(Listing(root=Path.cwd(), videos=listed))


def holds_loose_videos(folder: Path) -> bool:
    """Whether videos lie in `folder` itself, so that it is not one folder a class."""
    return folder.is_dir() and any(_is_video(entry.name) for entry in os.scandir(folder) if entry.is_file())


def _videos_of(source: Path) -> Iterable[Path]:
    if not source.is_dir():
        return [source]
    found = sorted(_below(source))
    if not found:
        raise UserError(
            f"{source}: no video found; files ending in {', '.join(sorted(VIDEO_SUFFIXES))} count"
        )
    return found


def _below(folder: Path) -> Iterator[Path]:
    for inside, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(inside, name) for name in files if _is_video(name))


def _is_video(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES
