"""What a person at a terminal gets beside the result: progress and hints on stderr, unless --quiet."""

import os
import shlex
from contextvars import ContextVar

import typer

from lstcl_platform.tracking.secrets import mask_text

DEFAULT_STORAGE = "lstcl_runs"
"""Folder of the results where none is named."""

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def be_quiet(quiet: bool) -> None:
    """Leave progress and hints out of what this command prints from now on; errors and results stay."""
    _quiet.set(quiet)


def is_quiet() -> bool:
    """Whether progress and hints are left out."""
    return _quiet.get()


def command(*words: str, storage: str, tracking_uri: str | None = None) -> str:
    """A command line of ours on results in `storage` and `tracking_uri`, which are named where the defaults differ."""
    where = [] if storage == DEFAULT_STORAGE else ["--storage", storage]
    if tracking_uri not in (None, os.environ.get("MLFLOW_TRACKING_URI")):
        where += ["--tracking-uri", mask_text(str(tracking_uri))]
    return shlex.join(["lstcl-platform", *words, *where])


def hint(text: str) -> None:
    """Say on stderr what to do next."""
    if not is_quiet():
        typer.echo(f"Next: {text}", err=True)
