import io
import time

import pytest
from rich.console import Console

from lstcl_platform.cli.live import LiveView, PlainView, make_view
from lstcl_platform.orchestration.progress import LaunchProgress, StageProgress


@pytest.fixture
def progress():
    now = time.time()
    running = StageProgress(
        key="a" * 64,
        kind="pretrain",
        label="short=8 long=32",
        status="running",
        attempt=2,
        start_step=10,
        step=20,
        total=40,
        metrics={"loss": 1.25, "samples_per_second": 42.0, "data_wait": 0.03},
        began_at=now - 20,
        training_at=now - 10,
        heard={0: now},
        attempt_dir="/runs/aaa/a2",
    )
    waiting = StageProgress(key="b" * 64, kind="finetune", label="short=8 long=32")
    done = StageProgress(
        key="c" * 64, kind="evaluate", label="scratch", status="cached", metrics={"top1": 0.5}
    )
    return LaunchProgress(names=("study",), stages={stage.key: stage for stage in (running, waiting, done)})


def console(*, terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=160, no_color=True)


def test_a_pipe_gets_plain_lines_and_each_change_once(progress):
    target = console(terminal=False)
    view = make_view(target)
    assert isinstance(view, PlainView)
    view.update(progress)
    view.update(progress)
    text = target.file.getvalue()
    assert text.count("pretrain") == 1
    assert "20/40" in text
    assert "loss 1.250" in text
    assert "waits for data 3%" in text
    progress.stages["a" * 64].status = "finished"
    view.update(progress)
    assert "finished" in target.file.getvalue()


def test_a_silent_stage_is_called_out_with_its_rank_and_log(progress):
    target = console(terminal=False)
    stage = progress.stages["a" * 64]
    stage.heard[1] = time.time() - 45
    PlainView(target).update(progress)
    text = target.file.getvalue()
    assert "no progress for 45 s (rank 1)" in text
    assert "/runs/aaa/a2/rank1.log" in text


def test_a_terminal_gets_a_table_with_the_time_that_is_left(progress):
    target = console(terminal=True)
    view = make_view(target)
    assert isinstance(view, LiveView)
    view.update(progress)
    view.message("a message")
    view.close()
    text = target.file.getvalue()
    assert "1 of 3 stages done" in text
    assert "20/40" in text
    assert "(attempt 2)" in text
    assert "20 s left" in text
    assert "a message" in text


def test_the_time_left_counts_the_speed_of_this_attempt_only(progress):
    stage = progress.stages["a" * 64]
    assert stage.eta_seconds(now=stage.training_at + 10) == pytest.approx(20)
    stage.step = stage.start_step + 1
    assert stage.eta_seconds() is None
