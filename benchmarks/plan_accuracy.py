"""Is a plan right? Predicts and simulates a spec from finished runs of another, launches it, and compares. By hand.

    python benchmarks/plan_accuracy.py CALIBRATION_STORAGE SPEC --storage FOLDER [--runs 3] [--set PATH=VALUE ...]

CALIBRATION_STORAGE is the storage folder of a finished launch of another spec on this machine. SPEC is launched once a
run, each into a folder of its own below FOLDER, which must be empty; prediction and simulation are made before. The
makespan counts from the start of the launch's process to the end of its last stage. Nothing else should run meanwhile.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lstcl_platform.planning.clusters import this_machine
from lstcl_platform.planning.earlier import rates_of_runs
from lstcl_platform.planning.predict import Forecast, forecast
from lstcl_platform.planning.rates import RatesSpec
from lstcl_platform.planning.simulate import simulate
from lstcl_platform.planning.work import DataSize
from lstcl_platform.specs import ExperimentSpec, build_graph, expand, load_experiment
from lstcl_platform.storage.places import place_of
from lstcl_platform.tracking.measured import MeasuredStage
from lstcl_platform.tracking.tracker import Tracker
from lstcl_platform.video.indexing import open_manifest

SEEDS = 20


@dataclass(frozen=True, kw_only=True)
class Run:
    """Times of one launch.

    Attributes:
        makespan: seconds from the start of its process to the end of its last stage.
        by_kind: kind of stage -> seconds of all its stages.
        launch: seconds from the start of its process to its first stage.
    """

    makespan: float
    by_kind: dict[str, float]
    launch: float


def measured(storage: Path) -> list[MeasuredStage]:
    """Finished stages of a storage folder."""
    return Tracker(f"sqlite:///{storage.absolute()}/mlflow.db", artifact_location=None).measured_stages()


def planned(spec: ExperimentSpec, rates: RatesSpec, *, cache: Path) -> Forecast:
    """The forecast of a launch of `spec` on this machine."""
    trials = expand(spec).trials
    paths = {path for trial in trials for path in trial.spec.sources()}
    manifests = {path: open_manifest(place_of(path), cache_dir=cache) for path in paths}
    cluster = this_machine()
    return forecast(
        build_graph(trials, manifests={path: manifest.digest for path, manifest in manifests.items()}),
        finished=(),
        sizes={path: DataSize(videos=len(m.usable), classes=len(m.classes)) for path, m in manifests.items()},
        rates=rates,
        cluster=cluster,
        capacity=cluster.capacity,
        checkpoint=spec.checkpoint,
    )


def launched(arguments: argparse.Namespace, storage: Path) -> Run:
    """Launch the spec into `storage`, and read what it took."""
    changes = [word for change in [*arguments.set, f"storage.path={storage}"] for word in ("--set", change)]
    words = ["launch", str(Path(arguments.spec).absolute()), *changes]
    code = "from lstcl_platform.cli.main import main; main()"
    storage.mkdir(parents=True)
    subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=storage,
        check=True,
        stdout=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"},
    )
    stages = measured(storage)
    began = min(stage.began - stage.since_launch for stage in stages)
    by_kind: dict[str, float] = {}
    for stage in stages:
        by_kind[stage.kind] = by_kind.get(stage.kind, 0.0) + stage.seconds
    return Run(
        makespan=max(stage.began + stage.seconds for stage in stages) - began,
        by_kind=by_kind,
        launch=min(stage.since_launch for stage in stages),
    )


def compare(found: Forecast, runs: Sequence[Run]) -> None:
    """Print predicted, simulated and actual seconds, and actual / predicted of each run."""
    simulation = simulate(found, seeds=SEEDS)
    rows = [
        ("makespan, predicted", found.wall.expected, [run.makespan for run in runs]),
        ("makespan, simulated", simulation.makespan.expected, [run.makespan for run in runs]),
        ("until the first stage", found.launch.expected, [run.launch for run in runs]),
    ]
    kinds = dict.fromkeys(each.stage.kind for each in found.stages.values())
    for kind in kinds:
        total = found.totals(kind)
        actual = [run.by_kind.get(kind, 0.0) for run in runs]
        rows.append((f"{kind}, {total.stages} stages", total.wall_hours.expected * 3600, actual))
    table = Table(
        "", "expected s", *(f"run {number}: s" for number, _ in enumerate(runs, 1)), "actual / expected"
    )
    for name, expected, actual in rows:
        ratios = ", ".join(f"{value / expected:.2f}" for value in actual)
        table.add_row(name, f"{expected:.1f}", *(f"{value:.1f}" for value in actual), ratios)
    console = Console(width=140, highlight=False)
    console.print(table)
    low, high = found.wall.low, found.wall.high
    console.print(f"predicted range {low:.0f} to {high:.0f} s; rates: {dict(found.totals().bases)}")
    low, high = simulation.makespan.low, simulation.makespan.high
    console.print(f"simulated range {low:.0f} to {high:.0f} s over {SEEDS} seeds; {os.cpu_count()} cores")


def main() -> None:
    """Predict, launch, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("calibration", type=Path)
    parser.add_argument("spec", type=Path)
    parser.add_argument("--storage", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    arguments = parser.parse_args()
    rates = rates_of_runs(measured(arguments.calibration))
    spec = load_experiment(arguments.spec, arguments.set)
    storage = arguments.storage.absolute()
    found = planned(spec, rates, cache=storage / "manifests")
    print(
        f"predicted {found.wall.expected:.0f} s, simulated {simulate(found, seeds=SEEDS).makespan.expected:.0f} s"
    )
    compare(found, [launched(arguments, storage / f"run{number}") for number in range(1, arguments.runs + 1)])


if __name__ == "__main__":
    main()
