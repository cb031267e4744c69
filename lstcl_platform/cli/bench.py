"""`lstcl-platform bench`: how fast this machine or cluster is at the parts of a study."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstcl_platform.cli.launch import AddressOption
from lstcl_platform.cli.plan import OverrideFileOptions, OverrideOptions
from lstcl_platform.specs import load_requested
from lstcl_platform.specs.stages import StageKind

if TYPE_CHECKING:
    from rich.table import Table

    from lstcl_platform.orchestration.bench import IngestRates

bench_app = typer.Typer(help="Measure the parts of a study on this machine or cluster.", no_args_is_help=True)


@bench_app.callback()
def bench() -> None:
    """Measure the parts of a study on this machine or cluster."""


@bench_app.command()
def ingest(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="Experiment file (YAML).", show_default=False)],
    overrides: OverrideOptions = None,
    override_files: OverrideFileOptions = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each of the two ways runs.")] = 15,
    stage: Annotated[StageKind, typer.Option(help="Whose samples.")] = "pretrain",
    output: Annotated[
        Literal["table", "json"], typer.Option("--format", help="Form of the output.")
    ] = "table",
    address: AddressOption = None,
) -> None:
    """Samples a second of the first trial of SPEC: decoded alone, and received by its workers through Ray Data.

    Workers take the samples and do nothing with them. Data is prepared as by a launch; nothing is trained or
    recorded.
    """
    experiment = load_requested(spec, overrides or (), override_files=override_files or ())
    from lstcl_platform.cli.live import make_view, progress_console
    from lstcl_platform.cli.results import make_console
    from lstcl_platform.orchestration.bench import bench_ingest

    view = make_view(progress_console())
    rates = bench_ingest(experiment, stage=stage, seconds=seconds, view=view, address=address)
    if output == "json":
        typer.echo(json.dumps(asdict(rates), indent=2))
    else:
        make_console().print(_table(rates))


def _table(rates: "IngestRates") -> "Table":
    from rich.table import Table

    table = Table(title=f"Ingest of {rates.stage}, {rates.trial}", title_justify="left")
    table.add_column("way")
    for column in ("samples/s", "a core", "samples"):
        table.add_column(column, justify="right", no_wrap=True)
    alone, count = f"{rates.alone:.1f}", str(rates.alone_samples)
    table.add_row("decode alone, one thread, wall time", alone, alone, count)
    table.add_row("decode alone, its CPU time", "", f"{rates.alone_cpu:.1f}", count)
    way = f"through Ray Data (CPUs for decoding: {rates.decode_cpus:g}, workers: {rates.workers})"
    table.add_row(way, _rate(rates.stream), _rate(rates.stream_per_cpu), str(rates.stream_samples))
    table.caption = f"first batch after {rates.first_batch_seconds:.1f} s"
    table.caption_justify = "left"
    return table


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
