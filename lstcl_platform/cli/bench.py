"""`lstcl-platform bench`: how fast this machine or cluster is at the parts of a study."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstcl_platform.cli.launch import AddressOption
from lstcl_platform.cli.plan import OverrideFileOptions, OverrideOptions
from lstcl_platform.specs import load_requested
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.stages import StageKind

if TYPE_CHECKING:
    from rich.table import Table

    from lstcl_platform.orchestration.bench import IngestRates
    from lstcl_platform.video.decode_bench import DecodeRates

bench_app = typer.Typer(help="Measure the parts of a study on this machine or cluster.", no_args_is_help=True)

_PREPARED_SIDE = 256
_WORTH_PREPARING = 1.5
"""Above this many times the prepared side, decoding costs more than twice as much."""


@bench_app.callback()
def bench() -> None:
    """Measure the parts of a study on this machine or cluster."""


@bench_app.command()
def decode(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FOLDER|FILE...", help="Videos.", show_default=False)
    ],
    strides: Annotated[
        str, typer.Option(help="Frames between two of a clip, one clip a sample for each.")
    ] = "8,32",
    frames: Annotated[int, typer.Option(min=1, help="Frames a clip.")] = 8,
    clips: Annotated[
        int,
        typer.Option(min=0, help="Samples of evaluation: this many even clips of the last stride. 0: off."),
    ] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Samples of each video and way.")] = 5,
    output: Annotated[
        Literal["table", "json"], typer.Option("--format", help="Form of the output.")
    ] = "table",
) -> None:
    """Samples a CPU second on one core, ours beside plain PyAV and the peers that are installed, in one run.

    `floor` opens, demuxes and decodes the fewest packets that the frames need and touches no pixel. `sequential` is
    PyAV from the first frame on. Peers come with `pip install lstcl-platform\\[bench]`.
    """
    from lstcl_platform.cli.data import progress_bar
    from lstcl_platform.video.decode_bench import bench_decode

    numbers = parse_strides(strides)
    with progress_bar("Decoding") as progress:
        rates = bench_decode(
            paths, strides=numbers, frames=frames, clips=clips, rounds=rounds, progress=progress
        )
    if output == "json":
        typer.echo(json.dumps(asdict(rates), indent=2))
    else:
        _print_decode(rates)


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


def parse_strides(strides: str) -> list[int]:
    """Value of `--strides`.

    Raises:
        UserError: it is no list of whole numbers.
    """
    try:
        numbers = [int(number) for number in strides.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise UserError(
            f"--strides {strides}: expected whole numbers from 1, separated by commas, as in 8,32"
        )
    return numbers


def _print_decode(rates: "DecodeRates") -> None:
    from rich.table import Table

    from lstcl_platform.cli.results import make_console
    from lstcl_platform.video.decode_ways import WAYS

    ways = [way for way in WAYS if way not in rates.missing]
    table = Table(title="Samples a CPU second, one core", title_justify="left")
    table.add_column("video", overflow="fold")
    for way in ways:
        table.add_column(way, justify="right", no_wrap=True)
    table.add_column("ours/floor", justify="right", no_wrap=True)
    for file in rates.files:
        if file.facts.problem:
            table.add_row(f"{file.name}: {file.facts.problem}", *[""] * (len(ways) + 1))
            continue
        ours, floor = file.rate("ours"), file.rate("floor")
        share = f"{ours / floor:.0%}" if ours and floor else "-"
        cells = [_rate(file.rate(way)) + ("" if file.equal.get(way, True) else "*") for way in ways]
        size = f"{file.facts.width}x{file.facts.height} {file.facts.codec}"
        table.add_row(f"{file.name} ({size})", *cells, share)
    table.add_section()
    ratios = {way: rates.mean_ratio("ours", to=way) for way in ways}
    table.add_row("ours is faster by", *[f"{r:.2f}x" if r else "-" for r in ratios.values()], "")
    make_console().print(table)
    if any(not same for file in rates.files for same in file.equal.values()):
        typer.echo("* other pixels than ours, which are those of a full decode")
    for way in ways:
        failed = [(file.name, file.failed[way]) for file in rates.files if way in file.failed]
        if failed:
            typer.echo(f"{way} cannot read {len(failed)} videos, the first {failed[0][0]}: {failed[0][1]}")
    for way, why in rates.missing.items():
        typer.echo(f"{way} is left out: {why}")
    sides = [min(file.facts.width, file.facts.height) for file in rates.files if not file.facts.problem]
    large = sum(side > _PREPARED_SIDE * _WORTH_PREPARING for side in sides)
    if large * 2 > len(sides):
        typer.echo(
            f"{large} of {len(sides)} videos are much larger than clips need: `lstcl-platform data prepare` makes "
            f"copies with {_PREPARED_SIDE} pixels on the short side, and says how much faster they are"
        )


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
