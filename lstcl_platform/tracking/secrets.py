"""Nothing that looks like a secret reaches a tag, a parameter or an artifact of the tracking store."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

_SECRET_NAME = re.compile(
    r"token|password|passwd|secret|key_id|access_key|api_key|private_key|credential|signature", re.IGNORECASE
)
_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^\s/@'\"]+@")
_QUERY = re.compile(r"(?P<name>[?&][A-Za-z0-9_.-]+=)(?P<value>[^&\s'\"]+)")


def mask_text(text: str) -> str:
    """`text` with ``user:password@`` and secret query values of all URIs in it replaced by ``***``."""

    def mask_query(match: re.Match[str]) -> str:
        return match["name"] + (MASK if _SECRET_NAME.search(match["name"]) else match["value"])

    return _QUERY.sub(mask_query, _USER_INFO.sub(rf"\g<scheme>{MASK}@", text))


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
