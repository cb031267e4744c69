"""`lstcl-platform bench`: how fast this machine or cluster is at the parts of a study."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstcl_platform.cli.bench_step import KeepRateOption
from lstcl_platform.cli.launch import AddressOption
from lstcl_platform.cli.plan import OverrideFileOptions, OverrideOptions
from lstcl_platform.cli.preparing_hint import preparing_hint
from lstcl_platform.specs import LoadedExperiment, expand, load_requested
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.stages import TESTS, StageKind
from lstcl_platform.specs.wording import numbered

if TYPE_CHECKING:
    from rich.table import Table

    from lstcl_platform.orchestration.bench import IngestRates
    from lstcl_platform.video.decode_bench import DecodeRates

bench_app = typer.Typer(help="Measure the parts of a study on this machine or cluster.", no_args_is_help=True)


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
        typer.Option(min=0, help="Samples of evaluation too: this many even clips of the last stride."),
    ] = 0,
    gops: Annotated[
        str,
        typer.Option(
            metavar="N,N...", help="x264 files made of the videos too, with a keyframe every N frames."
        ),
    ] = "",
    prepared: Annotated[
        bool, typer.Option("--prepared", help="The copies that `data prepare` makes too.")
    ] = False,
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

    numbers = parse_numbers("--strides", strides)
    keyframes = parse_numbers("--gops", gops) if gops else []
    with progress_bar("Decoding") as progress:
        rates = bench_decode(
            paths,
            strides=numbers,
            frames=frames,
            clips=clips,
            gops=keyframes,
            prepared=prepared,
            rounds=rounds,
            progress=progress,
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
    keep: KeepRateOption = None,
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
    if keep is not None:
        _keep_rate(experiment, rates, keep)
    if output == "json":
        typer.echo(json.dumps(asdict(rates), indent=2))
    else:
        make_console().print(_table(rates))


def _keep_rate(experiment: LoadedExperiment, rates: "IngestRates", file: Path) -> None:
    from lstcl_platform.planning.rates import StageRateSpec, add_rate

    trial = expand(experiment.resolved).trials[0].spec
    testing = rates.stage in TESTS
    pretrain = trial.pretrain if rates.stage == "pretrain" else None
    add_rate(
        file,
        StageRateSpec(
            stage=rates.stage,
            model=trial.model.name,
            attention=trial.model.attention,
            frames=trial.model.frames,
            image_size=trial.model.image_size,
            framework=None if pretrain is None else pretrain.framework.kind,
            views=trial.evaluate.clips * trial.evaluate.crops if testing else 1,
            decode_seconds=1 / rates.alone_cpu,
        ),
    )


def parse_numbers(option: str, text: str) -> list[int]:
    """Value of an option that takes a list, such as `--strides 8,32`.

    Raises:
        UserError: it is no list of whole numbers.
    """
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise UserError(f"{option} {text}: expected whole numbers from 1, separated by commas, as in 8,32")
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
    for samples, group in rates.groups:
        of_group = rates.of(samples, group)
        if len(rates.groups) > 1:
            table.add_row(f"[bold]{samples} samples, videos {group}[/bold]")
        for file in of_group.files:
            if file.facts.problem:
                table.add_row(f"{file.name}: {file.facts.problem}")
                continue
            cells = [_rate(file.rate(way)) + ("" if file.equal.get(way, True) else "*") for way in ways]
            size = f"{file.facts.width}x{file.facts.height} {file.facts.codec}"
            share = of_group.of_file(file).mean_ratio("ours", to="floor")
            table.add_row(f"{file.name} ({size})", *cells, f"{share:.0%}" if share else "-")
        share = of_group.mean_ratio("ours", to="floor")
        means = [_times(of_group.mean_ratio("ours", to=way)) for way in ways]
        table.add_row("ours is faster by", *means, f"{share:.0%}" if share else "-")
        least = [_times(min(of_group.ratios("ours", to=way), default=None)) for way in ways]
        table.add_row("at least by", *least, "")
        table.add_section()
    make_console().print(table)
    _print_remarks(rates, ways)


def _print_remarks(rates: "DecodeRates", ways: list[str]) -> None:
    from lstcl_platform.video.lent_ffmpeg import COMMAND

    if any(not same for file in rates.files for same in file.equal.values()):
        typer.echo("* other pixels than ours, which are those of a full decode")
    for way in ways:
        failed = [(file.name, file.failed[way]) for file in rates.files if way in file.failed]
        if failed:
            typer.echo(
                f"{way} cannot read {numbered(len(failed), 'video')}, the first {failed[0][0]}: {failed[0][1]}"
            )
    for way, why in rates.missing.items():
        typer.echo(f"{way} is left out: {why}")
    said = [rates.missing.get("torchcodec", ""), *(file.failed.get("torchcodec", "") for file in rates.files)]
    if any("libtorchcodec" in error for error in said):
        typer.echo(f"To lend torchcodec PyAV's FFmpeg, begin the command with {COMMAND}")
    speed_up = rates.speed_up_of_preparing()
    if speed_up is not None:
        typer.echo(
            f"`lstcl-platform data prepare` would give {speed_up:.1f} times the pretraining samples a second"
        )
        return
    sides = [min(file.facts.width, file.facts.height) for file in rates.files if not file.facts.problem]
    hint = preparing_hint(sides)
    if hint is not None:
        typer.echo(hint)


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
    if rates.added_cpu_ms is not None:
        size = f"{rates.sample_bytes / 1e6:.1f} MB"
        table.caption += f"; Ray Data adds {rates.added_cpu_ms:.1f} CPU-ms to a sample of {size}"
    table.caption_justify = "left"
    return table


def _times(ratio: float | None) -> str:
    return f"{ratio:.2f}x" if ratio else "-"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
