"""Where the tracking store of a study is."""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.run import StorageSpec, TrackingSpec
from lstcl_platform.tracking.secrets import mask_text

if TYPE_CHECKING:
    from lstcl_platform.storage.places import Place

_SQLITE = "sqlite:///"


def storage_folder(storage: StorageSpec) -> "Place":
    """Folder of `storage`, an absolute path or in an object store; raises as `local_folder`."""
    from lstcl_platform.storage.places import (
        RemotePath,  # loads pyarrow, without which a wrong spec is refused
    )

    return local_folder(storage) or RemotePath(storage.path.rstrip("/"))


def local_folder(storage: StorageSpec) -> Path | None:
    """Absolute folder of `storage`, or None when it is an object store.

    Raises:
        UserError: the URI carries credentials; it is recorded with every result, so they do not belong there.
    """
    if mask_text(storage.path) != storage.path:
        raise UserError(
            f"storage.path {mask_text(storage.path)} carries credentials, and it is recorded with every "
            "result: give them by environment (AWS_ACCESS_KEY_ID), credentials file or instance role"
        )
    parts = urlsplit(storage.path)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if "://" in storage.path:
        return None
    return Path(storage.path).expanduser().absolute()


def tracking_uri(tracking: TrackingSpec, storage: StorageSpec) -> str:
    """MLflow tracking URI: `tracking.uri`, else ``MLFLOW_TRACKING_URI``, else SQLite inside local storage.

    Raises:
        UserError: storage is remote and no URI is given: SQLite needs a local file.
    """
    chosen = tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
    if chosen:
        return chosen
    folder = local_folder(storage)
    if folder is None:
        raise UserError(
            f"storage.path is {storage.path}, which cannot hold MLflow's SQLite file: set tracking.uri or "
            "MLFLOW_TRACKING_URI to an MLflow server (http://HOST:5000), a database (postgresql://...), "
            "or sqlite:////ABSOLUTE/PATH.db for one machine"
        )
    return f"{_SQLITE}{folder / 'mlflow.db'}"


def artifact_location(uri: str, storage: StorageSpec) -> str | None:
    """Folder or URI for the artifacts of new MLflow experiments; None lets a tracking server choose."""
    if urlsplit(uri).scheme in ("http", "https", "databricks"):
        return None
    folder = local_folder(storage)
    return f"{storage.path.rstrip('/')}/artifacts" if folder is None else str(folder / "artifacts")


def sqlite_file(uri: str) -> Path | None:
    """Path of the SQLite file that `uri` names, or None for any other store."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE).split("?", 1)[0]).absolute()
