"""A tracking server that is killed while a launch logs: what it did not get waits, and is there once, in the end."""

import threading
import time

import pytest

from lstcl_platform.tracking.patience import Patience, StoreAwayError
from lstcl_platform.tracking.tracker import Tracker
from tests.chaos.processes import MlflowServer, wait_until
from tests.tracking.conftest import make_study

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

ROWS = 40


def row(step: int) -> dict[str, float]:
    return {"step": step, "epoch": step / 4, "loss": 1 / step}


def test_a_killed_server_costs_time_and_nothing_else_until_patience_ends(tmp_path):
    server = MlflowServer(tmp_path)
    server.up()
    try:
        tracker = Tracker(server.uri, artifact_location=None)
        said: list[str] = []
        tracker.wait_while_away(Patience(600, tell=said.append))
        spec, trials, graph = make_study("away", [{"pretrain.clips.long_stride": 8}])
        launch = tracker.begin_launch(spec, requested={"name": "away"}, trials=trials, graph=graph)
        stage = next(iter(graph.stages.values()))
        run = tracker.begin_stage(stage, attempt=1, attempt_dir="a1", fingerprint={})

        def train() -> None:
            for step in range(1, ROWS + 1):
                tracker.log_rows(run, [row(step)])
                tracker.heartbeat(launch)

        trainer = threading.Thread(target=train)
        trainer.start()
        wait_until(lambda: run.last_step >= 5, "five rows")
        server.kill()
        wait_until(lambda: said, "word that the server is away")
        # What a run cannot be made twice by: the answer to its creation gets lost.
        other = threading.Thread(
            target=tracker.begin_launch,
            args=(spec,),
            kwargs={
                "requested": {"name": "again"},
                "trials": trials,
                "graph": graph,
            },
        )
        other.start()
        server.up()
        for thread in (trainer, other):
            thread.join(120)
            assert not thread.is_alive()
        tracker.finish_stage(run, metrics={"loss": 0.5})
        assert "does not answer" in said[0]
        assert any("answers again" in text for text in said)
        history = tracker._client.get_metric_history(run.run_id, "loss")
        assert [(point.step, point.value) for point in history][:ROWS] == [
            (step, pytest.approx(1 / step)) for step in range(1, ROWS + 1)
        ]
        assert tracker.finished([stage.key])[stage.key].metrics["loss"] == 0.5

        server.kill()
        tracker.wait_while_away(Patience(1, tell=said.append))
        with pytest.raises(StoreAwayError, match="launch again once it is back"):
            tracker.heartbeat(launch)
        began = time.monotonic()
        with pytest.raises(StoreAwayError):
            tracker.heartbeat(launch)
        assert time.monotonic() - began < 1, "who gave up does not wait again"
    finally:
        server.kill()
