"""Nothing that looks like a secret reaches the tracking store, a message or a log."""

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

_SECRET_NAME = re.compile(
    r"token|password|passwd|secret|key_id|access_key|api_key|private_key|credential|signature", re.IGNORECASE
)
_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^\s/@'\"]+@")
_PUBLIC_NAME = re.compile(r"_(?:PATH|FILE|MODE|DIR|URL|HOST)$", re.IGNORECASE)
_LEAST_SECRET = 8
"""Characters below which an environment value is taken for a word, not for a secret."""
_QUERY = re.compile(r"(?P<name>[?&][A-Za-z0-9_.-]+=)(?P<value>[^&\s'\"]+)")


def mask_text(text: str) -> str:
    """`text` with all secrets in it replaced by ``***``.

    These are ``user:password@`` and secret query values of URIs, and the values of environment variables whose name
    speaks of a secret (AWS_SECRET_ACCESS_KEY, MLFLOW_TRACKING_PASSWORD, ...).
    """

    def mask_query(match: re.Match[str]) -> str:
        return match["name"] + (MASK if _SECRET_NAME.search(match["name"]) else match["value"])

    masked = _QUERY.sub(mask_query, _USER_INFO.sub(rf"\g<scheme>{MASK}@", text))
    for name, value in os.environ.items():
        if len(value) >= _LEAST_SECRET and _SECRET_NAME.search(name) and not _PUBLIC_NAME.search(name):
            masked = masked.replace(value, MASK)
    return masked


class MaskingFormatter(logging.Formatter):
    """Formats log records, tracebacks included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return mask_text(super().format(record))


def is_masked(value: Any) -> bool:
    """Whether `value` (JSON-ready) has lost a secret to `mask`."""
    if isinstance(value, str):
        return value == MASK or f"://{MASK}@" in value or f"={MASK}" in value
    if isinstance(value, Mapping):
        return any(is_masked(item) for item in value.values())
    return isinstance(value, list | tuple) and any(is_masked(item) for item in value)


def mask(value: Any) -> Any:
    """A copy of JSON-ready `value` without secrets.

    Values of fields whose name speaks of a secret (token, password, key_id, ...) become ``***``; URIs in all
    strings lose their credentials.
    """
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, Mapping):
        return {
            name: MASK if _SECRET_NAME.search(str(name)) and item is not None else mask(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask(item) for item in value]
    return value
