"""The manifests behind a study, where its storage folder is still in reach."""

from typing import TYPE_CHECKING

from lstcl_platform.results.report.study import Study
from lstcl_platform.specs.errors import UserError
from lstcl_platform.tracking.location import local_folder

if TYPE_CHECKING:
    from lstcl_platform.video.manifest import Manifest


def manifests_of(study: Study) -> dict[str, str]:
    """Source of videos -> digest of its manifest, of all that a stage read."""
    return {record.source: record.manifest for record in study.stages.values() if record.manifest}


def load_manifest(study: Study, digest: str) -> "Manifest | None":
    """The manifest that a launch kept under its digest, or None where it cannot be read from here."""
    from lstcl_platform.video.manifest import Manifest

    folder = None if study.spec is None else local_folder(study.spec.storage)
    if folder is None:
        return None
    try:
        return Manifest.load(folder / "manifests" / f"{digest}.parquet")
    except UserError:
        return None
