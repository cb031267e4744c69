"""Memory that a launch takes on the head with one stage at a time, with two, with four. Run by hand; prints a table.

    python benchmarks/head_memory.py SPEC [--at-once 1 2 4] [--set FIELD=VALUE ...]

SPEC needs as many independent trials as stages shall run at once, and stages that last for minutes. Each launch has a
local cluster and a storage of its own, and is stopped once it was looked at. All memory is proportional set size (what
a process shares with others is divided among them); of several looks the middle one counts.
"""

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

ROLES = {
    "cli.main": "launcher",
    "gcs_server": "Ray",
    "raylet": "Ray",
    "Agent": "Ray",
    "ray/dashboard/": "Ray",
    "monitor.py": "Ray",
    "_StatsActor": "Ray",
    "_AutoscalingCoordinatorActor": "Ray",
    "ray::Board": "board",
    "ray::ImplicitFunc": "driver",
    "ray::TrainController": "Train controller",
    "ray::SynchronizationActor": "Train controller",
    "ray::_EagerCoordinator": "data executor",
    "ray::RayTrainWorker": "training worker",
    "ray::MapBatches": "decoding and idle",
    "ray::Read": "decoding and idle",
    "ray::IDLE": "decoding and idle",
}
"""Part of a process's title -> what it is, on a machine that is head and node in one; the first that fits counts."""
ON_NODES = ("training worker", "decoding and idle")
"""What a cluster with nodes has there and not on its head."""
LOOKS = 5
SECONDS_BETWEEN = 2.0
PATIENCE = 900.0
COMMAND = (sys.executable, "-c", "from lstcl_platform.cli.main import main; main()", "launch")


def processes(launcher: psutil.Process) -> list[tuple[str, int]]:
    """Role and proportional set size (bytes) of a launcher and of all that it started."""
    found = []
    for process in (launcher, *launcher.children(recursive=True)):
        try:
            title = " ".join(process.cmdline())
            role = next((role for part, role in ROLES.items() if part in title), "other")
            found.append((role, process.memory_full_info().pss))
        except psutil.Error:  # it has ended meanwhile
            continue
    return found


def look(spec: str, changes: list[str], *, at_once: int) -> dict[str, float]:
    """Megabytes by role while `at_once` stages train."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        settings = [f"storage.path={folder}/runs", f"resources.max_concurrent_stages={at_once}", *changes]
        words = [word for text in settings for word in ("--set", text)]
        with log.open("w") as file:
            launch = subprocess.Popen([*COMMAND, spec, *words], stdout=file, stderr=subprocess.STDOUT)
        looks: list[Counter[str]] = []
        try:
            end = time.monotonic() + PATIENCE
            while len(looks) < LOOKS:
                time.sleep(SECONDS_BETWEEN)
                if launch.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"{at_once} stages never ran at once:\n{log.read_text()[-3000:]}")
                now = processes(psutil.Process(launch.pid))
                running = Counter(role for role, _ in now)
                if running["training worker"] == running["driver"] == at_once:
                    looks.append(sum((Counter({role: size}) for role, size in now), Counter()))
        finally:
            launch.send_signal(signal.SIGTERM)
            launch.wait()
    roles = dict.fromkeys([*ROLES.values(), "other"])
    return {role: statistics.median(each[role] for each in looks) / 1e6 for role in roles}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spec")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--set", action="append", default=[], dest="changes")
    arguments = parser.parse_args()
    found = []
    for count in arguments.at_once:
        found.append(look(arguments.spec, arguments.changes, at_once=count))
        print(
            f"{count} at once: " + ", ".join(f"{role} {size:.0f}" for role, size in found[-1].items()),
            flush=True,
        )
    titles = [f"{count} at once" for count in arguments.at_once]
    table = Table("MB (PSS)", *titles, title="Memory of a launch by what the processes are")
    for role in found[0]:
        table.add_row(role, *(f"{each[role]:.0f}" for each in found))
    table.add_section()
    heads = [sum(each[role] for role in each if role not in ON_NODES) for each in found]
    table.add_row("on the head", *(f"{total:.0f}" for total in heads))
    Console(highlight=False).print(table)
    if len(heads) > 1:
        more = (heads[-1] - heads[0]) / (arguments.at_once[-1] - arguments.at_once[0])
        print(f"on the head, each further stage: {more:.0f} MB")


if __name__ == "__main__":
    main()
