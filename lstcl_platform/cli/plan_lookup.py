"""What a plan can look up without running anything: manifests that are there, and stages that are finished."""

from collections.abc import Collection, Iterable

from lstcl_platform.specs import LoadedExperiment
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import ExperimentSpec
from lstcl_platform.tracking.location import local_folder, sqlite_file, tracking_uri


def known_digest(source: str, experiment: ExperimentSpec) -> str | None:
    """Digest of the manifest of `source` if a launch of `experiment` would find it current; reads no video.

    Data that is not there (yet) has none: a plan may be made before the videos are.
    """
    from lstcl_platform.video.indexing import known_manifest

    folder = local_folder(experiment.storage)
    if folder is None or "://" in source:
        return None
    try:
        manifest = known_manifest(source, cache_dir=folder / "manifests")
    except UserError:
        return None
    return None if manifest is None else manifest.digest


def finished_stages(experiments: Iterable[LoadedExperiment], keys: Collection[str]) -> set[str]:
    """Those of `keys` that the experiments' tracking stores hold as finished; a store is never created.

    Raises:
        UserError: a store does not answer.
    """
    finished: set[str] = set()
    for uri in {tracking_uri(found.resolved.tracking, found.resolved.storage) for found in experiments}:
        database = sqlite_file(uri)
        if database is not None and not database.exists():
            continue
        from lstcl_platform.tracking.tracker import Tracker

        finished |= set(Tracker(uri, artifact_location=None).finished(keys))
    return finished
