"""A tiny study on real videos, launched as a user would: the command line in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.videos import make_video

CLASSES = ("jump", "run")


def make_study_videos(folder: Path, *, train: int = 8, val: int = 4) -> Path:
    """`train`/`val` folders of two classes, `train` and `val` videos each in all."""
    for split, count in (("train", train), ("val", val)):
        for index in range(count):
            label = CLASSES[index % len(CLASSES)]
            path = folder / split / label / f"{index:02d}.mp4"
            make_video(path, frames=40, side=48, seed=index + (0 if split == "train" else 100))
    return folder


def study_values(videos: Path, storage: Path, **changes: Any) -> dict[str, Any]:
    """A complete study that takes seconds: 6 pretraining steps, 2 finetuning steps, one evaluation."""
    values: dict[str, Any] = {
        "name": "tiny",
        "data": {"train": str(videos / "train"), "val": str(videos / "val")},
        "model": {"name": "st_swin_micro", "frames": 4, "image_size": 32},
        "pretrain": {
            "framework": {"projector_hidden": 16, "predictor_hidden": 16, "output_dim": 8},
            "clips": {"short_stride": 1, "long_stride": 2},
            "epochs": 3,
            "warmup_epochs": 1,
            "batch_size": 4,
            "precision": "fp32",
        },
        "finetune": {"stride": 2, "epochs": 1, "warmup_epochs": 0, "batch_size": 4, "precision": "fp32"},
        "evaluate": {"clips": 2},
        "checkpoint": {"every_steps": 1},
        "tracking": {"log_every_steps": 1},
        "storage": {"path": str(storage)},
    }
    for path, value in changes.items():
        node = values
        *parents, last = path.split("__")
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = value
    return values


def write_spec(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


def environment(**more: str) -> dict[str, str]:
    """The environment of a launch in a test: one thread, no tracking store of the user's, no terminal."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")
    }
    return kept | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"} | more


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", "from lstcl_platform.cli.main import main; main()", *map(str, arguments)]


def run_cli(*arguments: str | Path, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )


class Launched:
    """A launch that runs beside the test, in a process group of its own, to be interrupted or killed."""

    def __init__(self, *arguments: str | Path, log: Path) -> None:
        self.log = log
        self._file = log.open("w")
        self.process = subprocess.Popen(
            command(*arguments),
            env=environment(),
            stdout=self._file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_for(self, condition: Callable[[], Any], *, timeout: float = 900, poll: float = 0.02) -> Any:
        """What `condition` answers once it is true; fails when the launch ends or time runs out before."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if (answer := condition()) or self.process.poll() is not None:
                assert answer, f"the launch ended first:\n{self.log.read_text()[-4000:]}"
                return answer
            time.sleep(poll)
        raise AssertionError(f"timed out:\n{self.log.read_text()[-4000:]}")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL to the launch process alone: its cluster must notice on its own."""
        self.signal(signal.SIGKILL)
        self.process.wait(30)

    def finish(self, *, timeout: float = 900) -> int:
        """Exit code, once it has ended by itself."""
        return self.process.wait(timeout)

    def close(self) -> None:
        """Take down what is left of it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
        self._file.close()


def checkpoints(storage: Path, kind_dir: str = "*") -> Sequence[Path]:
    """Complete checkpoints of all stages, oldest step first."""
    found = storage.glob(f"train/{kind_dir}/a*/step-*/complete.json")
    return sorted((path.parent for path in found), key=lambda path: path.name)
