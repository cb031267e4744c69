import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
{set_up}
def sample():
    [np.ones(1 << 20, dtype=np.uint8) for _ in range(8)]
for _ in range(3):
    sample()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    sample()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
SET_UP = "from lstcl_platform.video.process import set_up_decoding; set_up_decoding()"


def page_faults(set_up):
    script = FAULTS.format(set_up=set_up)
    return int(subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back at once")
def test_the_memory_of_a_sample_is_kept_for_the_next_one():
    assert page_faults("import torch") > 10_000
    assert page_faults(SET_UP) < 1_000


def test_one_thread_is_left_to_torch():
    script = f"{SET_UP}; import torch; print(torch.get_num_threads())"
    assert int(subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE).stdout) == 1
