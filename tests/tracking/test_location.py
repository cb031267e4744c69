from pathlib import Path

import pytest

from lstcl_platform.specs import UserError
from lstcl_platform.specs.run import StorageSpec, TrackingSpec
from lstcl_platform.tracking.location import artifact_location, local_folder, sqlite_file, tracking_uri


@pytest.fixture(autouse=True)
def no_uri_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_spec_comes_before_environment_before_storage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    storage = StorageSpec(path=str(tmp_path))
    assert tracking_uri(TrackingSpec(), storage) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert tracking_uri(TrackingSpec(), storage) == "http://host:5000"
    assert tracking_uri(TrackingSpec(uri="postgresql://db/mlflow"), storage) == "postgresql://db/mlflow"


def test_relative_storage_counts_from_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = tracking_uri(TrackingSpec(), StorageSpec())
    assert sqlite_file(uri) == tmp_path / "lstcl_runs" / "mlflow.db"


def test_remote_storage_needs_a_store_elsewhere() -> None:
    with pytest.raises(UserError, match=r"set tracking\.uri or MLFLOW_TRACKING_URI"):
        tracking_uri(TrackingSpec(), StorageSpec(path="s3://bucket/runs"))


def test_credentials_in_storage_are_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match=r"s3://\*\*\*@bucket/runs carries credentials") as caught:
        local_folder(StorageSpec(path="s3://key:hunter2@bucket/runs"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "storage", "expected"),
    [
        ("http://host:5000", "s3://bucket/runs", None),
        ("postgresql://db/mlflow", "s3://bucket/runs/", "s3://bucket/runs/artifacts"),
        ("sqlite:////x/mlflow.db", "file:///data/runs", "/data/runs/artifacts"),
        ("sqlite:////x/mlflow.db", "/data/runs", "/data/runs/artifacts"),
    ],
)
def test_artifacts_lie_in_storage_unless_a_server_keeps_them(
    uri: str, storage: str, expected: str | None
) -> None:
    assert artifact_location(uri, StorageSpec(path=storage)) == expected
