"""`lstcl-platform doctor`: what is wrong with a cluster, a store or data, before a study finds out."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstcl_platform.cli.launch import EXIT_FAILED, AddressOption
from lstcl_platform.cli.plan import OverrideOptions
from lstcl_platform.cli.terminal import hint
from lstcl_platform.specs import load_experiment

if TYPE_CHECKING:
    from rich.table import Table

    from lstcl_platform.orchestration.findings import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    spec: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SPEC]", help="Experiment file (YAML) to check for; by default storage in ./lstcl_runs."
        ),
    ] = None,
    overrides: OverrideOptions = None,
    output: Annotated[
        Literal["table", "json"], typer.Option("--format", help="Form of the output.")
    ] = "table",
    address: AddressOption = None,
) -> None:
    """Check that this cluster, store and data are fit to train on, and that N workers equal one.

    Looks at every node (versions, clock, storage, videos, arithmetic), at tracking, at the speed of collectives, and
    compares a training step of several workers with one worker's. Nothing is trained or recorded. Exits 1 when a
    check fails.
    """
    experiment = None if spec is None else load_experiment(spec, overrides or ())
    from lstcl_platform.cli.live import progress_console, say
    from lstcl_platform.cli.results import make_console
    from lstcl_platform.orchestration.doctor import examine

    told = progress_console()
    findings = examine(experiment, address=address, tell=lambda text: say(told, f"looking at {text}"))
    if output == "json":
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        make_console().print(_table(findings))
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(EXIT_FAILED)
    if spec is not None:
        hint(f"lstcl-platform launch {spec}")


def _table(findings: Sequence["Finding"]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for column in ("check", "status", "detail"):
        table.add_column(column, no_wrap=column != "detail")
    for finding in findings:
        status = f"[{_COLOURS[finding.status]}]{finding.status}[/]"
        table.add_row(finding.check, status, escape(finding.detail))
    return table
