import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.processes import RayNodes


@pytest.fixture
def nodes() -> Iterator[RayNodes]:
    """A cluster that is not up yet, in a folder of its own, whose name must be short for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="lstcl-chaos-"))
    cluster = RayNodes(folder)
    try:
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(folder, ignore_errors=True)
