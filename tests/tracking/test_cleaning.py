"""Cleaning frees what nothing needs, says how much, and leaves all else as it is."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lstcl_platform.tracking.cleaning import clean
from lstcl_platform.training.checkpoints import newest_good, next_attempt, save_checkpoint
from lstcl_platform.training.leases import Leases, this_launch
from tests.tracking.conftest import make_stage

STATE = {"w": torch.zeros(1000)}


def write(path: Path, size: int = 10) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return str(path)


def begin(tracker, name):
    return tracker.begin_stage(make_stage(name), attempt=1, attempt_dir="a1", fingerprint={})


@pytest.fixture
def train(tracker, tmp_path: Path) -> Path:
    """A finished stage, a half-done one, one that runs elsewhere, one of another store, and one that never began."""
    train = tmp_path / "train"
    run = begin(tracker, "clean-finished")
    done = train / run.key
    save_checkpoint(str(done / "a1"), 5, STATE)
    write(done / "a1" / "final" / "weights.safetensors")
    write(done / "a1" / "rank0.log")
    save_checkpoint(str(done / "a2"), 9, STATE)
    weights = write(done / "a2" / "final" / "weights.safetensors")
    tracker.finish_stage(run, metrics={"loss": 1.0}, weights=weights)

    half = train / begin(tracker, "clean-half").key
    for step in (3, 6, 9):
        save_checkpoint(str(half / "a1"), step, STATE)
    damaged = half / "a1" / "step-00000009" / "state.pt"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    write(half / "a2" / "step-00000007" / "state.pt")
    write(half / "a2" / ".state.pt.0.partial")

    running = train / begin(tracker, "clean-running").key
    save_checkpoint(str(running / "a1"), 2, STATE)
    save_checkpoint(str(running / "a1"), 1, STATE)
    save_checkpoint(str(train / ("f" * 64) / "a1"), 1, STATE)
    next_attempt(str(train / ("e" * 64)))
    return train


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "leases" not in path.parts
    }


def contents(folder: Path) -> int:
    return sum((folder / file).stat().st_size for file in files(folder))


def test_what_is_needed_stays_and_the_rest_goes_only_when_asked_for(tracker, train: Path):
    keys = {name: make_stage(f"clean-{name}").key for name in ("finished", "half", "running")}
    other = Leases(replace(this_launch(), machine="elsewhere", host="elsewhere"))
    assert other.take(str(train / keys["running"])) is None
    before, content = files(train), contents(train)

    shown = clean(tracker, str(train))
    assert files(train) == before, "looking deletes nothing"
    gone = clean(tracker, str(train), delete=True)

    assert gone == shown
    assert gone.busy == (keys["running"],)
    assert (gone.unknown, gone.unbegun) == (("f" * 64,), ("e" * 64,))
    left = {name: files(train / key) for name, key in keys.items()}
    assert left["finished"] == {"a1/rank0.log", "a2/final/weights.safetensors"}
    assert left["half"] == {"a1/step-00000006/state.pt", "a1/step-00000006/complete.json"}
    assert len(left["running"]) == 4
    found = newest_good(str(train / keys["half"]))
    assert found is not None
    assert found.step == 6
    assert sum(item.size for item in gone.superfluous) == content - contents(train)
    assert clean(tracker, str(train)).superfluous == ()
    other.close()
