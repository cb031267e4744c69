"""`--address http(s)://HEAD:8265`: a study that runs on a cluster this machine is no part of, watched from here."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from lstcl_platform.cli.launch import EXIT_INTERRUPTED, is_url
from lstcl_platform.specs import LoadedExperiment
from lstcl_platform.specs.errors import UserError

if TYPE_CHECKING:
    from lstcl_platform.orchestration.remote import RemoteJob

_FILES = ("data.train", "data.val", "data.pretrain", "model.init.file", "storage.path")
"""Fields that name files, which the cluster reads and writes."""


def launch_there(
    experiments: Sequence[LoadedExperiment], *, address: str, allow_numerics_change: bool
) -> NoReturn:
    """Send experiments to a job server, and watch them until they end or Ctrl-C.

    Raises:
        UserError: a path of theirs counts from a folder of this machine, or no job server answers.
    """
    import yaml

    files: dict[str, str] = {}
    for experiment in experiments:
        _refuse_relative_paths(experiment)
        name = f"{experiment.resolved.name}.yaml"
        if name in files:
            raise UserError(f"{experiment.path}: two experiments are named {experiment.resolved.name}")
        files[name] = yaml.safe_dump(dict(experiment.requested), sort_keys=False)
    command = ["launch", *files, "--address", "auto"]
    command += ["--allow-numerics-change"] if allow_numerics_change else []
    run_there(address, command, files=files, experiments=[e.resolved.name for e in experiments])


def run_there(
    address: str, command: Sequence[str], *, files: Mapping[str, str], experiments: Sequence[str]
) -> NoReturn:
    """Have a job server run a command on studies, and watch it."""
    from lstcl_platform.cli.live import progress_console, say
    from lstcl_platform.orchestration.remote import sends_token_in_clear, submit

    console = progress_console()
    if sends_token_in_clear(address):
        say(console, f"{address}: the token goes there unencrypted; better a tunnel to localhost, or https")
    job = submit(address, command, files=files, experiments=experiments)
    say(console, f"{'runs already' if job.attached else 'sent'}: {job.id}")
    _watch(job, address, experiments[0])


def watch(address: str, experiment: str) -> NoReturn:
    """Watch the newest launch of a study again.

    Raises:
        UserError: `address` is no job server's, or it knows no such launch.
    """
    from lstcl_platform.orchestration.remote import find

    if not is_url(address):
        raise UserError(f"--address {address}: must be a job server's, such as http://localhost:8265")
    _watch(find(address, experiment), address, experiment)


def _watch(job: "RemoteJob", address: str, experiment: str) -> NoReturn:
    from lstcl_platform.cli.live import progress_console, say
    from lstcl_platform.orchestration.remote import follow

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        status = follow(job, write)
    except KeyboardInterrupt:
        say(progress_console(), "no longer watching; the study goes on. Watch it again with:")
        say(progress_console(), f"lstcl-platform logs {experiment} --address {address}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    raise typer.Exit(status)


def _refuse_relative_paths(experiment: LoadedExperiment) -> None:
    for field, text in _written_paths(experiment.requested):
        if "://" not in text and not PurePosixPath(text).is_absolute():
            raise UserError(
                f"{experiment.path}: {field}: {text} counts from a folder of this machine; name it as the cluster's "
                f"nodes see it, e.g. --set {field}=/mnt/lstcl/{PurePosixPath(text).name}"
            )
    if "path" not in (experiment.requested.get("storage") or {}):
        raise UserError(
            f"{experiment.path}: storage.path must name a folder that all nodes of the cluster see, e.g. "
            "--set storage.path=/mnt/lstcl/runs"
        )


def _written_paths(requested: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, value) of every file that the experiment writes down, in its settings and in its sweep."""
    for field in _FILES:
        node: Any = requested
        for part in field.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if isinstance(node, str):
            yield field, node
    sweep = requested.get("sweep") or {}
    for cell in (sweep.get("grid") or {}, *(sweep.get("cases") or ())):
        for field, value in cell.items():
            for item in value if isinstance(value, list) else [value]:
                if field in _FILES and isinstance(item, str):
                    yield field, item
