"""A dataset transcoded once for fast access to its clips, on all CPUs of a cluster through Ray Data."""

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstcl_platform import storage
from lstcl_platform.orchestration.cluster import connected
from lstcl_platform.specs.errors import UserError
from lstcl_platform.storage.places import Place, place_of
from lstcl_platform.video.layouts.listing import Listing
from lstcl_platform.video.preparing import Job, claim, copy_annotations, is_done, plan_copy, transcode_guarded
from lstcl_platform.video.sources import list_videos
from lstcl_platform.video.speed_up import measure_speed_up
from lstcl_platform.video.transcoding import Transcoded, TranscodeSettings

_BATCH = 8
"""Videos a task: enough that starting its process (half a second) does not show."""
_REQUESTS = 16
"""Files that are asked about at a time."""
_MEASURED = 8
_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What came of preparing a dataset.

    Attributes:
        dataset: what to name as `data.train` or `data.val`.
        videos: those of the source.
        found: prepared by an earlier call.
        written: prepared by this one.
        problems: (path below the source's root, why there is no prepared video).
        bytes_before: of the sources that have a prepared video.
        bytes_after: of these prepared videos.
        rate_before: samples a CPU second from sources; None if nothing was measured.
        rate_after: the same from prepared videos.
        measured: videos that the rates were measured on.
    """

    dataset: str
    videos: int
    found: int
    written: int
    problems: list[tuple[str, str]]
    bytes_before: int
    bytes_after: int
    rate_before: float | None
    rate_after: float | None
    measured: int

    @property
    def speed_up(self) -> float | None:
        """Prepared over source rate."""
        return self.rate_after / self.rate_before if self.rate_before and self.rate_after else None


def prepare_videos(
    source: Place,
    out: Place,
    *,
    settings: TranscodeSettings,
    strides: Sequence[int],
    frames: int,
    address: str | None,
    videos: Place | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Transcode what is not there yet, and measure what it brings.

    Args:
        source: folder or annotation, as `list_videos`.
        out: folder of the prepared dataset, with the same layout.
        settings: of the encoder; those of an earlier call must be equal.
        strides: clips of the measured samples.
        frames: frames a clip.
        address: Ray cluster (`auto` or HOST:PORT), whose nodes see both folders under the same paths or URIs; None
            starts a local one.
        videos: folder of the videos of an annotation, where they do not lie near it.
        progress: called with (videos done, videos in all).

    Raises:
        UserError: the source or `out` is wrong, `out` cannot be written, or no cluster answers.
    """
    if source.suffix.lower() == ".parquet":
        raise UserError(
            f"{source}: a manifest has no layout to keep; name the folder or annotation it was made from"
        )
    listing = list_videos(source, videos=videos)
    jobs = plan_copy(listing, out)
    claim(out, root=listing.root, settings=settings)
    with ThreadPoolExecutor(_REQUESTS) as pool:
        open_jobs = [row for row, done in enumerate(pool.map(is_done, jobs)) if not done]
    problems = {
        row: done.problem
        for row, done in _run(jobs, open_jobs, settings, address=address, progress=progress).items()
        if done.problem is not None
    }
    dataset = copy_annotations(source, listing, out)
    pairs = [
        (place_of(job.source), place_of(job.target)) for row, job in enumerate(jobs) if row not in problems
    ]
    measured = _evenly_picked(pairs)
    before, after = _rates(measured, strides=strides, frames=frames)
    return Prepared(
        dataset=str(dataset),
        videos=len(jobs),
        found=len(jobs) - len(open_jobs),
        written=len(open_jobs) - len(problems),
        problems=_named(listing, problems),
        bytes_before=_bytes([old for old, _ in pairs]),
        bytes_after=_bytes([new for _, new in pairs]),
        rate_before=before,
        rate_after=after,
        measured=len(measured),
    )


def _bytes(places: Sequence[Place]) -> int:
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return sum(pool.map(lambda place: place.stat().st_size, places))


def _rates(
    videos: Sequence[tuple[Place, Place]], *, strides: Sequence[int], frames: int
) -> tuple[float | None, float | None]:
    """Samples a CPU second of some videos before and after."""
    if not videos:
        return None, None
    with TemporaryDirectory() as folder:
        here = [(_fetched(old, folder), _fetched(new, folder)) for old, new in videos]
        return measure_speed_up(here, strides=strides, frames=frames, rounds=_ROUNDS)


def _fetched(place: Place, folder: str) -> Path:
    """A local file with the content of `place`: what is measured is decoding."""
    if isinstance(place, Path):
        return place
    handle, name = mkstemp(suffix=place.suffix, dir=folder)
    os.close(handle)
    storage.download(place.uri, Path(name))
    return Path(name)


def _evenly_picked(pairs: list[tuple[Place, Place]]) -> list[tuple[Place, Place]]:
    picks = np.unique(np.linspace(0, len(pairs) - 1, min(_MEASURED, len(pairs))).round().astype(int))
    return [pairs[pick] for pick in picks.tolist()]


def _named(listing: Listing, problems: dict[int, str]) -> list[tuple[str, str]]:
    return [(listing.videos[row].path, problems[row]) for row in sorted(problems)]


def _run(
    jobs: Sequence[Job],
    rows: Sequence[int],
    settings: TranscodeSettings,
    *,
    address: str | None,
    progress: Callable[[int, int], None] | None,
) -> dict[int, Transcoded]:
    """What became of each of the jobs `rows`; no cluster is asked where there is nothing to do."""
    found: dict[int, Transcoded] = {}
    if not rows:
        return found
    with connected(address):
        import ray.data

        items = [{"row": row, "job": json.dumps(asdict(jobs[row]))} for row in rows]
        dataset = ray.data.from_items(items, override_num_blocks=-(-len(items) // _BATCH))
        arguments = {"settings": settings}
        done = dataset.map_batches(_transcode_batch, batch_size=_BATCH, num_cpus=1, fn_kwargs=arguments)
        for row in done.iter_rows():
            result = Transcoded(**json.loads(row["result"]))
            if result.failure is not None:
                raise UserError(
                    f"{result.failure}; what is prepared stays: the same command goes on from there"
                )
            found[row["row"]] = result
            if progress is not None:
                progress(len(found), len(rows))
    return found


def _transcode_batch(batch: dict[str, NDArray[Any]], settings: TranscodeSettings) -> dict[str, NDArray[Any]]:
    """Results as JSON: a column of numbers and nulls would get another type in each block."""
    jobs = [Job(**json.loads(job)) for job in batch["job"]]
    results = [json.dumps(asdict(done)) for done in transcode_guarded(jobs, settings)]
    return {"row": batch["row"], "result": np.array(results, dtype=object)}
