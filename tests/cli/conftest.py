import pytest

from tests.helpers.trained import TrainedStudy, make_trained_study
from tests.storage.conftest import bucket, s3, s3_server

__all__ = ["bucket", "s3", "s3_server", "trained_study"]


@pytest.fixture(scope="session")
def trained_study(tmp_path_factory: pytest.TempPathFactory) -> TrainedStudy:
    """A finished study in `lstcl_runs` of a folder of its own, for the tests that only read it or register models."""
    folder = tmp_path_factory.mktemp("trained") / "lstcl_runs"
    folder.mkdir()
    return make_trained_study(folder)
