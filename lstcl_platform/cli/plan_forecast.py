"""`plan`: what the unfinished stages are predicted to take, and the replay of the sweep."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstcl_platform.cli.plan_counts import KINDS
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.wording import numbered

if TYPE_CHECKING:
    from rich.table import Table

    from lstcl_platform.cli.plan import Plan
    from lstcl_platform.planning.predict import Forecast, Totals
    from lstcl_platform.planning.rates import RatesSpec
    from lstcl_platform.planning.simulate import Simulation
    from lstcl_platform.planning.span import Span
    from lstcl_platform.planning.work import DataSize

ClusterOption = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        metavar="FILE",
        help="YAML file that describes the cluster, with prices; by default this machine.",
        show_default=False,
    ),
]
RatesOption = Annotated[
    Path | None,
    typer.Option(
        "--rates",
        metavar="FILE",
        help="YAML file of measured rates, instead of those of earlier runs in the tracking store.",
        show_default=False,
    ),
]
VideosOption = Annotated[
    list[str] | None,
    typer.Option(
        "--videos",
        metavar="PATH=VIDEOS[/CLASSES]",
        help="Size of data that is not indexed yet; PATH may be its end, as in data/train=5000; repeatable.",
        show_default=False,
    ),
]
SimulateOption = Annotated[
    bool, typer.Option("--simulate", help="Also replay the sweep on the cluster, node by node.")
]
SeedsOption = Annotated[int, typer.Option("--seeds", min=1, help="Replays that --simulate makes.")]


@dataclass(frozen=True, kw_only=True)
class ForecastOptions:
    """What a plan is predicted for.

    Attributes:
        cluster: file of the cluster; None is this machine.
        rates: file of rates; None takes those of earlier runs.
        videos: sizes of data, `PATH=VIDEOS[/CLASSES]`.
        seeds: replays of the simulation; 0 simulates nothing.
    """

    cluster: Path | None = None
    rates: Path | None = None
    videos: Sequence[str] = ()
    seeds: int = 0


@dataclass(frozen=True, kw_only=True)
class Known:
    """What was looked up.

    Attributes:
        rates: of earlier runs.
        sizes: of indexed data, by resolved path.
        finished: keys of stages that will not run again.
    """

    rates: RatesSpec | None = None
    sizes: dict[str, DataSize] = field(default_factory=dict)
    finished: Collection[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a plan is predicted to take.

    Attributes:
        forecast: by stage; None where the stages do not fit this machine and no cluster is described.
        why_not: why there is no forecast.
        simulation: of the launch, if asked for.
        sizes: resolved path -> size of the data that was not looked at.
    """

    forecast: Forecast | None
    why_not: str
    simulation: Simulation | None
    sizes: dict[str, DataSize]


def look_ahead(plan: Plan, options: ForecastOptions, known: Known) -> Outlook:
    """Predict, and simulate if asked.

    Raises:
        UserError: a file is wrong, a batch is larger than its data, a stage does not fit the described cluster, or the
            simulation lacks data.
    """
    from lstcl_platform.planning.clusters import load_cluster, this_machine
    from lstcl_platform.planning.predict import forecast, unknown_paths
    from lstcl_platform.planning.rates import RatesSpec, load_rates
    from lstcl_platform.planning.work import check_sizes, parse_sizes, size_of

    cluster = this_machine() if options.cluster is None else load_cluster(options.cluster)
    rates = known.rates or RatesSpec() if options.rates is None else load_rates(options.rates)
    specs = [stage.spec for stage in plan.graph.stages.values()]
    paths = {path for spec in specs for path in spec.sources()}
    sizes = {**known.sizes, **parse_sizes(options.videos, paths)}
    check_sizes((trial.spec for expansion in plan.expansions for trial in expansion.trials), sizes)
    assumed = {
        path: size
        for spec in specs
        for path in spec.sources()
        if path not in known.sizes and (size := size_of(path, spec.data, sizes)) is not None
    }
    try:
        found = forecast(
            plan.graph,
            finished=known.finished,
            sizes=sizes,
            rates=rates,
            cluster=cluster,
            capacity=cluster.capacity,
            checkpoint=plan.experiments[0].resolved.checkpoint,
        )
    except UserError as error:
        if options.cluster is not None:
            raise
        return Outlook(forecast=None, why_not=str(error), simulation=None, sizes=assumed)
    if options.seeds and found.unknown:
        raise UserError(
            f"--simulate: the size of this data is not known: {', '.join(unknown_paths(found.unknown))}; index it "
            "(`lstcl-platform data index`) and name the manifest in the spec, or say it with --videos PATH=VIDEOS"
        )
    simulation = None
    if options.seeds and found.stages:
        from lstcl_platform.planning.simulate import simulate

        simulation = simulate(found, seeds=options.seeds)
    return Outlook(forecast=found, why_not="", simulation=simulation, sizes=assumed)


def outlook_as_json(outlook: Outlook) -> dict[str, Any]:
    """The prediction and the simulation as JSON-ready values; null where there is none."""
    found = outlook.forecast
    return {
        "prediction": None if found is None else _prediction(found),
        "not_predicted": outlook.why_not,
        "simulation": None if outlook.simulation is None else outlook.simulation.as_json(),
        "assumed_videos": {path: size.videos for path, size in outlook.sizes.items()},
    }


def _prediction(found: Forecast) -> dict[str, Any]:
    return {
        "cluster": found.cluster.description,
        "currency": found.cluster.currency,
        "device": found.cluster.device,
        "stages_at_once": found.at_once,
        "by_kind": {kind: found.totals(kind).as_json() for kind in KINDS},
        "all": found.totals().as_json(),
        "wall_seconds": found.wall.as_json(),
        "cost": None if found.cost is None else found.cost.as_json(),
        "bottleneck": found.bottleneck,
        "decode_cores_a_worker": {"given": found.cores_a_worker, "balanced": found.balance},
        "stages": {
            key: {"kind": each.stage.kind, "basis": each.times.basis, "seconds": each.seconds.as_json()}
            for key, each in found.stages.items()
        },
        "unknown_stages": [stage.key for stage in found.unknown],
    }


def outlook_parts(outlook: Outlook) -> Iterator[Table | str]:
    """Table and lines for people; nothing where nothing is left to run."""
    found = outlook.forecast
    if found is None:
        yield f"Not predicted: {outlook.why_not}. Describe the cluster that it is for with --cluster FILE."
        return
    if found.stages:
        yield _table(found)
        yield from _lines(found)
    if found.unknown:
        yield (
            f"{numbered(len(found.unknown), 'stage')} not predicted: the size of their data is not known "
            "(index it and name the manifest in the spec, or say it with --videos PATH=VIDEOS)"
        )
    for path, size in outlook.sizes.items():
        yield f"Taken: {path} has {numbered(size.videos, 'video')} ({size.source})"
    if outlook.simulation is not None:
        yield _simulated(outlook.simulation, found)


def _table(found: Forecast) -> Table:
    from rich.table import Table

    worker = _worker(found)
    table = Table(
        title=f"Predicted on {found.cluster.description or 'the described cluster'}", title_justify="left"
    )
    table.add_column("stages")
    columns = ("operations", "decode core time", f"{worker} time", "one by one", "storage", "rates")
    for column in columns:
        table.add_column(column, justify="right")
    for kind, word in KINDS.items():
        if any(each.stage.kind == kind for each in found.stages.values()):
            table.add_row(*_row(found.totals(kind), word))
    table.add_section()
    table.add_row(*_row(found.totals(), "stage"))
    return table


def _row(totals: Totals, word: str) -> list[str]:
    return [
        numbered(totals.stages, word),
        f"{totals.flops:.2e}",
        _time(totals.decode_hours),
        _time(totals.worker_hours),
        _time(totals.wall_hours),
        _bytes(totals.storage_bytes),
        ", ".join(f"{count} {basis}" for basis, count in totals.bases.items()),
    ]


def _lines(found: Forecast) -> Iterator[str]:
    worker = _worker(found)
    wall = f"Wall time {_durations(found.wall)} with {numbered(found.at_once, 'stage')} at once"
    yield wall if found.cost is None else f"{wall}; cost {_money(found.cost, found.cluster.currency)}"
    given, balanced = found.cores_a_worker, found.balance
    if given is not None and balanced is not None:
        yield (
            f"Bottleneck: {found.bottleneck}. {balanced:.2g} decode cores a {worker} would balance it; it has "
            f"{given:.2g}"
        )
    bases = found.totals().bases
    if "guess" in bases:
        yield (
            f"Rates of {numbered(bases['guess'], 'stage')} are a guess, from operations and assumptions: calibrate "
            "with a short run, or say what was measured with --rates FILE"
        )
    if "scaled" in bases:
        yield (
            f"Rates of {numbered(bases['scaled'], 'stage')} are in proportion to those of other stages that ran on "
            f"{found.cluster.device}, by operations"
        )


def _simulated(simulation: Simulation, found: Forecast) -> str:
    parts = [f"makespan {_durations(simulation.makespan)}"]
    if simulation.cost is not None:
        parts.append(f"cost {_money(simulation.cost, found.cluster.currency)}")
    parts.append(f"{_worker(found)}s idle {_range(simulation.idle.times(100))} %")
    if simulation.interruptions.high:
        parts.append(f"nodes taken away {_range(simulation.interruptions)}")
        parts.append(f"{_worker(found)} time lost {_time(simulation.lost.times(1 / 3600))}")
    return f"Simulated with {numbered(simulation.seeds, 'seed')}: {'; '.join(parts)}"


def _worker(found: Forecast) -> str:
    return "worker" if found.cluster.device == "cpu" else "GPU"


def _range(span: Span) -> str:
    expected, low, high = (_number(value) for value in (span.expected, span.low, span.high))
    return expected if low == high else f"{expected} ({low}-{high})"


def _time(hours: Span) -> str:
    """Hours added up over cores, workers or stages, in the unit that the expected value reads best in."""
    units = {"h": 1.0, "min": 60.0, "s": 3600.0}
    unit = next((name for name, factor in units.items() if hours.expected * factor >= 1), "s")
    return f"{_range(hours.times(units[unit]))} {unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 10 else f"{value:.2g}"


def _durations(span: Span) -> str:
    from lstcl_platform.results.text import duration

    expected, low, high = (duration(value) for value in (span.expected, span.low, span.high))
    return expected if low == high else f"{expected} ({low} to {high})"


def _money(span: Span, currency: str) -> str:
    return f"{currency} {_range(span)}"


def _bytes(count: float) -> str:
    value = count
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"
