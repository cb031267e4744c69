"""Tracking on a real PostgreSQL: eight stages that log at once, from two processes, lose and repeat nothing."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lstcl_platform.tracking.tracker import Tracker
from tests.helpers.postgresql import PASSWORD, postgresql
from tests.tracking.conftest import make_stage

pytestmark = [pytest.mark.postgresql, pytest.mark.timeout(600)]

STAGES, ROWS, BATCH, OVERLAP = 8, 120, 15, 5


def rows(stage: int) -> list[dict[str, float]]:
    return [{"step": step, "epoch": step / 10, "loss": stage + 1 / step} for step in range(1, ROWS + 1)]


def log_stages(uri: str, artifacts: str, numbers: list[int]) -> None:
    """Log the rows of some stages at once, each from a thread with a store of its own, the last rows of every batch
    once more with the next, as after a resume."""
    failures: list[BaseException] = []

    def log(number: int) -> None:
        try:
            tracker = Tracker(uri, artifact_location=artifacts)
            stage = make_stage(f"stage {number}")
            run = tracker.begin_stage(stage, attempt=1, attempt_dir="x", fingerprint={})
            for start in range(0, ROWS, BATCH):
                tracker.log_rows(run, rows(number)[max(0, start - OVERLAP) : start + BATCH])
                if start == ROWS // 2 // BATCH * BATCH:
                    tracker.interrupt_stage(run)
                    run = tracker.begin_stage(stage, attempt=2, attempt_dir="x", fingerprint={})
            tracker.finish_stage(run, metrics={"final": float(number)})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=log, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.fixture(scope="module")
def database():
    with postgresql() as uri:
        yield uri


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    return str(tmp_path_factory.mktemp("artifacts"))


def test_eight_stages_log_at_once_and_every_point_is_there_once(database, artifacts):
    from mlflow import MlflowClient

    Tracker(database, artifact_location=artifacts)  # makes the tables, as the first launch would
    half = STAGES // 2
    arguments = json.dumps([database, artifacts, list(range(half, STAGES))])
    code = f"from tests.tracking.test_postgresql import log_stages; log_stages(*{arguments})"
    root = str(Path(__file__).parents[2])
    other = subprocess.Popen([sys.executable, "-c", code], cwd=root, stderr=subprocess.PIPE, text=True)
    log_stages(database, artifacts, list(range(half)))
    _, error = other.communicate(timeout=300)
    assert other.returncode == 0, error[-3000:]
    assert PASSWORD not in error

    client = MlflowClient(database)
    keys = {number: make_stage(f"stage {number}").key for number in range(STAGES)}
    states = Tracker(database, artifact_location=artifacts).stage_runs(keys.values())
    assert len(states) == STAGES
    for number, key in keys.items():
        assert states[key].status == "finished"
        expected = {int(row["step"]): row["loss"] for row in rows(number)}
        points = client.get_metric_history(states[key].run_id, "loss")
        assert len(points) == ROWS, "points were lost or repeated"
        assert {point.step: point.value for point in points} == expected
        assert client.get_metric_history(states[key].run_id, "final")[0].value == number


def test_the_password_stays_out_of_the_database_and_of_messages(database, artifacts):
    tracker = Tracker(database, artifact_location=artifacts)
    stage = make_stage("secretive", uri=database)
    run = tracker.begin_stage(stage, attempt=1, attempt_dir="x", fingerprint={"store": database})
    tracker.warn_stage(run, f"cannot reach {database}")
    tracker.fail_stage(run, error=f"Traceback: {database}")
    dump = subprocess.run(
        [sys.executable, "-c", DUMP, database], capture_output=True, text=True, timeout=120, check=False
    )
    assert dump.returncode == 0, dump.stderr
    assert "secretive" in dump.stdout
    assert PASSWORD not in dump.stdout
    files = [path for path in Path(artifacts).rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if PASSWORD in path.read_text(errors="replace")]


DUMP = """
import sys, sqlalchemy
engine = sqlalchemy.create_engine(sys.argv[1])
with engine.connect() as connection:
    for table in sqlalchemy.inspect(engine).get_table_names():
        for row in connection.execute(sqlalchemy.text(f'SELECT * FROM "{table}"')):
            print(table, *row)
"""
