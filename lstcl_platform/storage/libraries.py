"""Which provider's own library each kind of object store needs beside pyarrow."""

from importlib.util import find_spec
from urllib.parse import urlsplit

from lstcl_platform.specs.errors import UserError

_LIBRARIES = {
    "s3": ("boto3", "boto3", "s3"),
    "gs": ("google.cloud.storage", "google-cloud-storage", "gs"),
    "gcs": ("google.cloud.storage", "google-cloud-storage", "gs"),
}
"""Of each scheme: module, package, and the extra of ours that installs it."""


def check_library(location: str) -> None:
    """Refuse an object store whose provider's own library is not installed.

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
