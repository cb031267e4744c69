"""What a plan can look up without running anything: manifests that are there, and stages that are finished."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from lstcl_platform.cli.preparing_hint import preparing_hint
from lstcl_platform.specs import LoadedExperiment
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import ExperimentSpec

if TYPE_CHECKING:
    from lstcl_platform.planning.rates import RatesSpec
    from lstcl_platform.planning.work import DataSize
    from lstcl_platform.tracking.measured import MeasuredStage
    from lstcl_platform.video.manifest import Manifest


class KnownData:
    """Manifests that a launch would find current; no video is read."""

    def __init__(self) -> None:
        self._found: dict[str, Manifest] = {}

    def digest(self, source: str, experiment: ExperimentSpec) -> str | None:
        """Digest of the manifest of `source`; None if it is not there yet, as a plan may be made before the videos."""
        # Here, since it brings in pyarrow: a spec that is wrong is told without.
        from lstcl_platform.tracking.location import storage_folder
        from lstcl_platform.video.indexing import known_manifest

        folder = storage_folder(experiment.storage)
        try:
            manifest = known_manifest(source, cache_dir=folder / "manifests")
        except UserError:
            return None
        if manifest is None:
            return None
        self._found[source] = manifest
        return manifest.digest

    def sizes(self) -> dict[str, DataSize]:
        """Size of each of the data looked up."""
        from lstcl_platform.planning.work import DataSize

        return {
            source: DataSize(videos=len(manifest.usable), classes=len(manifest.classes))
            for source, manifest in self._found.items()
        }

    def remarks(self) -> list[str]:
        """Which of the data looked up would be faster to read as a prepared copy."""
        sides = {source: manifest.short_sides.tolist() for source, manifest in self._found.items()}
        hints = {source: preparing_hint(found) for source, found in sides.items()}
        return [f"{source}: {hint}" for source, hint in hints.items() if hint is not None]


def look_up_stores(
    experiments: Iterable[LoadedExperiment], keys: Collection[str]
) -> tuple[set[str], RatesSpec]:
    """What the experiments' tracking stores hold; a store is never created.

    Returns:
        Those of `keys` that are finished, and the rates of the newest stages.

    Raises:
        UserError: a store does not answer.
    """
    from lstcl_platform.planning.earlier import rates_of_runs
    from lstcl_platform.tracking.location import sqlite_file, tracking_uri

    finished: set[str] = set()
    measured: list[MeasuredStage] = []
    for uri in {tracking_uri(found.resolved.tracking, found.resolved.storage) for found in experiments}:
        database = sqlite_file(uri)
        if database is not None and not database.exists():
            continue
        from lstcl_platform.tracking.tracker import Tracker

        tracker = Tracker(uri, artifact_location=None)
        finished |= set(tracker.finished(keys))
        measured += tracker.measured_stages()
    return finished, rates_of_runs(measured)
