"""A command that runs on a cluster this machine is no part of: Ray's job server runs it there, this end watches.

The package goes along as it is here, so that both ends run the same code; so do the experiment files.
"""

import asyncio
import hashlib
import logging
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import lstcl_platform
from lstcl_platform.specs.errors import UserError

_PROGRAM = "python -c 'from lstcl_platform.cli.main import main; main()'"
_EXPERIMENTS = "lstcl.experiments"
_POLL_SECONDS = 1.0
_LOST_SECONDS = 60.0
"""How long a job server may be away before a watcher gives up; the job goes on without it."""


@dataclass(frozen=True)
class RemoteJob:
    """A command on a cluster.

    Attributes:
        id: submission id, unique on the cluster.
        client: Ray's `JobSubmissionClient`.
        attached: whether it ran already when it was asked for.
    """

    id: str
    client: Any
    attached: bool = False


def sends_token_in_clear(address: str) -> bool:
    """Whether the token would travel unencrypted beyond this machine."""
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def submit(
    address: str, command: Sequence[str], *, files: Mapping[str, str], experiments: Sequence[str]
) -> RemoteJob:
    """Have the cluster run `lstcl-platform COMMAND` in a folder that holds `files`; attach if it does so already.

    Args:
        address: of the job server, http or https.
        command: arguments; files by the names in `files`.
        files: name -> text.
        experiments: names of the studies, by which `find` knows the job.

    Raises:
        UserError: no job server answers, or it refuses.
    """
    client = _client(address)
    said = "\0".join([lstcl_platform.__version__, *command, *(f"{k}\0{v}" for k, v in sorted(files.items()))])
    stem = f"lstcl-{'-'.join(experiments)[:40]}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"
    earlier = [job for job in _jobs(client) if (job.submission_id or "").startswith(stem)]
    running = [job for job in earlier if not job.status.is_terminal()]
    if running:
        return RemoteJob(running[0].submission_id, client, attached=True)
    name = stem if not earlier else f"{stem}-{len(earlier) + 1}"
    with tempfile.TemporaryDirectory() as folder:
        for file, text in files.items():
            Path(folder, file).write_text(text)
        environment = {
            "working_dir": folder,
            "py_modules": [str(Path(lstcl_platform.__file__).parent)],
            "excludes": ["__pycache__"],
        }
        submitted = _submit(
            client,
            entrypoint=f"{_PROGRAM} {shlex.join(command)}",
            submission_id=name,
            runtime_env=environment,
            metadata={_EXPERIMENTS: " ".join(experiments)},
        )
    return RemoteJob(submitted, client)


def _submit(client: Any, **job: Any) -> str:
    """Submit, with patience: a head that has just come up answers before it can take a job."""
    end = time.monotonic() + _LOST_SECONDS
    while True:
        try:
            return str(client.submit_job(**job))
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > end:
                raise UserError(
                    f"the job server at {client.get_address()} refuses: {_first_line(error)}"
                ) from error
        time.sleep(_POLL_SECONDS)


def find(address: str, experiment: str) -> RemoteJob:
    """The newest job of a study.

    Raises:
        UserError: no job server answers, or it knows no job of the study.
    """
    client = _client(address)
    known = {job.submission_id: job for job in _jobs(client) if (job.metadata or {}).get(_EXPERIMENTS)}
    mine = [job for job in known.values() if experiment in job.metadata[_EXPERIMENTS].split()]
    if not mine:
        names = sorted({name for job in known.values() for name in job.metadata[_EXPERIMENTS].split()})
        raise UserError(
            f"{address} knows no launch of {experiment}; it knows of: {', '.join(names) or 'none'}"
        )
    newest = max(mine, key=lambda job: job.start_time or 0)
    return RemoteJob(newest.submission_id, client, attached=True)


def follow(job: RemoteJob, write: Callable[[str], None]) -> int:
    """Write what a job prints, from its start on, until it ends; returns its exit code.

    A job server that goes away for less than a minute is waited for. Interrupting this leaves the job alone.

    Raises:
        UserError: the job server stays away.
    """
    tail, heard = _Tail(job, write), time.monotonic()
    while True:
        try:
            asyncio.run(tail.read())
            details = job.client.get_job_info(job.id)
            heard = time.monotonic()
        except (OSError, RuntimeError) as error:
            if time.monotonic() - heard > _LOST_SECONDS:
                raise UserError(f"the job server went away: {_first_line(error)}") from error
        else:
            if details.status.is_terminal():
                return _exit_code(details)
        time.sleep(_POLL_SECONDS)


class _Tail:
    """Reads a job's log, of which the server sends the whole on every connection; writes each part of it once."""

    def __init__(self, job: RemoteJob, write: Callable[[str], None]) -> None:
        self._job = job
        self._write = write
        self._written = 0

    async def read(self) -> None:
        """Write what is new, until the job or the connection ends."""
        seen = 0
        async for text in self._job.client.tail_job_logs(self._job.id):
            fresh = text[max(0, self._written - seen) :]
            seen += len(text)
            self._written = max(self._written, seen)
            if fresh:
                self._write(fresh)


def _exit_code(details: Any) -> int:
    status = str(details.status.value)
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED":
        return 130
    found = re.search(r"exit code (\d+)", details.message or "")
    return int(found[1]) if found else 1


def _client(address: str) -> Any:
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in ("ray.dashboard.modules", "ray._private.runtime_env"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise UserError(
            f"the job server at {address} does not take this machine's token: {_first_line(error)}; copy the "
            "cluster's to ~/.ray/auth_token, or give it as RAY_AUTH_TOKEN"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"no Ray job server answers at {address}: {_first_line(error)}") from error


def _jobs(client: Any) -> list[Any]:
    return list(client.list_jobs())


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
