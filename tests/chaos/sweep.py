"""A sweep that is disturbed while it runs, and what each fault cost."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.processes import RayNodes, wait_until
from tests.chaos.store import Store
from tests.helpers.study import Launched

_GOES_ON = "goes on from step "


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a fault cost.

    Attributes:
        fault: what was done.
        during: the stage that ran, and the last step that it had logged.
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


Fault = Callable[["DisturbedSweep"], int | None]
"""Breaks something; returns the exit code of the launch if that ended it, and it was launched again."""


class DisturbedSweep:
    """A launch on `nodes` that goes on, by being launched again where it must, until all is done.

    Args:
        spec: the study.
        nodes: where it runs.
        storage: its folder.
        log: its output, of all launches.
        database: MLflow's, if that is not in `storage`.
    """

    def __init__(
        self, spec: Path, *, nodes: RayNodes, storage: Path, log: Path, database: Path | None = None
    ) -> None:
        self.nodes = nodes
        self.command = ("launch", spec, "--address", nodes.address)
        self.storage = storage
        self.store = Store(database or storage / "mlflow.db")
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

    @property
    def is_over(self) -> bool:
        return self.launched.process.poll() is not None

    def reach(self, steps: int) -> None:
        """Wait until `steps` steps are done, or for the end."""
        self.until(lambda: self.steps() >= steps, f"step {steps}")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for `condition`, or for the end; fails if the launch does."""

        def reached() -> object:
            code = self.launched.process.poll()
            assert code in (None, 0), f"the launch ended with {code}:\n{self.text()[-3000:]}"
            return condition() or code == 0

        try:
            wait_until(reached, what)
        except AssertionError:
            print(self.text()[-6000:], self._ranks(), self.nodes.state(), sep="\n", flush=True)
            raise

    def _ranks(self) -> str:
        """The end of what the newest attempt's ranks wrote."""
        logs = sorted(self.storage.glob("train/*/a*/rank*.log"), key=lambda log: log.stat().st_mtime)
        return "\n".join(f"{log}:\n{log.read_text()[-3000:]}" for log in logs[-2:])

    def disturb(self, name: str, fault: Fault, *, restarts: bool = True) -> None:
        """Do `fault` now, and note what it cost.

        Rows of the attempt that it ends may still be on their way: only steps after the next attempt began count, and
        of those not the ones that its checkpoint held already.

        Args:
            name: of the fault.
            fault: breaks something.
            restarts: whether the attempt that runs cannot outlive it.
        """
        kind, key = self.store.running()
        before, attempts, began = self.store.steps(), self.store.attempts(), time.monotonic()
        resumed = len(self._resumptions(key))
        code = fault(self)
        if restarts:
            self.until(lambda: self.store.attempts() != attempts, f"the next attempt after: {name}")
        known = self.store.steps() if restarts else before

        def is_further() -> bool:
            held = max(known.get(key, 0), *self._resumptions(key)[resumed:], 0)
            return self.steps() > sum((known | {key: held}).values())

        self.until(is_further, f"a new step after: {name}")
        seconds, done = time.monotonic() - began, before.get(key, 0)
        start = next(iter(self._resumptions(key)[resumed:]), 0)
        again = self.store.attempts().get(key) != attempts.get(key)
        self.costs.append(
            Cost(
                fault=name,
                during=f"{kind}, step {done}",
                recovered=seconds,
                repeated=max(0, done - start) if again else 0,
                exit_code=code,
            )
        )
        print(self.costs[-1], flush=True)

    def _resumptions(self, key: str) -> list[int]:
        """Steps that attempts of a stage went on from."""
        lines = [line for line in self.text().splitlines() if _GOES_ON in line and f" {key[:10]} " in line]
        return [int(line.split(_GOES_ON)[1].split()[0]) for line in lines]

    def finish(self) -> None:
        """Wait for the end of the sweep."""
        self.until(lambda: False, "the end of the sweep")

    def close(self) -> None:
        self.launched.close()
