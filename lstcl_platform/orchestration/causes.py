"""What went wrong first, out of what Ray wraps around it on its way from a decode task or a worker."""

import re

from lstcl_platform.specs.errors import StorageError, UserError

_TOLD = (StorageError, UserError)
"""Their text is the complete message; and trying again at once does not help."""
_TOLD_AS_TEXT = re.compile(
    rf"^{re.escape(UserError.__module__)}\.(?:{'|'.join(kind.__name__ for kind in _TOLD)}): (.*)$",
    re.MULTILINE,
)


def is_final(error: BaseException) -> bool:
    """Whether trying again at once cannot help: wrong input, or storage that was waited for long enough."""
    return _told(_chain(error)) is not None


def cause(error: BaseException) -> str:
    """What went wrong first, in a line: what a person needs first."""
    links = _chain(error)
    if (told := _told(links)) is not None:
        return told.splitlines()[0]
    # An exception of a decode task arrives without its cause, but with its whole traceback as text.
    for text in map(str, links):
        before, found, _ = text.partition("\n\nThe above exception was the direct cause")
        if found:
            return before.strip().splitlines()[-1].rpartition("lstcl_platform.")[2]
    return f"{type(links[-1]).__name__}: {links[-1]}".splitlines()[0]


def _told(links: list[BaseException]) -> str | None:
    for link in links:
        if isinstance(link, _TOLD):
            return str(link)
        if found := _TOLD_AS_TEXT.search(str(link)):
            return found[1]
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """`error` and what caused it, outermost first; of several failed workers, the first one's."""
    failures = getattr(error, "worker_failures", None)
    links = [error]
    inner = next(iter(failures.values())) if failures else getattr(error, "cause", None) or error.__cause__
    while inner is not None and inner not in links:
        links.append(inner)
        inner = getattr(inner, "cause", None) or inner.__cause__
    return links
