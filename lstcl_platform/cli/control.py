"""`resume`, `stop` and `logs`: what is done with a study that was launched before."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstcl_platform.cli.launch import AddressOption, NumericsOption, is_url, run, where
from lstcl_platform.cli.results import Storage, TrackingUri, open_store
from lstcl_platform.cli.terminal import DEFAULT_STORAGE, command, hint
from lstcl_platform.specs.errors import UserError

if TYPE_CHECKING:
    from lstcl_platform.tracking.tracker import StageState

ExperimentArgument = Annotated[str, typer.Argument(help="Name of the study.", show_default=False)]


def resume(
    experiment: ExperimentArgument,
    address: AddressOption = None,
    allow_numerics_change: NumericsOption = False,
    storage: Storage = DEFAULT_STORAGE,
    tracking_uri: TrackingUri = None,
) -> None:
    """Launch EXPERIMENT again as tracking recorded it: what is finished stays, the rest goes on."""
    if is_url(address):
        from lstcl_platform.cli.remote import run_there

        there = ["resume", experiment, "--storage", storage, "--address", "auto"]
        there += ["--tracking-uri", tracking_uri] if tracking_uri else []
        there += ["--allow-numerics-change"] if allow_numerics_change else []
        run_there(str(address), there, files={}, experiments=[experiment])
    import yaml

    from lstcl_platform.specs import LoadedExperiment

    recorded = open_store(storage=storage, tracking_uri=tracking_uri).recorded_spec(experiment)
    loaded = LoadedExperiment(
        path=Path(f"{experiment}.yaml"),
        overrides=(),
        requested=yaml.safe_load(recorded.requested),
        resolved=recorded.spec,
    )
    words = where(address, allow_numerics_change=allow_numerics_change)
    again = command("resume", experiment, *words, storage=storage, tracking_uri=tracking_uri)
    run([loaded], address=address, allow_numerics_change=allow_numerics_change, again=again)


def stop(
    experiment: ExperimentArgument, storage: Storage = DEFAULT_STORAGE, tracking_uri: TrackingUri = None
) -> None:
    """Ask the running launch of EXPERIMENT to write checkpoints and end, from any machine."""
    if not open_store(storage=storage, tracking_uri=tracking_uri).request_stop(experiment):
        state = command("status", experiment, storage=storage, tracking_uri=tracking_uri)
        raise UserError(f"{experiment} is not running; see: {state}")
    typer.echo(f"{experiment} was asked to stop: running stages write a checkpoint and end within seconds.")
    hint(f"go on with: {command('resume', experiment, storage=storage, tracking_uri=tracking_uri)}")


def logs(
    experiment: ExperimentArgument,
    stage: Annotated[
        str | None, typer.Argument(help="First digits of a stage key; default: failed, else running, stages.")
    ] = None,
    lines: Annotated[int, typer.Option(min=1, help="Last lines of each log.")] = 40,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="http(s)://HEAD:8265",
            help="Job server to which EXPERIMENT was launched: watch the launch again, from its start.",
            show_default=False,
        ),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    tracking_uri: TrackingUri = None,
) -> None:
    """Print the logs of the workers of a stage's newest attempt, and the error that ended it."""
    if address is not None:
        from lstcl_platform.cli.remote import watch

        watch(address, experiment)
    from lstcl_platform.specs.run import StorageSpec
    from lstcl_platform.storage.places import children
    from lstcl_platform.tracking.location import storage_folder

    kept = storage_folder(StorageSpec(path=storage))
    trials = open_store(storage=storage, tracking_uri=tracking_uri).trial_results(experiment)
    stages = {state.key: state for trial in trials for state in trial.stages if state.attempt}
    chosen = _chosen(stages, stage)
    if not chosen:
        typer.echo(f"no attempt of any stage of {experiment} has begun yet, so nothing was written")
    for state in chosen:
        folder = kept / "train" / state.key / f"a{state.attempt}"
        typer.echo(f"{state.kind} {state.key[:10]} {state.status}, attempt {state.attempt}: {folder}")
        files = [file for file in (*children(folder, "rank*.log"), folder / "error.txt") if file.is_file()]
        for file in files:
            typer.echo(f"--- {file.name}")
            text = file.read_bytes().decode(errors="replace")
            typer.echo("\n".join(text.splitlines()[-lines:]) or "(nothing was written)")
        if not files:
            typer.echo("(nothing was written)")


def _chosen(stages: dict[str, "StageState"], prefix: str | None) -> list["StageState"]:
    if prefix is not None:
        found = [state for key, state in stages.items() if key.startswith(prefix)]
        if not found:
            known = ", ".join(f"{key[:10]} ({state.kind})" for key, state in stages.items())
            raise UserError(f"no stage begins with {prefix}; there are: {known or 'none yet'}")
        return found
    for wanted in ("failed", "running", "interrupted"):
        found = [state for state in stages.values() if state.status == wanted]
        if found:
            return found
    return list(stages.values())[-1:]
