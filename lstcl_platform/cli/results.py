"""`compare` and `status`: what the tracking store says."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstcl_platform.cli.terminal import DEFAULT_STORAGE, command, hint

if TYPE_CHECKING:
    from rich.console import Console

    from lstcl_platform.results.compare import Comparison
    from lstcl_platform.specs.experiment import ExperimentSpec, Published
    from lstcl_platform.tracking.records import Status
    from lstcl_platform.tracking.tracker import Tracker

Storage = Annotated[str, typer.Option(help="Folder of the results: `storage.path` of the experiments.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow store; default: SQLite inside --storage."),
]


class Format(StrEnum):
    """How `compare` prints."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


_NEXT: "Mapping[Status, str]" = {
    "waiting": "logs",
    "running": "logs",
    "finished": "compare",
    "failed": "logs",
}
"""Command that one wants after seeing a launch in this state; in the others it is to go on."""


class Counted(StrEnum):
    """Which multiply-accumulates count; the paper's Table 4 has Swin by the first, TimeSformer by the second."""

    LINEAR = "linear+conv"
    ALL = "all"


def compare(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENT...", show_default=False)],
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric that decides. Default: top1, or that of frozen features where nothing is finetuned."
        ),
    ] = None,
    output_format: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    plot: Annotated[Path | None, typer.Option(help="Also write a figure: .png, .pdf or .svg.")] = None,
    sort: Annotated[
        str | None,
        typer.Option(help="Order of the cells: a metric (best first) or a setting.", metavar="NAME"),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Only cells with this setting, named by the end of its path.", metavar="FIELD=VALUE"
        ),
    ] = None,
    cost: Annotated[
        Counted | None,
        typer.Option(help="Also parameters and GMACs x views, without or with attention's own products."),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    tracking_uri: TrackingUri = None,
) -> None:
    """Set the cells of studies side by side: mean and spread over seeds, the paper's values, what no learning scores.

    EXPERIMENT is a study's name, or the id of any MLflow run in the store: of a launch, a trial, or one of your own.
    """
    from lstcl_platform.results.settings import filtered, ordered
    from lstcl_platform.results.tables import comparison_csv, comparison_json, comparison_table

    tracker = open_store(storage=storage, tracking_uri=tracking_uri)
    comparison = comparison_of(tracker, list(dict.fromkeys(experiments)), metric=metric)
    comparison = filtered(comparison, where or ())
    if sort is not None:
        comparison = ordered(comparison, sort)
    if cost is not None:
        from lstcl_platform.results.cost import with_costs

        comparison = with_costs(comparison, convention=cost.value)
    if output_format is Format.CSV:
        typer.echo(comparison_csv(comparison), nl=False)
    elif output_format is Format.JSON:
        typer.echo(comparison_json(comparison))
    else:
        console = make_console()
        console.print(comparison_table(comparison, width=console.width))
        if comparison.experiments == experiments:  # not runs by their ids
            words = ("report", *experiments, "-o", "report.html")
            hint(command(*words, storage=storage, tracking_uri=tracking_uri))
    if plot is not None:
        spec = recorded_spec(tracker, experiments[0]) if len(comparison.experiments) == 1 else None
        _draw(comparison, plot, published=spec.published if spec else None)


def _draw(comparison: "Comparison", path: Path, *, published: "Published | None") -> None:
    """Write the paper's own figure where the study repeats one, else the general one."""
    from lstcl_platform.results.drawing import save_as
    from lstcl_platform.results.paper_figures import result_drawing
    from lstcl_platform.results.plots import plot_comparison

    drawing = result_drawing(comparison, published) if published else None
    if drawing is None:
        plot_comparison(comparison, path)
    else:
        save_as(drawing, path)
    typer.echo(f"figure: {path}", err=True)


def status(
    experiment: Annotated[str | None, typer.Argument(show_default=False)] = None,
    metric: Annotated[str, typer.Option(help="Metric shown for finished trials.")] = "top1",
    output: Annotated[
        Literal["table", "json"], typer.Option("--format", help="Form of the output.")
    ] = "table",
    storage: Storage = DEFAULT_STORAGE,
    tracking_uri: TrackingUri = None,
) -> None:
    """Show what is done, running and failed; of all experiments when none is named."""
    from lstcl_platform.results.progress import experiment_view, experiments_table

    tracker = open_store(storage=storage, tracking_uri=tracking_uri)
    console = make_console()
    if output == "json":
        names = tracker.experiments() if experiment is None else [experiment]
        typer.echo(json.dumps([_state(tracker, name) for name in names], indent=2))
        return
    if experiment is not None:
        state = tracker.launch_state(experiment)
        resume, following = (
            command(word, experiment, storage=storage, tracking_uri=tracking_uri)
            for word in ("resume", _NEXT.get(state.status, "resume"))
        )
        console.print(experiment_view(state, tracker.trial_results(experiment), metric=metric, resume=resume))
        hint(following)
        return
    names = tracker.experiments()
    if not names:
        console.print("nothing was launched into this store yet")
        return
    console.print(experiments_table([(tracker.launch_state(n), tracker.trial_results(n)) for n in names]))


def _state(tracker: "Tracker", name: str) -> dict[str, object]:
    """Newest launch of an experiment with its trials and their stages, JSON-ready."""
    trials = [asdict(trial) for trial in tracker.trial_results(name)]
    return {**asdict(tracker.launch_state(name)), "trials": trials}


def comparison_of(
    tracker: "Tracker", experiments: Sequence[str], *, metric: str | None = None
) -> "Comparison":
    """The cells of `experiments` (names, or MLflow run ids) as tracking holds them now, with their settings.

    A launch whose record can no longer be read back is compared without settings.
    """
    from lstcl_platform.results.compare import compare_trials
    from lstcl_platform.results.settings import with_settings

    found = [tracker.results_of(name) for name in experiments]
    trials = [trial for each in found for trial in each.trials]
    launches = {each.name: each.metrics for each in found}
    comparison = compare_trials(trials, metric=metric, launch_metrics=launches)
    for each in found:
        if each.launch is not None and (spec := recorded_spec(tracker, each.launch)) is not None:
            comparison = with_settings(comparison, {each.name: spec})
    return comparison


def recorded_spec(tracker: "Tracker", name: str) -> "ExperimentSpec | None":
    """What the launch of an experiment, or of a parent run's id, asked for; None where it cannot be read back."""
    from lstcl_platform.specs.errors import UserError

    try:
        return tracker.recorded_launch(name).spec
    except UserError:
        return None


def open_store(*, storage: str, tracking_uri: str | None) -> "Tracker":
    """The tracking store that a command reads.

    Raises:
        UserError: there is none; reading commands make no store.
    """
    from lstcl_platform.specs.errors import UserError
    from lstcl_platform.specs.run import StorageSpec, TrackingSpec
    from lstcl_platform.tracking.location import artifact_location, sqlite_file
    from lstcl_platform.tracking.location import tracking_uri as resolve
    from lstcl_platform.tracking.tracker import Tracker

    where = StorageSpec(path=storage)
    uri = resolve(TrackingSpec(uri=tracking_uri), where)
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise UserError(
            f"no results: nothing was launched into {file.parent} yet (it has no {file.name}). Launch first, or name "
            "the folder of an earlier launch with --storage, or its MLflow store with --tracking-uri"
        )
    return Tracker(uri, artifact_location=artifact_location(uri, where))


def make_console() -> "Console":
    """A console that keeps to the terminal's width, and to a wide line when the output is piped."""
    from rich.console import Console

    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=160 if piped else None, highlight=False)
