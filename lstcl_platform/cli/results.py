"""`compare` and `status`: what the tracking store says."""

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from lstcl_platform.results.compare import Comparison
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
    cost: Annotated[
        Counted | None,
        typer.Option(help="Also parameters and GMACs x views, without or with attention's own products."),
    ] = None,
    storage: Storage = "lstcl_runs",
    tracking_uri: TrackingUri = None,
) -> None:
    """Set the cells of studies side by side: mean and spread over seeds, and what no learning scores."""
    from lstcl_platform.results.plots import plot_comparison
    from lstcl_platform.results.tables import comparison_csv, comparison_json, comparison_table

    tracker = open_store(storage=storage, tracking_uri=tracking_uri)
    comparison = comparison_of(tracker, list(dict.fromkeys(experiments)), metric=metric)
    if cost is not None:
        from lstcl_platform.results.cost import with_costs
        from lstcl_platform.specs.sweep import expand

        recorded = [tracker.recorded_spec(name).spec for name in comparison.experiments]
        trials = [trial for spec in recorded for trial in expand(spec).trials]
        comparison = with_costs(comparison, trials, convention=cost.value)
    if output_format is Format.CSV:
        typer.echo(comparison_csv(comparison), nl=False)
    elif output_format is Format.JSON:
        typer.echo(comparison_json(comparison))
    else:
        console = make_console()
        console.print(comparison_table(comparison, width=console.width))
    if plot is not None:
        plot_comparison(comparison, plot)
        typer.echo(f"figure: {plot}", err=True)


def status(
    experiment: Annotated[str | None, typer.Argument(show_default=False)] = None,
    metric: Annotated[str, typer.Option(help="Metric shown for finished trials.")] = "top1",
    storage: Storage = "lstcl_runs",
    tracking_uri: TrackingUri = None,
) -> None:
    """Show what is done, running and failed; of all experiments when none is named."""
    from lstcl_platform.results.progress import experiment_view, experiments_table

    tracker = open_store(storage=storage, tracking_uri=tracking_uri)
    console = make_console()
    if experiment is not None:
        trials = tracker.trial_results(experiment)
        console.print(experiment_view(tracker.launch_state(experiment), trials, metric=metric))
        return
    names = tracker.experiments()
    if not names:
        console.print("nothing was launched into this store yet")
        return
    console.print(experiments_table([(tracker.launch_state(n), tracker.trial_results(n)) for n in names]))


def comparison_of(
    tracker: "Tracker", experiments: Sequence[str], *, metric: str | None = None
) -> "Comparison":
    """The cells of `experiments` as tracking holds them now."""
    from lstcl_platform.results.compare import compare_trials

    trials = [trial for name in experiments for trial in tracker.trial_results(name)]
    launches = {name: tracker.launch_state(name).metrics for name in experiments}
    return compare_trials(trials, metric=metric, launch_metrics=launches)


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
            f"no results: {file} does not exist. Name the folder of the launch with --storage, "
            "or its MLflow store with --tracking-uri"
        )
    return Tracker(uri, artifact_location=artifact_location(uri, where))


def make_console() -> "Console":
    """A console that keeps to the terminal's width, and to a wide line when the output is piped."""
    from rich.console import Console

    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=160 if piped else None, highlight=False)
