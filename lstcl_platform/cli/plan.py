"""`schema` and `plan`: what a spec may say, and what a launch of it would do."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstcl_platform.cli.plan_counts import KINDS, Counts, count_stages, halving_line, probes_line
from lstcl_platform.cli.plan_forecast import (
    ClusterOption,
    ForecastOptions,
    Known,
    Outlook,
    RatesOption,
    SeedsOption,
    SimulateOption,
    VideosOption,
    look_ahead,
    outlook_as_json,
    outlook_parts,
)
from lstcl_platform.cli.terminal import hint
from lstcl_platform.specs import (
    Expansion,
    LoadedExperiment,
    StageGraph,
    build_graph,
    expand,
    load_requested,
)
from lstcl_platform.specs.experiment import ExperimentSpec
from lstcl_platform.specs.wording import numbered

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Format = Literal["table", "json"]
DigestOf = Callable[[str, ExperimentSpec], str | None]
"""(a resolved path of `data`, an experiment that reads it) -> digest of its manifest, or None."""

SpecArguments = Annotated[
    list[Path], typer.Argument(metavar="SPEC...", help="Experiment files (YAML).", show_default=False)
]
OverrideOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a field, e.g. pretrain.epochs=100; repeatable.",
        show_default=False,
    ),
]
OverrideFileOptions = Annotated[
    list[Path] | None,
    typer.Option(
        "--override",
        metavar="FILE",
        help="YAML file laid over each SPEC, e.g. experiments/overrides/toy.yaml; before --set; repeatable.",
        show_default=False,
    ),
]

_NARROW = 80
"""Columns of a terminal below which the table of stages leaves one out."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a launch of some experiment files would do.

    Attributes:
        experiments: the files, in the order given.
        expansions: the cells of each.
        graph: the stages that all of them need together.
        unindexed: data whose manifest does not exist yet; while there is any, keys are not final.
    """

    experiments: tuple[LoadedExperiment, ...]
    expansions: tuple[Expansion, ...]
    graph: StageGraph
    unindexed: tuple[str, ...] = ()


def schema() -> None:
    """Print the JSON Schema of an experiment file, for completion in an editor."""
    from lstcl_platform.specs.json_schema import experiment_schema

    typer.echo(json.dumps(experiment_schema(), indent=2))


def plan(
    specs: SpecArguments,
    overrides: OverrideOptions = None,
    override_files: OverrideFileOptions = None,
    output: Annotated[Format, typer.Option("--format", help="Form of the output.")] = "table",
    look_up: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Look up what is indexed and finished already.")
    ] = True,
    cluster: ClusterOption = None,
    rates: RatesOption = None,
    videos: VideosOption = None,
    simulate: SimulateOption = False,
    seeds: SeedsOption = 20,
) -> None:
    """Show the trials and unique stages that a launch would run, which are finished, and what the rest will take.

    Runs nothing. Times are predicted from earlier runs, or from a file of rates, or else guessed from operations.
    """
    options = ForecastOptions(
        cluster=cluster, rates=rates, videos=videos or (), seeds=seeds if simulate else 0
    )
    plan_and_show(
        specs, overrides or (), override_files or (), look_up=look_up, output=output, options=options
    )


def plan_and_show(
    specs: Sequence[Path],
    overrides: Iterable[str],
    override_files: Iterable[Path],
    *,
    look_up: bool = True,
    output: Format = "table",
    options: ForecastOptions | None = None,
) -> None:
    """Build the plan of `specs` and print it; with `look_up`, by the manifests and results that are there."""
    options = options or ForecastOptions()
    if not look_up:
        found = build_plan(specs, overrides, override_files=override_files)
        show_plan(found, outlook=look_ahead(found, options, Known()), output=output)
        return
    from lstcl_platform.cli.plan_lookup import KnownData, look_up_stores

    data = KnownData()
    found = build_plan(specs, overrides, override_files=override_files, digest_of=data.digest)
    finished, rates = look_up_stores(found.experiments, found.graph.stages)
    known = Known(rates=rates, sizes=data.sizes(), finished=finished)
    outlook = look_ahead(found, options, known)
    show_plan(found, finished=finished, outlook=outlook, remarks=data.remarks(), output=output)
    if output == "table" and not finished.issuperset(found.graph.stages):
        hint("lstcl-platform launch, with the same files and options")


def build_plan(
    specs: Sequence[Path],
    overrides: Iterable[str] = (),
    *,
    override_files: Iterable[Path] = (),
    digest_of: DigestOf = lambda path, spec: None,
) -> Plan:
    """Load `specs`, expand them and merge their stages.

    Args:
        specs: experiment files.
        overrides: `--set` arguments, applied to each of them.
        override_files: files laid over each of them before that.
        digest_of: looks up the digest of a manifest.

    Raises:
        UserError: a spec is wrong, or two have the same experiment name.
    """
    overrides, override_files = tuple(overrides), tuple(override_files)
    experiments = tuple(load_requested(path, overrides, override_files=override_files) for path in specs)
    expansions = tuple(expand(experiment.resolved) for experiment in experiments)
    trials = [trial for expansion in expansions for trial in expansion.trials]
    digests: dict[str, str | None] = {}
    for experiment, expansion in zip(experiments, expansions, strict=True):
        for path in dict.fromkeys(path for trial in expansion.trials for path in trial.spec.sources()):
            digests[path] = digests.get(path) or digest_of(path, experiment.resolved)
    # The path stands in for a digest that is not known, so that stages over different data stay apart.
    manifests = {path: f"unknown:{path}" if digest is None else digest for path, digest in digests.items()}
    return Plan(
        experiments=experiments,
        expansions=expansions,
        graph=build_graph(trials, manifests=manifests),
        unindexed=tuple(path for path, digest in digests.items() if digest is None),
    )


def show_plan(
    plan: Plan,
    *,
    finished: Collection[str] = frozenset(),
    outlook: Outlook | None = None,
    remarks: Sequence[str] = (),
    output: Format = "table",
    console: "Console | None" = None,
) -> None:
    """Print `plan`.

    Args:
        plan: from `build_plan`.
        finished: keys of stages whose results are already there.
        outlook: what the rest is predicted to take.
        remarks: lines to end with.
        output: tables for people, or one JSON object.
        console: where tables go; by default stdout, with NO_COLOR and the terminal's width respected, wide in a pipe.
    """
    if output == "json":
        values = plan_as_json(plan, finished=finished) | {"remarks": list(remarks)}
        values |= {} if outlook is None else outlook_as_json(outlook)
        typer.echo(json.dumps(values, indent=2))
        return
    from rich.text import Text

    from lstcl_platform.cli.results import make_console

    console = console or make_console()
    for part in _tables(plan, finished, narrow=console.width < _NARROW):
        console.print(part, soft_wrap=isinstance(part, Text))
    for part in () if outlook is None else outlook_parts(outlook):
        console.print(Text(part) if isinstance(part, str) else part, soft_wrap=isinstance(part, str))
    for remark in remarks:
        console.print(Text(remark), soft_wrap=True)


def plan_as_json(plan: Plan, *, finished: Collection[str] = frozenset()) -> dict[str, Any]:
    """`plan` as JSON-ready values: counts, experiments with trials and excluded cells, the unique stages.

    `summary` counts by what the videos are, real or rendered by `data.synthesize`, and in all.
    """
    experiments = []
    for loaded, expansion in zip(plan.experiments, plan.expansions, strict=True):
        name = loaded.resolved.name
        trials = [
            {
                "name": trial.name,
                "cell": dict(trial.cell),
                "stages": list(plan.graph.chains[f"{name}/{trial.name}"]),
            }
            for trial in expansion.trials
        ]
        excluded = [{"name": cell.name, "reason": cell.reason} for cell in expansion.excluded]
        counts = count_stages(
            plan.graph, [f"{name}/{trial.name}" for trial in expansion.trials], finished=finished
        )
        experiments.append(
            {
                "name": name,
                "file": str(loaded.path),
                "counts": counts.as_json(),
                "trials": trials,
                "excluded": excluded,
            }
        )
    stages = [
        {
            "key": stage.key,
            "kind": stage.kind,
            "until_epoch": stage.until,
            "parent": stage.parent,
            "trials": list(stage.trials),
            "finished": stage.key in finished,
        }
        for stage in plan.graph.stages.values()
    ]
    groups = _groups(plan, finished) | {
        "total": count_stages(plan.graph, plan.graph.chains, finished=finished)
    }
    return {
        "summary": {name: counts.as_json() for name, counts in groups.items()},
        "experiments": experiments,
        "stages": stages,
        "keys_final": not plan.unindexed,
        "unindexed_data": list(plan.unindexed),
    }


def plan_summary(plan: Plan, *, finished: Collection[str] = frozenset()) -> list[str]:
    """What the trials need, in a line; where some videos are real and others rendered, a line for each."""
    groups = {name: counts for name, counts in _groups(plan, finished).items() if counts.trials}
    if len(groups) == 1:
        return [str(counts) for counts in groups.values()]
    return [f"{name.replace('_', ' ')}: {counts}" for name, counts in groups.items()]


def _groups(plan: Plan, finished: Collection[str]) -> dict[str, Counts]:
    """Counts of the trials on real videos, and of those on rendered ones, which are no part of a study."""
    groups: dict[str, list[str]] = {"real_data": [], "synthesized_data": []}
    for expansion in plan.expansions:
        for trial in expansion.trials:
            group = "real_data" if trial.spec.data.synthesize is None else "synthesized_data"
            groups[group].append(f"{trial.experiment}/{trial.name}")
    return {name: count_stages(plan.graph, trials, finished=finished) for name, trials in groups.items()}


def _tables(plan: Plan, finished: Collection[str], *, narrow: bool) -> Iterable["RenderableType"]:
    from rich.text import Text

    for loaded, expansion in zip(plan.experiments, plan.expansions, strict=True):
        yield _trial_table(loaded.resolved.name, expansion, plan.graph, finished)
        for cell in expansion.excluded:
            yield Text(f"excluded: {cell.name} ({cell.reason})")
        if loaded.resolved.sweep.halving is not None:
            yield Text(halving_line(loaded.resolved.sweep.halving, expansion.trials))
        if line := probes_line(expansion.trials):
            yield Text(line)
    yield _stage_table(plan.graph, finished, narrow=narrow)
    for line in plan_summary(plan, finished=finished):
        yield Text(line, style="bold")
    counts = count_stages(plan.graph, plan.graph.chains)
    yield Text(
        f"{numbered(counts.shared.total(), 'stage')} shared by several trials, "
        f"{counts.shared_between_experiments.total()} of them by several experiments"
    )
    if any(key in finished for key in plan.graph.stages):
        yield Text("* finished: will not run again")
    if plan.unindexed:
        yield Text(
            f"Keys are not final, this data is not indexed yet (launch does so): {', '.join(plan.unindexed)}"
        )


def _trial_table(
    name: str, expansion: Expansion, graph: StageGraph, finished: Collection[str]
) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{name}: {numbered(len(expansion.trials), 'trial')}", title_justify="left")
    table.add_column("trial", overflow="fold")
    for kind in KINDS:
        table.add_column(kind, no_wrap=True)
    for trial in expansion.trials:
        stages = {graph.stages[key].kind: graph.stages[key] for key in graph.chains[f"{name}/{trial.name}"]}
        cells = [_key(stages[kind].key, finished) if kind in stages else "-" for kind in KINDS]
        table.add_row(Text(trial.name), *cells)
    return table


def _stage_table(graph: StageGraph, finished: Collection[str], *, narrow: bool) -> "RenderableType":
    """All stages; a narrow one leaves out what the table of trials says too: what a stage starts from."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=numbered(len(graph.stages), "unique stage"), title_justify="left")
    for column in ("stage", "key", "state") if narrow else ("stage", "key", "starts from", "state"):
        table.add_column(column, no_wrap=True)
    table.add_column("trials", justify="right", no_wrap=True)
    table.add_column("first trial", overflow="fold")
    for kind in KINDS:
        for stage in graph.stages.values():
            if stage.kind == kind:
                state = Text("finished", style="green") if stage.key in finished else Text("to do")
                name = kind if stage.until is None else f"{kind} (epoch {stage.until})"
                parent = "-" if stage.parent is None else stage.parent[:10]
                first = Text(stage.trials[0])
                start = () if narrow else (parent,)
                table.add_row(name, stage.short_key, *start, state, str(len(stage.trials)), first)
    return table


def _key(key: str, finished: Collection[str]) -> str:
    return f"{key[:10]} *" if key in finished else key[:10]
