import pytest

from tests.helpers.s3 import BUCKET, S3Server


@pytest.fixture(scope="session")
def s3_server():
    server = S3Server()
    yield server
    server.go_away()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """The server, with the environment that leads to it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def bucket(s3, request):
    """A folder of the bucket that no other test uses, as a URI."""
    return f"s3://{BUCKET}/{request.node.name.replace('[', '-').replace(']', '')}"
