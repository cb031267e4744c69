"""Ways in which what a sweep runs on breaks: processes, nodes, storage and tracking."""

import random
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.chaos.processes import MlflowServer, wait_until
from tests.chaos.sweep import DisturbedSweep, Fault
from tests.helpers.study import Launched, checkpoints

_SUSPENDED_SECONDS = 0.5


def kill_launcher(sweep: DisturbedSweep) -> int:
    """SIGKILL of a launcher that stood still before: stages have done what it does not know of."""
    sweep.launched.signal(signal.SIGSTOP)
    time.sleep(_SUSPENDED_SECONDS)
    sweep.launched.kill()
    code = sweep.launched.process.returncode
    sweep.launch()
    return int(code)


def terminate(sweep: DisturbedSweep) -> int:
    sweep.launched.signal(signal.SIGTERM)
    return _launch_again(sweep, 130)


def _launch_again(sweep: DisturbedSweep, expected: int) -> int:
    code, text = sweep.launched.finish(), sweep.launched.log.read_text()
    assert code == expected, text[-3000:]
    assert "with: lstcl-platform launch" in text
    assert "Traceback" not in text
    sweep.launch()
    return code


def kill_node(sweep: DisturbedSweep) -> None:
    sweep.nodes.kill_node()
    sweep.nodes.add_node()


def cut_off_node(sweep: DisturbedSweep) -> None:
    """A node stands still until it is given up, and wakes up while another one does its work."""
    attempts = sweep.store.attempts()
    node = sweep.nodes.suspend_node()
    try:
        sweep.nodes.add_node()
        sweep.until(lambda: sweep.store.attempts() != attempts, "the next attempt on another node")
    finally:
        node.signal(signal.SIGCONT)
    wait_until(lambda: not node.processes("RayTrainWorker"), "the orphan to end")
    node.kill()


def kill_process(title: str) -> Callable[[DisturbedSweep], None]:
    """Kill one process whose title holds `title`, once there is one."""

    def fault(sweep: DisturbedSweep) -> None:
        victims = wait_until(
            lambda: sweep.nodes.processes(title) or (sweep.is_over and ["none"]),
            f"a process {title}",
            poll=0.005,
        )
        assert victims[0] != "none", "the sweep was over before"
        victims[0].kill()

    return fault


def hang_worker(sweep: DisturbedSweep) -> None:
    """One of two workers stands still; it and its node are named, and the attempt is tried again."""
    victim = wait_until(lambda: sweep.nodes.processes("RayTrainWorker"), "a worker")[-1]
    victim.send_signal(signal.SIGSTOP)
    sweep.until(lambda: "gave no sign while rank" in sweep.text(), "the slow rank to be named")
    assert "stands still after step" in sweep.text()
    log = sweep.text().split("; stacks: ")[1].split()[0]
    assert "stacks of all threads" in Path(log).read_text()


def hang_training(order: Path) -> Fault:
    """The training thread of a stage's only worker stands still (`helpers/hang`); all else of its process answers."""

    def fault(sweep: DisturbedSweep) -> None:
        order.touch()
        sweep.until(lambda: " stood still after step " in sweep.text(), "the attempt to be given up")
        assert not order.exists()
        (line,) = [line for line in sweep.text().splitlines() if " stood still after step " in line]
        assert "failed, trying again: " in line
        assert f"(rank 0 on {socket.gethostname()} stood still" in line
        assert line.endswith(" _hang)"), line
        log = sweep.text().split("; stacks: ")[1].split()[0]
        assert "stacks of all threads" in Path(log).read_text()
        print(line)

    return fault


def drain(sweep: DisturbedSweep) -> None:
    """The cloud says that the node goes in 30 s, brings another, and takes it."""
    sweep.nodes.drain_node(30)
    sweep.nodes.add_node()
    sweep.until(lambda: "gave way to a preemption" in sweep.text(), "the stage to give way")
    sweep.nodes.kill_node()


def kill_head(sweep: DisturbedSweep) -> int:
    """The head goes, and its nodes with it; the launch ends, and is launched again on a new head."""
    sweep.nodes.down()
    code = wait_until(lambda: sweep.launched.process.poll(), "the launch to notice that Ray is gone")
    assert "launch again, and the rest goes on" in sweep.text()
    sweep.nodes.up()
    sweep.launch()
    return int(code)


def damage_newest(sweep: DisturbedSweep) -> int:
    """The launcher is killed; of the newest checkpoint a bit turns over, and a newer one is half-written."""
    sweep.launched.kill()
    code = sweep.launched.process.returncode
    wait_until(lambda: not sweep.nodes.processes("RayTrainWorker"), "the orphans to end")
    newest = checkpoints(sweep.storage)[-1]
    state = newest / "state.pt"
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(data)
    half = newest.with_name(f"step-{int(newest.name.removeprefix('step-')) + 1:08d}")
    half.mkdir()
    (half / "state.pt").write_bytes(data[: len(data) // 2])
    sweep.launch()
    sweep.until(lambda: "damaged checkpoint passed over" in sweep.text(), "a warning")
    (line,) = [line for line in sweep.text().splitlines() if "damaged checkpoint passed over" in line]
    assert str(newest) in line
    return int(code)


def lose_tracking(server: MlflowServer, *, seconds: float) -> Fault:
    """The MLflow server is killed, and comes back after a while."""

    def fault(sweep: DisturbedSweep) -> None:
        back = time.monotonic() + seconds
        server.kill()
        sweep.until(lambda: "does not answer" in sweep.text(), "word that the server is away")
        sweep.until(lambda: time.monotonic() > back, "its return")
        server.up()
        sweep.until(lambda: "answers again" in sweep.text(), "word that it is back")

    return fault


def _fill(storage: Path) -> Path:
    """A file in `storage` after which nothing can be written any more."""
    filler = storage / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 1 << 16
        while size:
            try:
                file.write(bytes(size))
            except OSError:  # no space for so much: the rest goes in smaller pieces
                size //= 2
    return filler


def fill_disk(sweep: DisturbedSweep) -> int:
    """Nothing can be written any more; the launch ends and says so, and is launched again once there is space."""
    filler = _fill(sweep.storage)
    wait_until(lambda: sweep.is_over, "the launch to end")
    assert "make space" in sweep.text() or "disk is full" in sweep.text(), sweep.text()[-3000:]
    filler.unlink()
    return _launch_again(sweep, 1)


def fill_disk_for_a_while(sweep: DisturbedSweep) -> None:
    """Nothing can be written to storage until the launch does not know any more whose turn its stages are."""
    filler = _fill(sweep.storage)
    sweep.until(lambda: "the storage does not answer" in sweep.text(), "word that storage is away")
    assert "No space left" in sweep.text()
    logged = sweep.steps()
    time.sleep(5)  # in which training goes on, and nobody may record it
    assert sweep.steps() == logged
    filler.unlink()
    sweep.until(lambda: "the storage answers again" in sweep.text(), "word that it is back")


def launch_twice(sweep: DisturbedSweep) -> None:
    """A second launch of the same study while the first runs: it waits, and says for whom."""
    second = Launched(*sweep.command, log=sweep.launched.log.with_suffix(".second"))
    try:
        second.wait_for(lambda: "waiting for its result" in second.log.read_text())
        assert f"process {sweep.launched.process.pid}" in second.log.read_text()
        second.signal(signal.SIGINT)
        assert second.finish() == 130
    finally:
        second.close()


RANDOM_FAULTS: Mapping[str, Fault] = {
    "SIGKILL of the launcher": kill_launcher,
    "SIGKILL of a training worker": kill_process("RayTrainWorker"),
    "a node dies": kill_node,
}


def disturb_at_random(sweep: DisturbedSweep, *, kills: int, seed: int, steps: int) -> None:
    """`kills` faults, all kinds equally often, at random steps of a sweep that has `steps` in all."""
    draw = random.Random(seed)
    names = [name for _ in range(kills) for name in RANDOM_FAULTS][:kills]
    draw.shuffle(names)
    moments = sorted(draw.randint(1, round(0.9 * steps)) for _ in names)
    for name, moment in zip(names, moments, strict=True):
        sweep.reach(moment)
        time.sleep(draw.uniform(0, 1))
        if sweep.is_over:
            return
        sweep.disturb(name, RANDOM_FAULTS[name])
