import io
import time

from rich.console import Console, RenderableType

from lstcl_platform.results.progress import experiment_view, experiments_table
from lstcl_platform.tracking.records import LaunchState, StageState, TrialResult

KEY = "0123456789abcdef"

RESUME = "lstcl-platform resume study --storage here"


def shown(view: RenderableType) -> str:
    console = Console(width=120, file=io.StringIO(), color_system=None)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def launch(status: str) -> LaunchState:
    now = time.time()
    return LaunchState(
        experiment="study", run_id="r", status=status, began_at=now - 3600, heard_at=now - 300, launches=1
    )


def stage(kind: str, status: str, **fields: object) -> StageState:
    return StageState(key=KEY + kind, kind=kind, run_id="r", status=status, **fields)


def trial(name: str, status: str, *stages: StageState, **metrics: float) -> TrialResult:
    return TrialResult(
        experiment="study", name=name, run_id="r", cell={}, metrics=metrics, status=status, stages=stages
    )


SHARED = stage("pretrain", "finished", seconds=7200.0)


def test_stages_show_progress_time_left_and_attempts() -> None:
    running = stage("finetune", "running", seconds=60.0, step=25, total_steps=100, attempt=2)
    text = shown(
        experiment_view(
            launch("running"),
            [
                trial("a", "running", SHARED, running),
                trial("b", "finished", SHARED, stage("evaluate", "finished", seconds=5.0), top1=0.5),
            ],
            metric="top1",
            resume=RESUME,
        )
    )
    assert "running, 25%, 1 min, ~3 min left, attempt 2" in text
    assert "done, 2 h 00 min" in text
    assert "0.500" in text
    # The shared pretraining is counted once: 7200 + 60 + 5 seconds.
    assert "study: running, 1 of 2 trials done, 2 h 01 min of stages computed" in text


def test_failure_is_named_once_with_reason_and_log() -> None:
    failed = stage("pretrain", "failed", error="Traceback\nValueError: no frames", log="train/a1/log.txt")
    text = shown(
        experiment_view(
            launch("failed"),
            [trial("a", "failed", failed), trial("b", "failed", failed)],
            metric="top1",
            resume=RESUME,
        )
    )
    assert text.count("pretrain 0123456789 failed: ValueError: no frames") == 1
    assert "log: train/a1/log.txt" in text
    assert f"`{RESUME}`" in text


def test_interrupted_launch_says_how_to_go_on() -> None:
    text = shown(
        experiment_view(launch("interrupted"), [trial("a", "waiting")], metric="top1", resume=RESUME)
    )
    assert "last heard of 5 min ago" in text
    assert f"`{RESUME}` goes on" in text


def test_each_experiment_is_a_line() -> None:
    trials = [trial("a", "finished", SHARED), trial("b", "failed", SHARED)]
    line = next(
        line
        for line in shown(experiments_table([(launch("failed"), trials)])).splitlines()
        if "study" in line
    )
    assert line.split()[:6] == ["study", "failed", "1", "of", "2", "1"]
    assert "2 h 00 min" in line
