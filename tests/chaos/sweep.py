"""A sweep that is disturbed while it runs: what each fault cost, and whether the outcome is an undisturbed one's."""

import random
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.processes import RayNodes, wait_until
from tests.helpers.study import Launched

TIMING = ("step_seconds", "samples_per_second", "data_wait", "tflops", "mfu")
"""Metrics that say how fast it went; all others must be equal to the last bit."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a fault cost.

    Attributes:
        fault: what was done.
        during: the stage that ran.
        recovered: seconds until a step was done that had not been done before.
        repeated: steps done twice.
        exit_code: of the launch, if it ended.
    """

    fault: str
    during: str
    recovered: float
    repeated: int
    exit_code: int | None = None


def table(costs: Sequence[Cost]) -> str:
    lines = ["| fault | during | seconds to recover | steps repeated | exit code |", "|--|--|--|--|--|"]
    for cost in costs:
        code = "" if cost.exit_code is None else str(cost.exit_code)
        lines.append(f"| {cost.fault} | {cost.during} | {cost.recovered:.1f} | {cost.repeated} | {code} |")
    return "\n".join(lines)


class Store:
    """What an MLflow database says of stages, read without MLflow: a hundred times a second if need be."""

    def __init__(self, database: Path) -> None:
        self._database = database

    def _rows(self, query: str) -> list[Any]:
        if not self._database.exists():
            return []
        connection = sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=20)
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # no tables yet
            return []
        finally:
            connection.close()

    def steps(self) -> dict[str, int]:
        """Newest logged step of each stage; a finished one counts one more."""
        tagged = "JOIN tags k ON k.run_uuid = r.run_uuid AND k.key = 'lstcl.stage_key'"
        newest = self._rows(
            f"SELECT k.value, r.status, m.step FROM runs r {tagged} LEFT JOIN latest_metrics m "
            "ON m.run_uuid = r.run_uuid AND m.key = 'step'"
        )
        found: dict[str, int] = {}
        for key, status, step in newest:
            found[key] = max(found.get(key, 0), (step or 0) + (status == "FINISHED"))
        return found

    def attempts(self) -> dict[str, str]:
        """Number of the newest attempt of each stage run."""
        return dict(self._rows("SELECT run_uuid, value FROM tags WHERE key = 'lstcl.attempt'"))

    def running(self) -> tuple[str, str]:
        """Kind and key of the stage that runs now, or empty."""
        rows = self._rows(
            "SELECT t.value, k.value FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'lstcl.kind' "
            "JOIN tags k ON k.run_uuid = r.run_uuid AND k.key = 'lstcl.stage_key' WHERE r.status = 'RUNNING'"
        )
        return (str(rows[0][0]), str(rows[0][1])) if rows else ("", "")

    def outcome(self) -> dict[str, Any]:
        """Of each stage: kind, digests, and every point of every metric but timing; fails if a step is there twice."""
        found: dict[str, Any] = {}
        tags: dict[str, dict[str, str]] = {}
        for run, name, value in self._rows("SELECT run_uuid, key, value FROM tags"):
            tags.setdefault(run, {})[name] = value
        for run, of in tags.items():
            if "lstcl.stage_key" not in of:
                continue
            points: dict[tuple[str, int], float] = {}
            for name, step, value in self._rows(
                f"SELECT key, step, value FROM metrics WHERE run_uuid = '{run}'"
            ):
                if name not in TIMING:
                    assert (name, step) not in points, f"{name} of step {step} was logged twice"
                    points[name, step] = value
            kind = of["lstcl.kind"]
            assert of["lstcl.stage_key"] not in found, f"two runs of one {kind}"
            found[of["lstcl.stage_key"]] = {
                "kind": kind,
                "status": of.get("lstcl.status"),
                "digest": of.get("lstcl.state_digest"),
                "weights": of.get("lstcl.weights_sha256"),
                "points": points,
            }
        return found


Fault = Callable[["DisturbedSweep"], int | None]
"""Breaks something; returns the exit code of the launch if that ended it, and it was launched again."""


class DisturbedSweep:
    """A launch on `nodes` that goes on, by being launched again where it must, until all is done.

    Args:
        spec: the study.
        nodes: where it runs.
        store: where it is recorded.
        log: its output, of all launches.
    """

    def __init__(self, spec: Path, *, nodes: RayNodes, store: Store, log: Path) -> None:
        self.nodes = nodes
        self.command = ("launch", spec, "--address", nodes.address)
        self.store = store
        self._log = log
        self._launches = 0
        self.costs: list[Cost] = []
        self.launched: Launched
        self.launch()

    def launch(self) -> None:
        self._launches += 1
        log = self._log.with_suffix(f".{self._launches}")
        self.launched = Launched(*self.command, log=log)

    def text(self) -> str:
        logs = [self._log.with_suffix(f".{number}") for number in range(1, self._launches + 1)]
        return "\n".join(log.read_text() for log in logs)

    def steps(self) -> int:
        return sum(self.store.steps().values())

    def progress(self, steps: int, *, what: str) -> None:
        """Wait for `steps` more than now, or for the end."""
        goal = self.steps() + steps
        self._until(lambda: self.steps() >= goal, what)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        def reached() -> bool:
            return condition() or self.launched.process.poll() == 0

        def checked() -> bool:
            code = self.launched.process.poll()
            assert code in (None, 0), (
                f"the launch ended with {code}:\n{self.launched.log.read_text()[-3000:]}"
            )
            return reached()

        wait_until(checked, what, poll=0.02)

    @property
    def is_over(self) -> bool:
        return self.launched.process.poll() is not None

    def disturb(self, name: str, fault: Fault, *, restarts: bool = True) -> None:
        """Do `fault` now, and note what it cost.

        Rows of the attempt that it ends may still be on their way: only steps after the next attempt began count.
        """
        kind, key = self.store.running()
        before, began, attempts = self.store.steps(), time.monotonic(), self.store.attempts()
        resumed = self.text().count("goes on from step")
        code = fault(self)
        if restarts:
            self._until(lambda: self.store.attempts() != attempts, f"the next attempt after: {name}")
        total = self.steps() if restarts else sum(before.values())
        self._until(lambda: self.steps() > total, f"a new step after: {name}")
        seconds = time.monotonic() - began
        lines = [line for line in self.text().splitlines() if "goes on from step" in line][resumed:]
        starts = [int(line.split("goes on from step ")[1].split()[0]) for line in lines if key[:10] in line]
        repeated = before.get(key, 0) - starts[0] if starts else before.get(key, 0) if restarts else 0
        cost = Cost(fault=name, during=kind, recovered=seconds, repeated=max(0, repeated), exit_code=code)
        self.costs.append(cost)
        print(f"{cost}", flush=True)

    def finish(self) -> None:
        code = wait_until(
            lambda: (self.launched.process.poll() is not None) and [self.launched.process.returncode],
            "the end of the sweep",
            seconds=900,
        )
        assert code == [0], self.text()[-3000:]

    def close(self) -> None:
        self.launched.close()


def kill_launcher(sweep: DisturbedSweep) -> int:
    sweep.launched.kill()
    code = sweep.launched.process.returncode
    sweep.launch()
    return int(code)


def kill_node(sweep: DisturbedSweep) -> None:
    sweep.nodes.kill_node()
    sweep.nodes.add_node()


def kill_process(title: str) -> Callable[[DisturbedSweep], None]:
    """Kill one process whose title holds `title`, once there is one."""

    def fault(sweep: DisturbedSweep) -> None:
        (victim, *_) = wait_until(lambda: sweep.nodes.processes(title), f"a process {title}", poll=0.005)
        victim.kill()

    return fault


RANDOM_FAULTS: Mapping[str, Fault] = {
    "SIGKILL of the launcher": kill_launcher,
    "SIGKILL of a training worker": kill_process("RayTrainWorker"),
    "a node dies": kill_node,
}


def disturb_at_random(sweep: DisturbedSweep, *, kills: int, seed: int, pause: float) -> None:
    """`kills` faults, all kinds equally often, each up to `pause` seconds after the one before was overcome."""
    draw = random.Random(seed)
    names = [name for _ in range(kills) for name in RANDOM_FAULTS][:kills]
    draw.shuffle(names)
    for name in names:
        time.sleep(draw.uniform(0, pause))
        if sweep.is_over:
            return
        sweep.disturb(name, RANDOM_FAULTS[name])


def assert_equal_outcomes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Every digest, and every point of every metric outside timing."""
    assert ours.keys() == theirs.keys()
    for key, stage in theirs.items():
        assert stage["status"] == "finished"
        different = {
            name for name, value in stage["points"].items() if ours[key]["points"].get(name) != value
        }
        assert not different, f"{stage['kind']}: {sorted(different)[:5]}"
        assert ours[key] == stage
