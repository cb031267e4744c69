"""Where the time of a finished launch went, from its tracking store. Run by hand; prints a table.

    python benchmarks/launch_overhead.py STORAGE EXPERIMENT

For each stage of the experiment: wall time of its attempt, time spent in training steps, the rest (overhead), and the
share of step time that waited for data. Only stages that ran in one go are told apart rightly.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import MlflowClient
from rich.console import Console
from rich.table import Table

from lstcl_platform.tracking.tracker import StageState, Tracker


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """Seconds of a stage.

    Attributes:
        wall: from the start of its attempt to its end.
        first_batch: from the start of its attempt to its first batch, or None if it was not recorded.
        launch: from the start of the launch process to that batch.
        training: in steps, waits for data included; None for a stage that logs no steps.
        waiting: in steps, without data.
    """

    wall: float
    first_batch: float | None
    launch: float | None
    training: float | None
    waiting: float | None


def stage_times(client: MlflowClient, state: StageState) -> StageTimes:
    """Times of a stage from the rows it logged: each row is the mean over the steps since the row before."""
    assert state.run_id is not None
    tags = client.get_run(state.run_id).data.tags
    first, launch = (tags.get(f"lstcl.first_batch_{part}") for part in ("seconds", "since_launch"))
    waits = {row.step: row.value for row in client.get_metric_history(state.run_id, "data_wait")}
    training = waiting = 0.0
    before = 0
    for row in sorted(client.get_metric_history(state.run_id, "step_seconds"), key=lambda row: row.step):
        seconds = row.value * (row.step - before)
        before = row.step
        training += seconds
        waiting += seconds * waits[row.step]
    return StageTimes(
        wall=state.seconds,
        first_batch=float(first) if first else None,
        launch=float(launch) if launch else None,
        training=training if before else None,
        waiting=waiting if before else None,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("storage", type=Path)
    parser.add_argument("experiment")
    arguments = parser.parse_args()
    uri = f"sqlite:///{arguments.storage.absolute()}/mlflow.db"
    tracker = Tracker(uri, artifact_location=None)
    client = MlflowClient(uri)
    stages: dict[str, tuple[str, StageState]] = {}
    for trial in tracker.trial_results(arguments.experiment):
        for state in trial.stages:
            if state.run_id is not None:
                stages.setdefault(state.key, (trial.name, state))
    titles = ("stage", "trial", "wall s", "to first batch s", "training s", "overhead s", "waits for data %")
    table = Table(*titles, title=f"{arguments.experiment}; {os.cpu_count()} cores")
    firsts = []
    for trial_name, state in stages.values():
        times = stage_times(client, state)
        firsts.extend([times.launch] if times.launch is not None else [])
        table.add_row(f"{state.kind} {state.key[:10]}", trial_name, *_cells(times))
    Console(width=150, highlight=False).print(table)
    print(f"launch to the first training step: {_seconds(min(firsts, default=None))} s")


def _cells(times: StageTimes) -> list[str]:
    overhead = waits = None
    if times.training:
        overhead = times.wall - times.training
        waits = 100 * (times.waiting or 0.0) / times.training
    return [_seconds(value) for value in (times.wall, times.first_batch, times.training, overhead, waits)]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main()
