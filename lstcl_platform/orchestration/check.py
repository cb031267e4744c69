"""Every video of a dataset decoded from its first to its last frame, on all CPUs of a cluster through Ray Data."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstcl_platform.orchestration.cluster import connected
from lstcl_platform.specs.errors import StorageError
from lstcl_platform.storage.places import Place, place_of
from lstcl_platform.video.guarded_probe import guarded_probes
from lstcl_platform.video.indexing import list_source, manifest_of
from lstcl_platform.video.manifest import Manifest
from lstcl_platform.video.probe import Probe

_BATCH = 16
"""Videos a task: enough that starting its decoding process (half a second) does not show."""


def check_videos(
    source: str | Place,
    *,
    address: str | None,
    videos: Place | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Decode every video of a folder, annotation or manifest, and index it anew with all that is wrong.

    Args:
        source: as `open_manifest`; what a manifest already says of its videos is not believed.
        address: Ray cluster (`auto` or HOST:PORT), whose nodes see the videos under the same path or URI; None starts
            a local one.
        videos: folder of the videos of an annotation, where they do not lie near it.
        progress: called with (videos done, videos in all).

    Raises:
        UserError: the source is wrong, or no cluster answers.
        StorageError: the videos' storage is away.
    """
    listing = list_source(source, videos=videos)
    found: dict[int, Probe] = {}
    paths = [str((listing.root / video.path).resolve()) for video in listing.videos]
    files = [{"row": row, "file": path} for row, path in enumerate(paths)]
    with connected(address):
        import ray.data

        blocks = -(-len(files) // _BATCH)
        dataset = ray.data.from_items(files, override_num_blocks=blocks)
        checked = dataset.map_batches(_probe_batch, batch_size=_BATCH, num_cpus=1)
        for row in checked.iter_rows():
            if row["away"]:
                raise StorageError(row["away"])
            found[row["row"]] = Probe(**json.loads(row["facts"]))
            if progress is not None:
                progress(len(found), len(files))
    return manifest_of(listing, [asdict(found[row]) for row in range(len(files))])


def _probe_batch(batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Facts as JSON: a column of numbers and nulls would get another type in each block."""
    facts, away = [], ""
    try:
        for found in guarded_probes([place_of(file) for file in batch["file"]]):
            facts.append(json.dumps(asdict(found)))
    except StorageError as error:
        away = str(error)
    rest = len(batch["row"]) - len(facts)
    said = np.array([""] * len(facts) + [away] * rest, dtype=object)
    return {"row": batch["row"], "facts": np.array(facts + [""] * rest, dtype=object), "away": said}
