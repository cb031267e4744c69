"""Names of files and folders: local paths, and URIs (`file://`, `s3://`, `gs://`)."""

from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit


def local_path(location: str) -> Path | None:
    """The absolute local path that `location` names, or None when it is in an object store."""
    if "://" not in location:
        return Path(location).absolute()
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def join(location: str, *names: str) -> str:
    """`location` with `names` as further path segments; the query of a URI is kept."""
    if "://" not in location:
        return str(Path(location, *names))
    parts = urlsplit(location)
    return urlunsplit(parts._replace(path="/".join([parts.path.rstrip("/"), *names])))


def parent(location: str) -> tuple[str, str]:
    """The folder that holds `location`, and its name there."""
    if "://" not in location:
        path = Path(location)
        return str(path.parent), path.name
    parts = urlsplit(location)
    folder, _, name = parts.path.rstrip("/").rpartition("/")
    return urlunsplit(parts._replace(path=folder)), name
