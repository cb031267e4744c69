"""Object stores behind pyarrow's file systems: a client a bucket, and patience with what passes by itself.

Credentials come by the usual chain (environment, profile, instance role), an endpoint other than the provider's from
AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or STORAGE_EMULATOR_HOST; a URI may say `?region=`, `?endpoint_override=` and
`?scheme=`.
"""

import logging
import os
import random
import time
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from pyarrow import fs

from lstcl_platform.specs.errors import StorageError, UserError
from lstcl_platform.storage import google

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
"""How long a request is repeated while a store throttles us or does not answer; then the run stops."""

_QUICK_TRIES = 5
"""Tries of Amazon's library by itself, within a second: one part of a long upload need not begin it all anew."""

_QUICK_SECONDS = 2.0
"""How long Google's C++ library tries by itself, for the same reason."""

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0
_OPTIONS = ("region", "endpoint_override", "scheme")
_REFUSALS = (
    *("accessdenied", "permissiondenied", "unauthenticated", "status400", "status401", "status403"),
    *("nosuchbucket", "invalidbucketname", "invalidaccesskeyid", "signaturedoesnotmatch", "expiredtoken"),
    *(
        "invalidclienttokenid",
        "unrecognizedclient",
        "missingauthenticationtoken",
        "unabletolocatecredentials",
    ),
)
"""In the words of a store, letters only: what no second request will change."""


def persistently(location: str, request: Callable[[], T]) -> T:
    """What `request` returns, repeated with growing pauses while the store is throttling or out of reach.

    Args:
        location: path or URI that it is about, for messages.
        request: raises OSError when it fails; safe to repeat.

    Raises:
        FileNotFoundError: there is no such object; at once.
        StorageError: the store refuses (at once), or failed for PATIENCE_SECONDS.
    """
    started, pause, tries = time.monotonic(), _FIRST_PAUSE, 1
    while True:
        try:
            return request()
        except (FileNotFoundError, StorageError):
            raise
        except OSError as error:
            text = str(error).strip()
            if is_refusal(text):
                raise StorageError(f"{location}: the storage refuses: {text}") from error
            spent = time.monotonic() - started
            if spent + pause > PATIENCE_SECONDS:
                raise StorageError(
                    f"{location}: the storage does not answer as it should: {text}; gave up after {tries} tries in "
                    f"{spent:.0f} s. Nothing is lost: launch again when it is back"
                ) from error
            logger.info("%s: trying again: %s", location, text)
        # Not from Python's common generator: a training run may depend on its state.
        time.sleep(pause * random.SystemRandom().uniform(0.5, 1.0))
        pause, tries = min(2 * pause, _LONGEST_PAUSE), tries + 1


def is_refusal(text: str) -> bool:
    """Whether a store's error says that asking again is of no use."""
    letters = "".join(letter for letter in text.lower() if letter.isalnum())
    return any(refusal in letters for refusal in _REFUSALS)


def no_bucket(location: str) -> StorageError:
    """The error for an upload that found no place to go to: of an object store, only a bucket can be missing."""
    return StorageError(f"{location}: the storage refuses: there is no bucket '{urlsplit(location).netloc}'")


def client(location: str) -> tuple[Any, str]:
    """pyarrow's file system for a URI of an object store, and the path of the object in it.

    Raises:
        UserError: no such kind of store, or an option of the URI that is not known.
        StorageError: it cannot be found out where the bucket is.
    """
    parts = urlsplit(location)
    filesystem = _filesystem(parts.scheme, parts.netloc, parts.query, endpoint(location))
    return filesystem, f"{parts.netloc}{unquote(parts.path)}".rstrip("/")


def options(location: str) -> dict[str, str]:
    """The options in the query of a URI.

    Raises:
        UserError: one is not known.
    """
    found = dict(parse_qsl(urlsplit(location).query))
    unknown = [name for name in found if name not in _OPTIONS]
    if unknown:
        raise UserError(f"{location}: no option '{unknown[0]}'; allowed: {', '.join(_OPTIONS)}")
    return found


def endpoint(location: str) -> str | None:
    """URL of the server to ask instead of the provider's own, or None."""
    found = options(location)
    if override := found.get("endpoint_override"):
        return override if "://" in override else f"{found.get('scheme', 'https')}://{override}"
    if google.is_google(location):
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        return emulator if not emulator or "://" in emulator else f"http://{emulator}"
    if not location.startswith("s3:"):
        return None
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def region(location: str) -> str | None:
    """Region of an S3 bucket as far as it is said; None leaves it to the provider's library."""
    said = options(location).get("region")
    return said or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


@lru_cache(maxsize=16)
def _filesystem(scheme: str, bucket: str, query: str, server: str | None) -> Any:
    # One client a bucket: an S3 client asks the network for its region when it is made.
    location = f"{scheme}://{bucket}?{query}"
    where: dict[str, Any] = {}
    if server is not None:
        split = urlsplit(server)
        where = {"endpoint_override": split.netloc, "scheme": split.scheme}
    match scheme:
        case "s3":
            named = region(location)
            if named is None and server is None:
                named = persistently(location, lambda: str(fs.resolve_s3_region(bucket)))
            again = fs.AwsDefaultS3RetryStrategy(max_attempts=_QUICK_TRIES)
            return fs.S3FileSystem(region=named, retry_strategy=again, **where)
        case "gs" | "gcs":
            google.client(server)  # tells at once that there are no credentials: pyarrow waits for them
            quick = timedelta(seconds=_QUICK_SECONDS)
            return fs.GcsFileSystem(anonymous=google.is_open(server), retry_time_limit=quick, **where)
    raise UserError(f"{scheme}://{bucket}: no such kind of storage; allowed: a path, file://, s3://, gs://")


class ObjectReader:
    """Reads parts of one object; from several threads if need be."""

    def __init__(self, location: str) -> None:
        """Ask for the size.

        Raises:
            FileNotFoundError: there is no such object.
            StorageError: as `persistently`.
        """
        self.location = location
        self._filesystem, self._path = client(location)
        self._file: Any = None
        self.size: int = persistently(location, self._size)

    def read_at(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on, or those up to the end.

        Raises:
            FileNotFoundError: the object is gone.
            StorageError: as `persistently`.
        """
        length = max(0, min(length, self.size - offset))
        return persistently(self.location, lambda: self._read(offset, length)) if length else b""

    def _size(self) -> int:
        if not google.is_google(self.location):
            return int(self._open().size())
        info = self._filesystem.get_file_info(self._path)
        if info.type != fs.FileType.File:
            raise FileNotFoundError(f"{self.location}: no such object")
        return int(info.size)

    def _read(self, offset: int, length: int) -> bytes:
        if google.is_google(self.location):
            data = google.read_range(self.location, endpoint(self.location), offset, length)
        else:
            try:
                data = bytes(self._open().read_at(length, offset))
            except OSError:
                self._file = None
                raise
        if len(data) != length:
            self._file = None
            raise OSError(f"{len(data)} of {length} bytes at {offset} arrived")
        return data

    def _open(self) -> Any:
        if self._file is None:
            self._file = self._filesystem.open_input_file(self._path)
        return self._file
