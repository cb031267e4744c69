"""Google Cloud Storage through Google's own library, for what pyarrow's client of it does not do well.

pyarrow reads an object by opening a stream of all of it while it holds Python's global lock, so that a slow answer
stops every thread of the process; lists no folder that has no object of its own; and cannot create exclusively.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from pyarrow import fs

from lstcl_platform.specs.errors import StorageError
from lstcl_platform.storage.libraries import check_library

SCHEMES = ("gs", "gcs")
_TIMEOUT = (10, 30)
"""Seconds to connect, and without a byte."""


def is_google(location: str) -> bool:
    """Whether a URI names an object of Google Cloud Storage."""
    return urlsplit(location).scheme in SCHEMES


def is_open(server: str | None) -> bool:
    """Whether a server is asked without credentials: they are never sent over plain HTTP, as to an emulator."""
    return server is not None and server.startswith("http://")


def read_range(location: str, server: str | None, offset: int, length: int) -> bytes:
    """`length` bytes of an object from `offset` on.

    Raises:
        FileNotFoundError: there is no such object or bucket.
        OSError: anything else.
    """
    with _as_os_errors(location):
        end = offset + length - 1
        blob = _bucket(location, server).blob(_key(location))
        # As stored (`raw`): sizes are those of the stored object. Repeating is ours.
        options = {"raw_download": True, "checksum": None, "retry": None, "timeout": _TIMEOUT}
        return bytes(blob.download_as_bytes(start=offset, end=end, **options))


def listing(folder: str, server: str | None, *, recursive: bool) -> list[Any]:
    """pyarrow's FileInfo of the objects below a folder, and of its subfolders where not `recursive`.

    Raises:
        FileNotFoundError: there is no such bucket.
        OSError: anything else.
    """
    bucket, key = urlsplit(folder).netloc, _key(folder)
    prefix = f"{key}/" if key else ""
    delimiter = None if recursive else "/"
    with _as_os_errors(folder):
        store = _bucket(folder, server).client
        pages = store.list_blobs(bucket, prefix=prefix, delimiter=delimiter, retry=None, timeout=_TIMEOUT)
        blobs = [blob for blob in pages if not blob.name.endswith("/")]  # else the mark of a folder
    files = [
        fs.FileInfo(f"{bucket}/{blob.name}", fs.FileType.File, mtime=blob.updated, size=blob.size)
        for blob in blobs
    ]
    names = [name.rstrip("/") for name in sorted(pages.prefixes)]
    return files + [fs.FileInfo(f"{bucket}/{name}", fs.FileType.Directory) for name in names]


def put_new(location: str, server: str | None, data: bytes) -> bool:
    """Upload `data` unless there is an object of that name (generation 0); True if this call created it.

    Raises:
        OSError: it failed; FileNotFoundError where there is no such bucket.
    """
    from google.api_core.exceptions import PreconditionFailed

    try:
        with _as_os_errors(location):
            blob = _bucket(location, server).blob(_key(location))
            blob.upload_from_string(data, if_generation_match=0, retry=None, timeout=_TIMEOUT)
    except PreconditionFailed:
        return False
    return True


@lru_cache(maxsize=4)
def client(server: str | None) -> Any:
    """A client of Google's library for a server, or for Google's own.

    Raises:
        UserError: the library is not installed.
        StorageError: there are no credentials.
    """
    check_library("gs://")
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage

    options = {} if server is None else {"client_options": {"api_endpoint": server}}
    if is_open(server):
        return storage.Client(project=None, credentials=AnonymousCredentials(), **options)
    try:
        return storage.Client(project=None, **options)
    except DefaultCredentialsError as error:
        raise StorageError(
            "gs://: no Google credentials: name a key file in GOOGLE_APPLICATION_CREDENTIALS, or run "
            f"`gcloud auth application-default login` ({error})"
        ) from error


def _bucket(location: str, server: str | None) -> Any:
    return client(server).bucket(urlsplit(location).netloc)


def _key(location: str) -> str:
    return unquote(urlsplit(location).path).strip("/")


@contextmanager
def _as_os_errors(location: str) -> Iterator[None]:
    """What Google's library raises, as what `objects.persistently` tells apart."""
    from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, NotFound, PreconditionFailed
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except PreconditionFailed:
        raise
    except NotFound as error:
        raise FileNotFoundError(f"{location}: {error.message}") from error
    except GoogleAPICallError as error:
        raise OSError(f"status {error.code}: {error}") from error
    except (GoogleAPIError, GoogleAuthError) as error:
        raise OSError(str(error)) from error
