"""What the processes of a stage spend their start on."""

import subprocess
import sys

import pytest

_FULL_COLLECTIONS = """
import gc, importlib
importlib.import_module({module!r})
print(gc.get_stats()[2]["collections"])
"""


@pytest.mark.parametrize("module", ["driver", "worker", "decode_chunk"])
def test_no_import_is_held_up_by_full_collections(module):
    script = _FULL_COLLECTIONS.format(module=f"lstcl_platform.orchestration.{module}")
    counted = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(counted.stdout) == 0
