"""Words of messages."""


def numbered(number: float, one: str, several: str | None = None) -> str:
    """``1 trial``, ``0.5 GPUs``, ``1,200 videos``; `several` is the plural where it is not made with an s."""
    return f"{number:,.15g} {one if number == 1 else several or f'{one}s'}"
