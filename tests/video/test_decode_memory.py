"""The benchmark of a worker's memory, as a person runs it, on fewer samples."""

import subprocess
import sys
from pathlib import Path

from tests.helpers.study import environment
from tests.helpers.videos import make_video

ROOT = Path(__file__).parents[2]


def test_a_worker_keeps_its_memory_and_leaves_no_file_open(tmp_path):
    for number in range(3):
        make_video(tmp_path / "videos" / f"{number}.mp4", frames=40, side=32, seed=number)
    arguments = [tmp_path / "videos", "--samples", "1000", "--size", "32"]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "decode_memory.py", *map(str, arguments)],
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "files left open: 0" in done.stdout
    assert "   1000 samples" in done.stdout
