"""Opening the MLflow store: quietly, quickly, and safely when two launches create it at once."""

import json
import logging
import os
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lstcl_platform.specs.errors import UserError
from lstcl_platform.tracking.location import sqlite_file
from lstcl_platform.tracking.patience import Patience, PatientClient
from lstcl_platform.tracking.secrets import mask_text

STAGES = "lstcl-stages"
"""MLflow experiment of all stage runs."""

MAX_TAG = 8000
MAX_PARAM = 6000
_MAX_PARAMS_A_BATCH = 100
_MAX_METRICS_A_BATCH = 1000
_PAGE = 1000


class Store:
    """An open MLflow store; all writes of a process go through one lock.

    Opening imports MLflow (seconds), so a launcher does it in a thread while Ray starts.

    Args:
        uri: MLflow tracking URI.
        artifact_location: folder or URI for artifacts of experiments made here; None lets the server choose.

    Raises:
        UserError: the store cannot be reached, or is no MLflow store of this version.
    """

    def __init__(self, uri: str, *, artifact_location: str | None) -> None:
        self.uri = uri
        self.artifact_location = artifact_location
        self._lock = threading.RLock()
        self._experiment_ids: dict[str, str] = {}
        self._impatient = open_client(uri, artifact_location=artifact_location)
        self._client = self._impatient

    def wait_while_away(self, patience: Patience) -> None:
        """From now on, a call to a store that does not answer waits and is repeated instead of failing."""
        self._client = PatientClient(self._impatient, uri=self.uri, patience=patience)

    def _experiment(self, name: str) -> str | None:
        """Id of the MLflow experiment `name`, or None."""
        if name not in self._experiment_ids:
            found = self._client.get_experiment_by_name(name)
            if found is None:
                return None
            if found.lifecycle_stage != "active":
                raise UserError(
                    f"the MLflow experiment {name!r} is in MLflow's trash: restore it with `mlflow "
                    f"experiments restore -x {found.experiment_id}`, or empty the trash with `mlflow gc`"
                )
            self._experiment_ids[name] = found.experiment_id
        return self._experiment_ids[name]

    def _make_experiment(self, name: str, *, tags: Mapping[str, str]) -> str:
        """Id of the MLflow experiment `name`, made if there is none; `tags` mark it as ours."""
        from mlflow.exceptions import MlflowException

        found = self._experiment(name)
        if found is None:
            location = None
            if self.artifact_location is not None:
                location = f"{self.artifact_location.rstrip('/')}/{name}"
            try:
                found = str(self._client.create_experiment(name, location, tags=dict(tags)))
                self._experiment_ids[name] = found
            except MlflowException:
                found = self._experiment(name)  # another launch made it in this moment
                if found is None:
                    raise
        for key, value in tags.items():
            if self._client.get_experiment(found).tags.get(key) == value:
                continue
            try:
                self._client.set_experiment_tag(found, key, value)
            except MlflowException:  # as above; PostgreSQL takes only one of two inserts
                if self._client.get_experiment(found).tags.get(key) != value:
                    raise
        return found

    def _search(self, experiments: Sequence[str], query: str) -> Iterator[Any]:
        """All active runs that match, newest first, page by page."""
        token = None
        while True:
            page = self._client.search_runs(
                list(experiments), filter_string=query, max_results=_PAGE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        rows = [RunTag(key, clip(mask_text(text), MAX_TAG)) for key, text in tags.items()]
        with self._lock:
            self._client.log_batch(run_id, tags=rows)

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        rows = [Param(key, clip(mask_text(text), MAX_PARAM)) for key, text in params.items()]
        with self._lock:
            for start in range(0, len(rows), _MAX_PARAMS_A_BATCH):
                self._client.log_batch(run_id, params=rows[start : start + _MAX_PARAMS_A_BATCH])

    def _log_metrics(self, run_id: str, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Write (step, metrics) rows; a row is never split over two calls, so it is there whole or not."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        batch: list[Any] = []
        with self._lock:
            for step, metrics in rows:
                if len(batch) + len(metrics) > _MAX_METRICS_A_BATCH:
                    self._client.log_batch(run_id, metrics=batch)
                    batch = []
                batch += [Metric(key, float(number), now, step) for key, number in metrics.items()]
            if batch:
                self._client.log_batch(run_id, metrics=batch)

    def _log_changed(self, run_id: str, metrics: Mapping[str, float], *, step: int) -> None:
        """Write the metrics whose newest value differs, so that finishing twice stores nothing twice."""
        with self._lock:
            stored = self._client.get_run(run_id).data.metrics
            changed = {name: number for name, number in metrics.items() if stored.get(name) != float(number)}
            if changed:
                self._log_metrics(run_id, [(step, changed)])

    def _read_text(self, run_id: str, artifact: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            return Path(self._client.download_artifacts(run_id, artifact, folder)).read_text(encoding="utf-8")


def clip(text: str, limit: int) -> str:
    """`text`, cut to `limit` characters with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def compact(value: Any) -> str:
    """Canonical one-line JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
"""Kinds of stores that are somewhere else, and where they listen unless the URI says more."""


def open_client(uri: str, *, artifact_location: str | None) -> Any:
    """An `MlflowClient` on a store that answers; a missing SQLite store is made.

    Raises:
        UserError: the store cannot be reached, or is no MLflow store of this version.
    """
    _silence()
    path = sqlite_file(uri)
    if path is not None:
        _prepare_sqlite(path, artifact_location=artifact_location)
    _require_answer(uri)

    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except (MlflowException, ImportError) as error:
        raise UserError(f"MLflow store {mask_text(uri)}: {mask_text(str(error))}") from error
    return client


def _silence() -> None:
    # Chatter of a library is no news to the user; usage must not be reported to a third party unasked.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    # A request that fails is repeated by `tracking.patience`, which says so and can be interrupted: MLflow's own seven
    # silent retries of two minutes cannot.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

    import mlflow  # noqa: F401 -- its import sets the levels of its loggers, so ours come after it

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(
        logging.CRITICAL
    )  # a traceback for each try of a lost database


def _require_answer(uri: str) -> None:
    # MLflow retries a dead address for minutes before it says so.
    parts = urlsplit(uri)
    kind = parts.scheme.partition("+")[0]
    if kind not in _PORTS:
        return
    try:
        if parts.hostname:
            socket.create_connection((parts.hostname, parts.port or _PORTS[kind]), timeout=10).close()
        if kind not in ("http", "https"):
            _require_database(uri)
    except (OSError, ValueError) as error:
        raise UserError(f"MLflow store {mask_text(uri)} does not answer: {error}") from error


def _require_database(uri: str) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(uri)
        engine.connect().close()
        engine.dispose()
    except ImportError as error:
        raise UserError(
            f"MLflow store {mask_text(uri)}: {error}; for PostgreSQL write postgresql+psycopg://... and install "
            "the extra: pip install 'lstcl-platform[postgresql]'"
        ) from error
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise UserError(f"MLflow store {mask_text(uri)}: {mask_text(reason)}") from error


def _prepare_sqlite(path: Path, *, artifact_location: str | None) -> None:
    """Make the SQLite store if it is missing.

    MLflow's 60-odd migrations sync the file over a thousand times (12 s on a slow disk), fail when two
    processes run them at once, and leave a broken file when killed. So they run in memory, and the result is
    put in place by one atomic link.
    """
    if path.exists():
        _require_sqlite(path)
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mlflow-") as folder:
            draft = Path(folder) / path.name
            root = artifact_location or str(path.parent / "artifacts")
            memory = SqlAlchemyStore("sqlite:///:memory:", root).engine
            with memory.connect() as connection:
                target = sqlite3.connect(draft)
                connection.connection.driver_connection.backup(target)
                target.close()
            memory.dispose()
            _put_in_place(draft, path)
    except OSError as error:
        raise UserError(f"cannot make the MLflow store {path}: {error.strerror or error}") from error


def _put_in_place(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        return  # another launch was first: its store is as good
    except OSError:
        if not path.exists():  # no hard links on this file system
            os.replace(draft, path)


def _require_sqlite(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UserError(f"cannot read the MLflow store {path}: {error.strerror or error}") from error
    if head and head != b"SQLite format 3\0":
        raise UserError(f"{path} is not an MLflow store (not a SQLite file)")
