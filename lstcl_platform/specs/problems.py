"""What is wrong with an input: one record a mistake, and the message that lists them all."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.wording import numbered

Path = tuple[str | int, ...]

MAX_LINES = 40
MAX_CHARACTERS = 1500
"""Of a message, and of each of its lines: one that scrolls away is not read."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake.

    Attributes:
        path: keys and list positions that lead to the field; empty for the file as a whole.
        text: what is wrong and what is allowed.
        line: line in the file where the path alone does not tell it, else None.
        about: paths of the fields that a broken rule is about; empty for a mistake in one field.
    """

    path: Path
    text: str
    line: int | None = None
    about: tuple[Path, ...] = ()


def dotted(path: Path) -> str:
    """The path as people write it: ``sweep.cases[0].name``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None when none is like it."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(name: object, known: Sequence[str]) -> str:
    """``; did you mean 'x'?`` where a known name is near, else nothing."""
    match = nearest(name, known) if isinstance(name, str) else None
    return f"; did you mean '{match}'?" if match else ""


def refuse(problems: Sequence[Problem], *, title: str, where: Callable[[Problem], str]) -> UserError:
    """Build the error that lists `problems`, each once, headed by their number and `title`.

    Args:
        problems: at least one.
        title: what they were found in, e.g. the file's name.
        where: origin of a problem, e.g. ``exp.yaml:12``.
    """
    lines = list(dict.fromkeys(_line(problem, where(problem)) for problem in problems))
    shown = [f"  {line}" for line in lines[:MAX_LINES]]
    more = [f"  and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    return UserError("\n".join([f"Found {numbered(len(lines), 'error')} in {title}", *shown, *more]))


def _line(problem: Problem, origin: str) -> str:
    field = dotted(problem.path)
    named = not field or origin == f"--set {field}" or origin.startswith(f"--set {field}=")
    parts = [origin] if named else [origin, field]
    line = ": ".join([*parts, problem.text])
    return line if len(line) <= MAX_CHARACTERS else f"{line[:MAX_CHARACTERS]} ..."
