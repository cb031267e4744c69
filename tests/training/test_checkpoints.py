"""Checkpoints: complete or invisible, damage found by digest, attempts fenced off from one another."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from lstcl_platform import storage
from lstcl_platform.training import checkpoints
from lstcl_platform.training.checkpoints import (
    DamagedCheckpointError,
    load_checkpoint,
    newest_good,
    next_attempt,
    open_checkpoint,
    prune_checkpoints,
    save_checkpoint,
    verify_checkpoint,
)
from tests.helpers.damage import damaged


def state(step: int) -> dict[str, object]:
    return {"step": step, "model": {"w": torch.full((1000,), float(step))}, "history": [{"loss": 0.5}]}


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_round_trip(tmp_path: Path):
    ref = save_checkpoint(str(tmp_path / "a1"), 7, state(7), about={"world_size": 2})
    loaded = load_checkpoint(ref)
    assert (ref.step, ref.attempt, ref.about) == (7, 1, {"world_size": 2})
    assert loaded["history"] == [{"loss": 0.5}]
    assert torch.equal(loaded["model"]["w"], torch.full((1000,), 7.0))
    assert load_checkpoint(ref.uri)["step"] == 7


def test_state_is_readable_by_plain_torch_without_running_code(tmp_path: Path):
    ref = save_checkpoint(str(tmp_path / "a1"), 7, state(7))
    assert torch.load(Path(ref.uri) / "state.pt", weights_only=True)["step"] == 7


def test_newest_is_by_step_over_all_attempts(tmp_path: Path):
    assert newest_good(str(tmp_path)) is None
    for attempt, step in [("a1", 10), ("a1", 9), ("a10", 9), ("a2", 10)]:
        save_checkpoint(str(tmp_path / attempt), step, state(step))
    ref = newest_good(str(tmp_path))
    assert ref is not None
    assert (ref.step, ref.attempt) == (10, 2)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "marker", "moved"])
def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path: Path, caplog, damage: str):
    save_checkpoint(str(tmp_path / "a1"), 1, state(1))
    ref = save_checkpoint(str(tmp_path / "a2"), 2, state(2))
    file = Path(ref.uri) / "state.pt"
    if damage == "flip":
        flip_a_byte(file)
    elif damage == "truncate":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "remove":
        file.unlink()
    elif damage == "marker":
        (Path(ref.uri) / "complete.json").write_text('{"step": ')
    else:
        Path(ref.uri).rename(tmp_path / "a2" / "step-00000003")
    with caplog.at_level(logging.WARNING):
        found = newest_good(str(tmp_path))
    assert found is not None
    assert found.step == 1
    assert str(tmp_path / "a2") in caplog.text


@pytest.mark.parametrize("name", ["state.pt", "complete.json"])
def test_no_flipped_bit_and_no_cut_gets_by(tmp_path: Path, name: str):
    """Whatever a single bit does, the checkpoint is refused by name or is exactly what was written."""
    ref = save_checkpoint(str(tmp_path / "a1"), 1, state(1), about={"fingerprint": {"world_size": 2}})
    file = Path(ref.uri) / name
    copies, messages = damaged(file.read_bytes(), flips=300), []
    for content in copies:
        file.write_bytes(content)
        try:
            found = open_checkpoint(ref.uri)
            load_checkpoint(found)
            verify_checkpoint(found)
        except DamagedCheckpointError as error:
            messages.append(str(error))
        else:
            assert found == ref
    assert all(ref.uri in message and name in message for message in messages)
    # A marker says the same where a bit of its digest's own name turned over.
    assert len(messages) >= len(copies) - (0 if name == "state.pt" else 15)


def test_loading_checks_the_digest_itself(tmp_path: Path):
    ref = save_checkpoint(str(tmp_path / "a1"), 1, state(1))
    flip_a_byte(Path(ref.uri) / "state.pt")
    with pytest.raises(DamagedCheckpointError, match=r"state\.pt"):
        load_checkpoint(ref)


def test_a_half_written_checkpoint_is_as_if_never_begun(tmp_path: Path, caplog):
    save_checkpoint(str(tmp_path / "a1"), 1, state(1))
    ref = save_checkpoint(str(tmp_path / "a1"), 2, state(2))
    (Path(ref.uri) / "complete.json").unlink()
    with caplog.at_level(logging.WARNING):
        found = newest_good(str(tmp_path))
    assert found is not None
    assert found.step == 1
    assert not caplog.text


def test_the_marker_is_written_last(tmp_path: Path, monkeypatch):
    replace = Path.replace

    def full_disk(self: Path, target: Path) -> Path:
        if target.name == "complete.json":
            raise OSError("No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(str(tmp_path / "a1"), 1, state(1))
    assert storage.list_names(str(tmp_path / "a1" / "step-00000001")) == ["state.pt"]
    assert newest_good(str(tmp_path)) is None


def test_pruning_keeps_the_newest_over_attempts(tmp_path: Path):
    for attempt, step in [("a1", 1), ("a1", 2), ("a1", 3), ("a2", 4), ("a3", 5)]:
        save_checkpoint(str(tmp_path / attempt), step, state(step))
    (tmp_path / "a1" / "step-00000009").mkdir()  # a1 died while it wrote this
    prune_checkpoints(str(tmp_path / "a2"), keep=2, started_at=3)
    left = {f"{a}/{n}" for a in ("a1", "a2", "a3") for n in storage.list_names(str(tmp_path / a))}
    assert left == {"a1/step-00000003", "a2/step-00000004", "a3/step-00000005"}


def test_pruning_never_prefers_what_this_attempt_passed_over(tmp_path: Path):
    save_checkpoint(str(tmp_path / "a1"), 10, state(10))
    damaged = save_checkpoint(str(tmp_path / "a1"), 20, state(20))
    flip_a_byte(Path(damaged.uri) / "state.pt")
    save_checkpoint(str(tmp_path / "a2"), 15, state(15))
    prune_checkpoints(str(tmp_path / "a2"), keep=1, started_at=10)
    found = newest_good(str(tmp_path))
    assert found is not None
    assert (found.attempt, found.step) == (2, 15)


def test_attempts_are_claimed_once(tmp_path: Path):
    stage = str(tmp_path / "stage")
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: next_attempt(stage), range(16)))
    assert sorted(set(numbers)) == sorted(numbers)
    assert next_attempt(stage) == max(numbers) + 1
    assert checkpoints.newest_good(stage) is None
