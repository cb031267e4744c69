import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lstcl_platform.specs import UserError
from lstcl_platform.tracking.store import open_client
from lstcl_platform.tracking.tracker import Tracker


def test_importing_the_tracker_does_not_import_mlflow() -> None:
    heavy = "{'mlflow', 'torch', 'ray'} & set(sys.modules)"
    code = f"import sys, lstcl_platform.tracking.tracker; print(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_store_equals_the_one_that_mlflow_makes(tracker: Tracker, storage: Path, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'plain.db'}").search_experiments()

    def tables(path: Path) -> dict[str, set[tuple[str, ...]]]:
        connection = sqlite3.connect(path)
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: set(connection.execute(f"PRAGMA table_info({name})")) for name in names}

    ours = tables(storage / "mlflow.db")
    assert len(ours) > 20
    assert ours == tables(tmp_path / "plain.db")


def test_file_that_is_no_store_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is not a database, but a text of some length")
    with pytest.raises(UserError, match="is not an MLflow store"):
        open_client(f"sqlite:///{tmp_path / 'mlflow.db'}", artifact_location=None)


def test_server_that_does_not_answer_is_told_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(UserError, match="does not answer") as caught:
            open_client(f"http://me:hunter2@127.0.0.1:{port}", artifact_location=None)
    assert "hunter2" not in str(caught.value)


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the MLflow store"):
        open_client(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", artifact_location=None)


def test_experiment_in_the_trash_is_told(tmp_path: Path) -> None:
    from tests.tracking.conftest import make_study

    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", artifact_location=str(tmp_path / "artifacts"))
    found = tracker._client.create_experiment("study")
    tracker._client.delete_experiment(found)
    spec, trials, graph = make_study("study", [{"finetune.seed": 0}])
    with pytest.raises(UserError, match="trash"):
        tracker.begin_launch(spec, requested={}, trials=trials, graph=graph)
