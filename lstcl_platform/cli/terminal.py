"""What a person at a terminal gets beside the result: progress and hints on stderr, unless --quiet."""

from contextvars import ContextVar

import typer

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def be_quiet(quiet: bool) -> None:
    """Leave progress and hints out of what this command prints from now on; errors and results stay."""
    _quiet.set(quiet)


def is_quiet() -> bool:
    """Whether progress and hints are left out."""
    return _quiet.get()


def hint(text: str) -> None:
    """Say on stderr what to do next."""
    if not is_quiet():
        typer.echo(f"Next: {text}", err=True)
