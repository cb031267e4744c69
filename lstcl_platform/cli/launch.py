"""`launch` and `resume`: run a study, show it, and print what came out."""

import shlex
import signal
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstcl_platform.cli.plan import (
    OverrideFileOptions,
    OverrideOptions,
    SpecArguments,
    plan_and_show,
)
from lstcl_platform.cli.terminal import command
from lstcl_platform.specs import LoadedExperiment, load_requested
from lstcl_platform.specs.wording import numbered

if TYPE_CHECKING:
    from lstcl_platform.orchestration.launch import Ahead, Outcome
    from lstcl_platform.tracking.tracker import Tracker

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST:PORT|http(s)://HEAD:8265",
        help="Ray cluster to run on; by default a local one is started and ended with the command. A URL is that of "
        "a job server: the study runs over there, and Ctrl-C only stops watching it (launch, resume, logs).",
        show_default=False,
    ),
]
NumericsOption = Annotated[
    bool,
    typer.Option(
        "--allow-numerics-change",
        help="Go on from checkpoints that were computed with other versions, threads or worker counts.",
    ),
]


def is_url(address: str | None) -> bool:
    """Whether `address` is a job server's, to which the command is sent."""
    return address is not None and address.startswith(("http://", "https://"))


def where(address: str | None, *, allow_numerics_change: bool) -> list[str]:
    """Options of a launch that a launch which goes on with it needs too."""
    words = [] if address is None else ["--address", address]
    return [*words, "--allow-numerics-change"] if allow_numerics_change else words


def launch(
    specs: SpecArguments,
    overrides: OverrideOptions = None,
    override_files: OverrideFileOptions = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and run nothing.")] = False,
    address: AddressOption = None,
    allow_numerics_change: NumericsOption = False,
) -> None:
    """Run what is not done yet of the studies in SPEC..., and compare the outcome.

    Launching again is resuming: finished stages are found in tracking, half-done ones go on from their newest
    checkpoint.
    """
    if dry_run:
        plan_and_show(specs, overrides or (), override_files or ())
        return
    files = override_files or []
    loaded = [load_requested(path, overrides or (), override_files=files) for path in specs]
    changes = [word for file in files for word in ("--override", str(file))]
    changes += [word for text in overrides or () for word in ("--set", text)]
    changes += where(address, allow_numerics_change=allow_numerics_change)
    again = shlex.join(["lstcl-platform", "launch", *map(str, specs), *changes])
    if is_url(address):
        from lstcl_platform.cli.remote import launch_there

        launch_there(loaded, address=str(address), allow_numerics_change=allow_numerics_change)
    run(loaded, address=address, allow_numerics_change=allow_numerics_change, again=again)


def run(
    experiments: Sequence[LoadedExperiment], *, address: str | None, allow_numerics_change: bool, again: str
) -> None:
    """Launch `experiments` with a view on stderr and the comparison on stdout; exits 1 or 130 when not all is done.

    Args:
        experiments: loaded specs.
        address: Ray cluster, or None.
        allow_numerics_change: see `launch`.
        again: this command; it goes on too, and is what is left to say before a launch is recorded.
    """
    from lstcl_platform.cli.live import make_view, message_console, progress_console, say
    from lstcl_platform.orchestration.cluster import ClusterLostError
    from lstcl_platform.orchestration.launch import launch as run_launch
    from lstcl_platform.tracking.patience import StoreAwayError

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, also before stages run
    console = message_console()
    view = make_view(progress_console())
    with tempfile.TemporaryDirectory() as folder:
        try:
            outcome = run_launch(
                experiments,
                view=view,
                figures=lambda tracker, name: _figures(tracker, name, Path(folder)),
                predict=predicted,
                address=address,
                allow_numerics_change=allow_numerics_change,
            )
        except KeyboardInterrupt:
            view.close()
            say(console, f"stopped; go on with: {again}")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except (StoreAwayError, ClusterLostError) as error:
            view.close()
            say(console, str(error))
            say(console, f"go on with: {again}")
            raise typer.Exit(EXIT_FAILED) from None
        finally:
            view.close()
    first, names = experiments[0].resolved, [experiment.resolved.name for experiment in experiments]
    stored = partial(command, storage=first.storage.path, tracking_uri=first.tracking.uri)
    if len(names) == 1:  # as `status` says it; several go on together by the command that launched them
        again = stored("resume", *names, *where(address, allow_numerics_change=allow_numerics_change))
    _summarise(outcome, names, again=again, report=stored("report", *names, "-o", "report.html"))


def _counts(outcome: "Outcome") -> str:
    progress = outcome.progress
    ran, cached = progress.count("finished"), progress.count("cached")
    text = f"{numbered(ran, 'stage')} ran, {_were(cached)} done before, {progress.count('failed')} failed."
    if skipped := progress.count("skipped"):
        text += f" {_were(skipped)} skipped, since a stage that was needed failed."
    if dropped := progress.count("dropped"):
        text += f" {_were(dropped)} left out, since successive halving stopped the cells in need of it."
    if retried := sum(bool(stage.retries) for stage in progress.stages.values()):
        text += f" {_were(retried)} tried again."
    return text


def _were(number: int) -> str:
    return f"{number} {'was' if number == 1 else 'were'}"


def predicted(ahead: "Ahead") -> Mapping[str, Any]:
    """What the stages of a launch will take, by what its store has measured."""
    from lstcl_platform.planning.earlier import rates_of_runs
    from lstcl_platform.planning.launched import prediction_of_launch
    from lstcl_platform.planning.work import DataSize

    manifests = {path: found.manifest for path, found in ahead.data.items()}
    return prediction_of_launch(
        ahead.graph,
        finished=ahead.finished,
        sizes={
            path: DataSize(videos=len(manifest.usable), classes=len(manifest.classes))
            for path, manifest in manifests.items()
        },
        rates=rates_of_runs(ahead.tracker.measured_stages()),
        capacity=ahead.capacity,
        checkpoint=ahead.checkpoint,
    )


def _figures(tracker: "Tracker", name: str, folder: Path) -> list[Path]:
    from lstcl_platform.cli.results import comparison_of, recorded_spec
    from lstcl_platform.results.drawing import save
    from lstcl_platform.results.paper_figures import result_drawing
    from lstcl_platform.results.plots import plot_comparison

    comparison = comparison_of(tracker, [name])
    if not any(cell.metrics for cell in comparison.cells):
        return []
    figure = folder / "comparison.png"
    plot_comparison(comparison, figure)
    spec = recorded_spec(tracker, name)
    drawing = None if spec is None or spec.published is None else result_drawing(comparison, spec.published)
    return [figure] if drawing is None else [figure, *save(drawing, folder)]


def _summarise(outcome: "Outcome", names: Sequence[str], *, again: str, report: str) -> None:
    from lstcl_platform.cli.live import message_console, progress_console, say
    from lstcl_platform.cli.results import comparison_of, make_console
    from lstcl_platform.orchestration.progress import log_words
    from lstcl_platform.results.tables import comparison_table

    console, progress, told = make_console(), outcome.progress, message_console()
    comparison = comparison_of(outcome.tracker, names)
    console.print(comparison_table(comparison, width=console.width))
    say(told, _counts(outcome))
    for stage in progress.stages.values():
        name = f"{stage.kind} {stage.key[:10]} ({stage.label})"
        if stage.status == "failed":
            say(told, f"failed: {name}: {stage.error}; {log_words(stage.attempt_dir)}")
        if stage.retries:
            say(
                told,
                f"tried again: {name}: {numbered(len(stage.retries), 'time')}, last because {stage.retries[-1]}",
            )
        if stage.bad_videos:
            say(
                told,
                f"bad videos in {name}: {numbered(sum(stage.bad_videos.values()), 'sample')}, "
                f"{numbered(len(stage.bad_videos), 'video')}: "
                f"{'; '.join(stage.bad_videos)}",
            )
    if outcome.status == "interrupted":
        say(told, f"stopped; go on with: {again}")
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome.status == "failed":
        say(told, f"what is finished stays; try the rest again with: {again}")
        raise typer.Exit(EXIT_FAILED)
    told = progress_console()
    say(told, f"Next: {report}")
    say(
        told,
        f"All runs and curves: mlflow ui --backend-store-uri {outcome.tracker.uri} "
        "(choose 'Model training' at the top left)",
    )
