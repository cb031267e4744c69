"""`report`: one HTML file that says what was asked, what ran, what came out, and how to do it again."""

from pathlib import Path
from typing import Annotated

import typer

from lstcl_platform.cli.results import Storage, TrackingUri, open_store
from lstcl_platform.cli.terminal import DEFAULT_STORAGE, hint
from lstcl_platform.specs.wording import numbered


def report(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENT...", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file.")] = Path("report.html"),
    figures: Annotated[
        Path | None, typer.Option(help="Also write every figure as SVG and PNG into this folder.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric that decides. Default: top1, or that of frozen features where nothing is finetuned."
        ),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write the results of studies as one HTML file that needs no server and no network; also while they run."""
    from lstcl_platform.results.report.page import write_report
    from lstcl_platform.results.report.study import read_study

    tracker = open_store(storage=storage, tracking_uri=tracking_uri)
    studies = [read_study(tracker, name, metric=metric) for name in dict.fromkeys(experiments)]
    drawn = write_report(tracker, studies, output, figures=figures)
    for study in studies:
        typer.echo(f"{study.name}: {study.finished} of {numbered(len(study.trials), 'trial')} done", err=True)
    if figures is not None:
        typer.echo(f"{len(drawn)} figure files in {figures}", err=True)
    typer.echo(f"report: {output} ({output.stat().st_size / 1024:.0f} KB)", err=True)
    hint(f"open {output} in a browser")
