import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lstcl_platform.orchestration.board import Board, Event
from lstcl_platform.orchestration.halving import Halving
from lstcl_platform.orchestration.recorder import Recorder
from lstcl_platform.orchestration.turns import Turns
from lstcl_platform.tracking.patience import Patience, StoreAwayError
from lstcl_platform.training.leases import Leases, this_launch
from tests.tracking.conftest import make_stage, make_study

DATASET = {"name": "videos", "digest": "d" * 64, "source": "/data/train", "context": "training"}


class Said:
    def __init__(self):
        self.messages = []

    def message(self, text):
        self.messages.append(text)

    def update(self, progress):
        pass


def with_probe(graph):
    """The graph of one trial with a probe beside its finetuning."""
    pretrain, *rest = graph.stages.values()
    probe = make_stage("probed", kind="probe", parent=pretrain.key)
    (chain,) = graph.chains
    stages = {stage.key: stage for stage in (pretrain, probe, *rest)}
    return replace(graph, stages=stages, chains={chain: tuple(stages)})


class Case:
    """A study of one trial with three stages, its recorder, and events of its stages."""

    def __init__(self, tracker, name, *, probed=False, patience=60):
        self.tracker = tracker
        spec, trials, graph = make_study(name, [{"pretrain.clips.long_stride": 8}])
        if probed:
            graph = with_probe(graph)
        needed_by = (f"{name}/{trials[0].name}",)
        stages = {key: replace(stage, trials=needed_by) for key, stage in graph.stages.items()}
        self.name, self.graph = name, replace(graph, stages=stages)
        keys = {stage.kind: key for key, stage in stages.items()}
        self.pretrain, self.finetune, self.evaluate = keys["pretrain"], keys["finetune"], keys["evaluate"]
        self.probe = keys.get("probe")
        launch = tracker.begin_launch(spec, requested={"name": name}, trials=trials, graph=self.graph)
        self.view = Said()
        folder = Path(tracker.artifact_location).parent / "train" / name
        self.leases = Leases()
        self.stage_dirs = {key: str(folder / key) for key in stages}
        waits = Patience(patience, tell=self.view.message)
        self.recorder = Recorder(
            tracker,
            self.graph,
            halving=Halving(self.graph, (), folder="none"),
            launches={name: launch},
            finished={},
            dataset_of=lambda stage: DATASET,
            turns=Turns(self.leases, stage_dirs=self.stage_dirs, patience=waits),
            view=self.view,
        )

    def event(self, kind, *, stage=None, attempt=1, rank=0, **data):
        return Event(kind=kind, stage=stage or self.pretrain, attempt=attempt, rank=rank, data=data)

    def begin(self, stage, *, attempt=1, start_step=0):
        if attempt == 1:
            assert self.recorder.take_turn(stage) == "ours"
        started = {"start_step": start_step, "total": 4, "attempt_dir": f"/runs/{stage[:6]}/a{attempt}"}
        self.recorder.handle([self.event("attempt", stage=stage, attempt=attempt, **started)])

    def rows(self, steps, *, loss=1.0, **event):
        return self.event(
            "rows", rows=[{"step": step, "epoch": step / 2, "loss": loss} for step in steps], **event
        )

    def finish(self, stage, **metrics):
        nothing = ("weights", "weights_digest", "checkpoint", "predictions")
        result = {"metrics": metrics, "steps": 4, "state_digest": "s", "fingerprint": {"threads": 1}}
        result |= dict.fromkeys((*nothing, "bad_videos_table"))
        result |= {"dataset_digest": "d1", "bad_videos": 2}
        return self.recorder.complete(stage, {"status": "finished", "result": result})

    @property
    def recorded(self):
        (trial,) = self.tracker.trial_results(self.name)
        return trial


@pytest.fixture
def case(tracker, request):
    return Case(tracker, request.node.name)


def test_a_trial_is_finished_with_the_metrics_of_its_last_stage(case):
    for stage in (case.pretrain, case.finetune):
        case.begin(stage)
        assert case.finish(stage, loss=0.5).key == stage
        assert case.recorded.status != "finished"
    case.begin(case.evaluate)
    finished = case.finish(case.evaluate, top1=0.25, top5=0.75)
    assert finished.fingerprint == {"threads": 1}
    assert case.recorded.status == "finished"
    assert case.recorded.metrics["top1"] == 0.25


def test_a_trial_with_a_probe_has_the_metrics_of_both_tests(tracker):
    case = Case(tracker, "probed", probed=True)
    for stage, metrics in (
        (case.pretrain, {"loss": 0.5}),
        (case.finetune, {"loss": 0.5}),
        (case.evaluate, {"top1": 0.25, "videos": 4.0}),
        (case.probe, {"knn_top1": 0.5, "videos": 3.0}),
    ):
        assert case.recorded.status != "finished"
        case.begin(stage)
        case.finish(stage, **metrics)
    assert case.recorded.status == "finished"
    found = case.recorded.metrics
    assert (found["top1"], found["knn_top1"], found["videos"]) == (0.25, 0.5, 4.0)


def test_rows_of_an_attempt_that_was_replaced_are_ignored(case):
    case.begin(case.pretrain)
    case.recorder.handle([case.rows([1, 2])])
    case.begin(case.pretrain, attempt=2, start_step=2)
    case.recorder.handle([case.rows([3, 4], loss=9.0, attempt=1), case.rows([3], loss=2.0, attempt=2)])
    state = case.tracker.stage_runs([case.pretrain])[case.pretrain]
    assert (state.step, state.attempt) == (3, 2)
    assert case.recorder.progress.stages[case.pretrain].metrics["loss"] == 2.0
    assert any("goes on from step 2 of 4" in text for text in case.view.messages)


def test_a_stage_that_ends_while_its_last_rows_are_on_their_way_logs_each_step_once(case):
    case.begin(case.pretrain)
    case.recorder.handle([case.rows([1, 2])])

    def ends() -> None:  # Tune's loop, for which the board is already empty
        case.recorder.catch_up(list)
        case.finish(case.pretrain, loss=0.5)

    end = threading.Thread(target=ends)

    def drain() -> list[Event]:
        end.start()
        end.join(timeout=0.5)
        return [case.rows([3, 4], loss=0.5)]

    case.recorder.catch_up(drain)
    end.join()
    assert logged(case) == [(1, 1.0), (2, 1.0), (3, 0.5), (4, 0.5)]


def test_a_failure_names_cause_and_log_and_skips_what_needs_the_stage(case):
    case.begin(case.pretrain)
    outcome = {"status": "failed", "error": "ValueError: no", "log": "/runs/a1/error.txt"}
    assert case.recorder.complete(case.pretrain, outcome) is None
    assert case.recorded.status == "failed"
    states = case.recorder.progress.stages
    assert [states[key].status for key in case.graph.stages] == ["failed", "skipped", "skipped"]
    (message,) = case.view.messages
    assert "ValueError: no" in message
    assert "/runs/a1/error.txt" in message


def test_a_stage_whose_driver_died_is_handed_out_again_and_fails_in_the_end(case):
    for attempt in (1, 2):
        case.begin(case.pretrain) if attempt == 1 else case.recorder.take_turn(case.pretrain)
        assert case.recorder.complete(case.pretrain, None) == "again"
    case.recorder.take_turn(case.pretrain)
    assert case.recorder.complete(case.pretrain, None) is None
    assert "driver process died" in case.tracker.stage_runs([case.pretrain])[case.pretrain].error
    assert len(case.recorder.progress.stages[case.pretrain].retries) == 2


class TestTwoLaunches:
    def other(self):
        return Leases(replace(this_launch(), machine="elsewhere", host="elsewhere"), seconds=1000)

    def test_the_second_waits_says_for_whom_and_takes_the_result(self, case):
        other = self.other()
        assert other.take(case.stage_dirs[case.pretrain]) is None
        for _ in range(3):
            assert case.recorder.take_turn(case.pretrain) == "theirs"
        (message,) = case.view.messages
        assert "the launch on elsewhere" in message
        stage = case.graph.stages[case.pretrain]
        run = case.tracker.begin_stage(stage, attempt=1, attempt_dir="/runs/a1", fingerprint={})
        case.tracker.finish_stage(run, metrics={"loss": 0.25})
        other.close()
        case.recorder._turns._refused.clear()  # the storage is asked once a second
        taken = case.recorder.take_turn(case.pretrain)
        assert taken.run_id == run.run_id
        state = case.recorder.progress.stages[case.pretrain]
        assert (state.status, state.metrics["loss"]) == ("cached", 0.25)
        assert not case.leases.holds(case.stage_dirs[case.pretrain])

    def test_who_was_taken_over_from_records_nothing(self, case):
        case.begin(case.pretrain)
        case.recorder.handle([case.rows([1])])
        lease = case.leases._held[case.stage_dirs[case.pretrain]]
        (Path(case.stage_dirs[case.pretrain]) / "leases" / "2.json").write_text("{}")
        assert not lease.renew()
        case.recorder.handle([case.rows([2])])
        nothing = {"status": "finished", "result": None}
        assert case.recorder.complete(case.pretrain, nothing) == "again"
        state = case.tracker.stage_runs([case.pretrain])[case.pretrain]
        assert (state.step, state.status) == (1, "running")


class TestStorageIsAway:
    @contextmanager
    def away(self, case) -> Iterator[None]:
        """A file stands where the stage's folder was, and the lease is due to be renewed."""
        folder = Path(case.stage_dirs[case.pretrain])
        kept = folder.rename(folder.with_name("kept"))
        folder.touch()
        case.leases._held[str(folder)]._renewed = 0.0
        try:
            yield
        finally:
            folder.unlink()
            kept.rename(folder)

    def test_what_happens_meanwhile_is_recorded_in_order_and_once_when_it_is_back(self, case):
        case.begin(case.pretrain)
        case.recorder.handle([case.rows([1])])
        ended = []

        def goes_on() -> None:
            case.recorder.handle([case.rows([2, 3]), case.rows([4], loss=0.5)])
            ended.append(case.finish(case.pretrain, loss=0.5))

        thread = threading.Thread(target=goes_on)
        with self.away(case):
            thread.start()
            end = time.monotonic() + 60
            while not any("storage does not answer" in text for text in case.view.messages):
                assert thread.is_alive()
                assert time.monotonic() < end
                time.sleep(0.01)
            assert case.tracker.stage_runs([case.pretrain])[case.pretrain].step == 1
        thread.join(60)
        assert [stage.key for stage in ended] == [case.pretrain]
        assert logged(case) == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 0.5)]

    def test_after_the_last_patience_the_next_launch_has_every_row_once(self, tracker):
        case = Case(tracker, "impatient", patience=0.1)
        case.begin(case.pretrain)
        case.recorder.handle([case.rows([1])])
        with self.away(case):
            with pytest.raises(
                StoreAwayError, match=r"storage has not answered .*cannot be written.*launch again"
            ):
                case.recorder.handle([case.rows([2, 3])])
            with pytest.raises(StoreAwayError):
                case.finish(case.pretrain, loss=0.5)
        case.leases.close()
        again = Case(tracker, "impatient")
        again.begin(again.pretrain)
        again.recorder.handle([again.rows([1, 2])])  # the history of the checkpoint it goes on from
        again.recorder.handle([again.rows([3, 4], loss=0.5)])
        assert again.finish(again.pretrain, loss=0.5).key == case.pretrain
        assert logged(again) == [(1, 1.0), (2, 1.0), (3, 0.5), (4, 0.5)]


def test_bad_videos_are_named_once_and_counted(case):
    case.begin(case.pretrain)
    bad = case.event("bad_video", problem="a.mp4: cut short")
    case.recorder.handle([bad, bad, case.event("bad_video", problem="b.mp4: empty")])
    assert sum("a.mp4: cut short" in text for text in case.view.messages) == 1
    finished = case.finish(case.pretrain)
    assert (finished.metrics["bad_videos"], finished.dataset_digest) == (2, "d1")


def test_closing_after_an_interruption_marks_running_stages_and_their_trial(case):
    case.begin(case.pretrain)
    case.recorder.close(interrupted=True)
    assert case.recorded.status == "interrupted"
    assert case.recorded.stages[0].status == "interrupted"


def test_the_rank_that_was_silent_longest_is_the_one_named(case):
    case.begin(case.pretrain)
    case.recorder.handle([case.event("progress", rank=1, step=1, total=4, metrics={}, node="b")])
    state = case.recorder.progress.stages[case.pretrain]
    state.heard[0] -= 40
    rank, seconds = state.silent()
    assert rank == 0
    assert 39 < seconds < 60


def test_the_rank_that_kept_the_others_waiting_is_named_with_its_node(case):
    case.begin(case.pretrain)
    for rank in range(3):
        step = {"step": 1, "total": 4, "metrics": {}, "node": f"node-{rank}"}
        case.recorder.handle([case.event("progress", rank=rank, **step)])
    waits = {"step": 1, "where": "distributed_c10d.py:12 all_reduce", "waits": True}
    case.recorder.handle([case.event("stuck", rank=0, node="node-0", **waits)])
    asleep = {"step": 1, "where": "user.py:3 read", "waits": False}
    case.recorder.handle([case.event("stuck", rank=2, node="node-2", **asleep)])
    case.recorder.handle([case.event("retry", text="attempt 1 failed, trying again: timed out")])
    said = case.view.messages[-1]
    assert "rank 1 on node-1 gave no sign" in said
    assert "rank 2 on node-2 stood at user.py:3 read while rank 0 waited" in said
    assert any("rank 2 on node-2 stands still after step 1" in text for text in case.view.messages)


def test_a_lone_worker_that_stood_still_is_named_with_its_node(case):
    case.begin(case.pretrain)
    asleep = {"step": 2, "where": "user.py:3 read", "waits": False}
    case.recorder.handle([case.event("stuck", node="node-0", **asleep)])
    case.recorder.handle([case.event("retry", text="attempt 1 failed, trying again: its process ended")])
    place = "(rank 0 on node-0 stood still after step 2 at user.py:3 read)"
    assert case.view.messages[-1].endswith(f"its process ended {place}")
    case.recorder.complete(
        case.pretrain, {"status": "failed", "error": "its process ended", "log": "error.txt"}
    )
    assert case.recorded.stages[0].error == f"its process ended {place}"


def test_a_board_gives_each_event_once_in_order():
    board = Board()
    events = [Event(kind="warning", stage="s", attempt=1, data={"text": str(i)}) for i in range(3)]
    board.push(events[:1])
    board.push(events[1:])
    assert board.drain() == events
    assert board.drain() == []
    assert not board.stop_requested()
    board.request_stop()
    assert board.stop_requested()


def test_a_board_that_nobody_drains_keeps_everything_but_old_progress_and_asks_to_stop():
    board = Board(max_events=3)
    for step in range(1, 4):
        board.push([Event(kind="rows", stage="s", attempt=1, data={"step": step})])
        for rank in (0, 1):
            board.push([Event(kind="progress", stage="s", attempt=1, rank=rank, data={"step": step})])
    assert not board.stop_requested()
    board.push([Event(kind="rows", stage="s", attempt=1, data={"step": 4})])
    assert board.stop_requested()
    taken = [(event.kind, event.rank, event.data["step"]) for event in board.drain()]
    assert taken == [("rows", 0, step) for step in range(1, 5)] + [("progress", 0, 3), ("progress", 1, 3)]


def logged(case):
    history = case.tracker._client.get_metric_history(run_of(case).info.run_id, "loss")
    return sorted((point.step, point.value) for point in history)


def run_of(case):
    (experiment,) = (e for e in case.tracker._client.search_experiments() if e.name == "lstcl-stages")
    runs = case.tracker._client.search_runs([experiment.experiment_id])
    (run,) = (run for run in runs if run.data.tags["lstcl.stage_key"] == case.pretrain)
    return run


def test_a_warning_is_shown_and_kept_with_the_run(case):
    case.begin(case.pretrain)
    case.recorder.handle([case.event("warning", text="the representation has collapsed at step 30")])
    assert "collapsed at step 30" in case.view.messages[-1]
    assert run_of(case).data.tags["lstcl.warning"] == "the representation has collapsed at step 30"


def test_a_file_of_a_worker_is_kept_with_the_run(case, tmp_path):
    trace = tmp_path / "trace.json.gz"
    trace.write_bytes(b"trace")
    case.begin(case.pretrain)
    case.recorder.handle([case.event("file", location=str(trace)), case.event("file", location="s3://b/x")])
    assert [f.path for f in case.tracker._client.list_artifacts(run_of(case).info.run_id)] == [
        "resolved.yaml",
        "trace.json.gz",
    ]


def test_preemptions_and_bad_videos_outlast_the_launch(tracker):
    case = Case(tracker, "ledger")
    case.begin(case.pretrain)
    lost = case.event("bad_video", problem="jump/3.mp4: no frames")
    case.recorder.handle([lost, lost, case.event("preempted", text="attempt 1 gave way to a preemption")])
    case.begin(case.pretrain, attempt=2, start_step=2)
    finished = case.finish(case.pretrain)
    record = tracker.stage_records([case.pretrain])[case.pretrain]
    assert record.preemptions == 1
    assert "preemption" in record.warning
    assert tracker.bad_videos(finished.run_id) == {"jump/3.mp4: no frames": 2}
