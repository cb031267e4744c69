"""An object that is created only where none is: the one request that pyarrow's file systems do not offer."""

from functools import lru_cache
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote, urlsplit

from lstcl_platform.specs.errors import UserError
from lstcl_platform.storage import objects

_LIBRARIES = {
    "s3": ("boto3", "boto3", "s3"),
    "gs": ("google.cloud.storage", "google-cloud-storage", "gs"),
    "gcs": ("google.cloud.storage", "google-cloud-storage", "gs"),
}
"""Of each scheme: module, package, and the extra of ours that installs it."""
_CONNECT_SECONDS, _READ_SECONDS = 10, 30


def check_library(location: str) -> None:
    """Refuse an object store whose provider's own library is not installed; pyarrow alone reads and writes.

    Raises:
        UserError: says what to install.
    """
    scheme = urlsplit(location).scheme
    if scheme in _LIBRARIES:
        module, package, extra = _LIBRARIES[scheme]
        try:
            found = find_spec(module) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            raise UserError(
                f"{location}: {scheme}:// storage needs {package}: pip install 'lstcl-platform[{extra}]'"
            )


def create_object(location: str, data: bytes) -> bool:
    """Upload `data` unless there is an object of that name; True if this call created it.

    S3 (`If-None-Match: *`) and Google Cloud Storage (generation 0) decide for any number of callers at once. An answer
    that got lost is recognised by its data, so what is created should tell its creator.

    Raises:
        UserError: the provider's own library is not installed.
        StorageError: as `objects.persistently`.
    """
    check_library(location)
    parts = urlsplit(location)
    put = _put_s3 if parts.scheme == "s3" else _put_gcs
    tries = 0

    def request() -> bool:
        nonlocal tries
        tries += 1
        return put(location, parts.netloc, unquote(parts.path).lstrip("/"), data)

    created = objects.persistently(location, request)
    if created or tries == 1 or not data:
        return created
    reader = objects.ObjectReader(location)
    return reader.read_at(0, reader.size) == data


def _put_s3(location: str, bucket: str, key: str, data: bytes) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        server, region = objects.endpoint(location), objects.region(location)
        _s3_client(server, region).put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "PreconditionFailed":
            return False
        raise OSError(str(error)) from error
    except BotoCoreError as error:
        raise OSError(str(error)) from error
    return True


@lru_cache(maxsize=4)
def _s3_client(server: str | None, region: str | None) -> Any:
    import boto3
    from botocore.config import Config

    # Repeating is ours: a repeated request whose first answer was lost must be told apart from a first one.
    config = Config(
        retries={"total_max_attempts": 1}, connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS
    )
    return boto3.client("s3", endpoint_url=server, region_name=region, config=config)


def _put_gcs(location: str, bucket: str, key: str, data: bytes) -> bool:
    from google.api_core.exceptions import GoogleAPIError, PreconditionFailed
    from google.cloud import storage

    try:
        blob = storage.Client().bucket(bucket).blob(key)
        blob.upload_from_string(data, if_generation_match=0, retry=None)
    except PreconditionFailed:
        return False
    except GoogleAPIError as error:
        raise OSError(str(error)) from error
    return True
