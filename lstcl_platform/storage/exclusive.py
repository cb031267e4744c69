"""An object that is created only where none is: the one request that pyarrow's file systems do not offer."""

from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from lstcl_platform.storage import google, objects
from lstcl_platform.storage.libraries import check_library

_CONNECT_SECONDS, _READ_SECONDS = 10, 30


def create_object(location: str, data: bytes) -> bool:
    """Upload `data` unless there is an object of that name; True if this call created it.

    S3 (`If-None-Match: *`) and Google Cloud Storage (generation 0) decide for any number of callers at once. An answer
    that got lost is recognised by its data, so what is created should tell its creator.

    Raises:
        UserError: the provider's own library is not installed.
        StorageError: as `objects.persistently`.
    """
    check_library(location)
    tries = 0

    def request() -> bool:
        nonlocal tries
        tries += 1
        if google.is_google(location):
            return google.put_new(location, objects.endpoint(location), data)
        return _put_s3(location, data)

    try:
        created = objects.persistently(location, request)
    except FileNotFoundError as error:
        raise objects.no_bucket(location) from error
    if created or tries == 1 or not data:
        return created
    reader = objects.ObjectReader(location)
    return reader.read_at(0, reader.size) == data


def _put_s3(location: str, data: bytes) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    parts = urlsplit(location)
    bucket, key = parts.netloc, unquote(parts.path).lstrip("/")
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
