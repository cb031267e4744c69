"""A study of which everything lies in an object store: videos, manifests, checkpoints, weights."""

import pytest

from lstcl_platform import storage
from lstcl_platform.storage.places import RemotePath
from lstcl_platform.tracking.tracker import Tracker
from tests.helpers.gcs import GcsServer
from tests.helpers.object_server import BUCKET
from tests.helpers.s3 import S3Server
from tests.helpers.study import Launched, run_cli, study_values, write_spec

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(params=["s3", "gs"])
def scheme(request):
    return request.param


@pytest.fixture
def server(scheme, monkeypatch):
    server = S3Server() if scheme == "s3" else GcsServer()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.stop()


def results(database):
    """The finished stages of the study, by key: the same keys wherever the videos lie."""
    tracker = Tracker(database, artifact_location=None)
    keys = [stage.key for trial in tracker.trial_results("tiny") for stage in trial.stages]
    return tracker.finished(keys)


def test_a_study_in_an_object_store_is_killed_goes_on_there_and_ends_as_on_disk(
    scheme, server, study_videos, ray_address, tmp_path
):
    bucket = f"{scheme}://{BUCKET}"
    for path in sorted(study_videos.rglob("*.mp4")):
        name = path.relative_to(study_videos).as_posix()
        storage.write_bytes(f"{bucket}/videos/{name}", path.read_bytes())
    database = f"sqlite:///{tmp_path}/mlflow.db"
    values = study_values(
        study_videos,
        f"{bucket}/runs",
        data__train=f"{bucket}/videos/train",
        data__val=f"{bucket}/videos/val",
        tracking__uri=database,
    )
    spec = write_spec(tmp_path / "remote.yaml", values)
    killed = Launched("launch", spec, log=tmp_path / "killed.log")
    try:
        runs = RemotePath(f"{bucket}/runs")
        killed.wait_for(lambda: [name for name in runs.files_below() if name.endswith("/complete.json")])
        killed.kill()
    finally:
        killed.close()
    server.throttle = 20
    launched = run_cli("launch", spec)
    assert launched.returncode == 0, launched.stderr[-3000:]
    assert "3 stages ran, 0 were done before, 0 failed." in launched.stderr
    assert server.throttle == 0

    values = study_values(study_videos, tmp_path / "runs")
    local = run_cli("launch", write_spec(tmp_path / "local.yaml", values), "--address", ray_address)
    assert local.returncode == 0, local.stderr[-3000:]
    remote = results(database)
    on_disk = results(f"sqlite:///{tmp_path}/runs/mlflow.db")
    assert remote.keys() == on_disk.keys()
    for key, stage in on_disk.items():
        assert remote[key].weights_sha256 == stage.weights_sha256
        assert remote[key].metrics.get("top1") == stage.metrics.get("top1")
    trained = [stage.weights for stage in remote.values() if stage.weights]
    assert len(trained) == 2
    assert all(weights.startswith(f"{bucket}/runs/train/") for weights in trained)
