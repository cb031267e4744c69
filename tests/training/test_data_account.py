from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from lstcl_platform.training.data_account import START_UP_STEPS, DataAccount, StarvationWatch
from tests.training.stages import Recorder, stage_context


def row(step: int, wait: float, **more: float) -> dict[str, float]:
    figures = {"decode_cores": 8.0, "decode_seconds": 0.05, "frames_decoded_per_used": 14.0}
    return {"step": step, "data_wait": wait, **figures, **more}


def warned(tmp_path: Path, rows, *, before=(), **fields) -> list[str]:
    reporter = Recorder()
    start = int(before[-1]["step"]) if before else 0
    watch = StarvationWatch(stage_context(tmp_path, reporter, **fields), start=start, rows=before)
    for each in rows:
        watch.see(each)
    return reporter.warnings


def test_starvation_is_told_with_what_would_end_it(tmp_path: Path):
    (text,) = warned(tmp_path, [row(20, 0.38), row(30, 0.38), row(40, 0.4)], world_size=1)
    # To lose the wait, decoding must be 1 / 0.62 times as fast: 4.9 cores more than 8.
    assert text.startswith(
        "waits 38 % of each step for data: add 5 decode cores per worker or run data prepare"
    )
    assert "50 ms" in text
    assert "14.0 frames decoded for each that is used" in text
    (spread,) = warned(tmp_path, [row(20, 0.38), row(30, 0.38)], world_size=4)
    assert "add 1 decode core per worker" in spread


def test_it_is_told_again_only_when_it_is_much_worse(tmp_path: Path):
    steps = range(20, 100, 10)
    shares = [0.15, 0.15, 0.3, 0.1, 0.05, 0.4, 0.45, 0.5]
    texts = warned(tmp_path, [row(step, share) for step, share in zip(steps, shares, strict=True)])
    assert [text[:10] for text in texts] == ["waits 15 %", "waits 45 %"]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([row(step, 0.9) for step in range(1, START_UP_STEPS + 1)], id="start-up"),
        pytest.param([row(20, 0.9), row(30, 0.0), row(40, 0.9), row(50, 0.0)], id="single hiccups"),
        pytest.param([row(20, 0.09), row(30, 0.09)], id="little"),
    ],
)
def test_what_is_no_starvation(tmp_path: Path, rows):
    assert warned(tmp_path, rows) == []


def test_an_attempt_that_goes_on_does_not_repeat_it(tmp_path: Path):
    earlier = [row(20, 0.5), row(30, 0.5)]
    later = [row(step, 0.5) for step in (40, 50, 60)]
    assert warned(tmp_path, later, before=earlier) == []
    assert len(warned(tmp_path, later, before=[row(20, 0.0)])) == 1


def work(rank: int, meeting: str, folder: str) -> None:
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    account = DataAccount(stage_context(Path(folder), Recorder(), rank=rank, world_size=2))
    ones = np.ones(4, dtype=np.float32)
    for _ in range(5):
        account.add({"seconds": ones * (rank + 1)})
    figures = account.close(steps=5, seconds=10.0, waited=[1.0, 4.0][rank])
    emptied = account.close(steps=5, seconds=10.0, waited=0.0)
    torch.save((figures, emptied), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_all_ranks_count_and_the_one_that_waits_longest_holds_up_the_others(tmp_path: Path):
    mp.spawn(work, args=((tmp_path / "meeting").as_uri(), str(tmp_path)), nprocs=2)
    for rank in range(2):
        figures, emptied = torch.load(tmp_path / f"{rank}.pt")
        assert figures == {
            "data_wait": 0.4,
            "data_wait_seconds": 0.8,
            "decode_seconds": 1.5,
            "decode_cores": 6.0,
        }
        assert emptied == {"data_wait": 0.0, "data_wait_seconds": 0.0}
