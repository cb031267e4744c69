"""What the doctor asks of one node: an actor pinned to it that looks around, and what is asked of this process."""

import hashlib
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lstcl_platform.orchestration.findings import NodeReport
from lstcl_platform.specs.frameworks import FrameworkSpec
from lstcl_platform.storage import delete_tree, join, read_bytes, write_bytes
from lstcl_platform.training.agreement import StepFigures, disagreement, reference_step
from lstcl_platform.training.fingerprint import LIBRARIES
from lstcl_platform.video import read_frames
from lstcl_platform.video.reading import DecodeError

TOKEN_FILE = "from-launcher"
_CLOCK_TRIES = 5
_ANSWER_SECONDS = 180.0


def versions() -> dict[str, str]:
    """Versions of what results depend on, and a digest of our own source files."""
    import lstcl_platform

    root = Path(lstcl_platform.__file__).parent
    code = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        code.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return {
        "python": platform.python_version(),
        "lstcl_platform": lstcl_platform.__version__,
        "our code": code.hexdigest()[:10],
        **{name: version(name) for name in ("ray", *LIBRARIES)},
    }


def first_frames(videos: Sequence[str]) -> dict[str, str]:
    """Digest of each video's first frame, or what was wrong with it."""
    found = {}
    for video in videos:
        try:
            found[video] = hashlib.sha256(read_frames(video, [0]).tobytes()).hexdigest()
        except (DecodeError, IndexError) as error:
            found[video] = f"error: {error}"
    return found


def try_storage(folder: str, *, name: str, token: bytes) -> str:
    """Read the launcher's file in `folder`, and write, read and delete one there; returns what went wrong."""
    try:
        if read_bytes(join(folder, TOKEN_FILE)) != token:
            return "reads another file than this process wrote"
    except FileNotFoundError:
        return "does not see what this process wrote: it is not the same storage"
    except OSError as error:
        return f"cannot read: {error}"
    try:
        own = join(folder, name, "probe")
        write_bytes(own, token)
        if read_bytes(own) != token:
            return "reads something else than it wrote"
        delete_tree(join(folder, name))
    except OSError as error:
        return f"cannot write: {error}"
    return ""


class NodeProbe:
    """Lives on the node it looks at, as an actor."""

    def clock(self) -> float:
        """Seconds since 1970, by the node's clock."""
        return time.time()

    def report(
        self,
        node: str,
        *,
        storage: str,
        token: bytes,
        videos: Sequence[str],
        step: tuple[FrameworkSpec, str, int],
        expected: StepFigures,
    ) -> NodeReport:
        """All but the clock.

        Args:
            node: its name.
            storage: folder that holds the launcher's file.
            token: content of that file.
            videos: files to open.
            step: arguments of the training step.
            expected: what it comes to in the launcher.
        """
        began = time.perf_counter()
        problem = try_storage(storage, name=node.replace("/", "-"), token=token)
        took = time.perf_counter() - began
        framework, family, count = step
        return NodeReport(
            node=node,
            versions=versions(),
            storage_seconds=took,
            storage_error=problem,
            frames=first_frames(videos),
            step_error=disagreement(reference_step(framework, family, videos=count), expected),
        )


def ask_nodes(**question: Any) -> list[NodeReport]:
    """Reports of all nodes of the connected cluster; a node that cannot answer says why.

    Args:
        question: arguments of `NodeProbe.report` but for the node.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = _names([node for node in ray.nodes() if node["Alive"]])
    probe = ray.remote(num_cpus=0, max_restarts=0)(NodeProbe)
    actors = {
        name: probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote()
        for name, node_id in nodes.items()
    }
    answers = {name: actor.report.remote(name, **question) for name, actor in actors.items()}
    return [_answer(name, actors[name], answers[name]) for name in actors]


def _answer(name: str, actor: Any, answer: Any) -> NodeReport:
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    try:
        report: NodeReport = ray.get(answer, timeout=_ANSWER_SECONDS)
        offset, error = min((_clock(actor) for _ in range(_CLOCK_TRIES)), key=lambda pair: pair[1])
    except GetTimeoutError:
        return NodeReport(node=name, error=f"no answer within {_ANSWER_SECONDS:g} s")
    except RayError as error:
        return NodeReport(node=name, error=f"cannot run our code: {str(error).strip().splitlines()[-1]}")
    finally:
        ray.kill(actor)
    return NodeReport(**{**vars(report), "clock_offset": offset, "clock_error": error})


def _clock(actor: Any) -> tuple[float, float]:
    """Seconds that the node's clock is ahead, and the half of the round trip that this may be off by."""
    import ray

    asked = time.time()
    there = ray.get(actor.clock.remote(), timeout=_ANSWER_SECONDS)
    answered = time.time()
    return there - (asked + answered) / 2, (answered - asked) / 2


def _names(nodes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Host name of each node (with its address where a name is there twice) -> id."""
    hosts = [str(node["NodeManagerHostname"]) for node in nodes]
    return {
        host if hosts.count(host) == 1 else f"{host}/{node['NodeID'][:6]}": str(node["NodeID"])
        for host, node in zip(hosts, nodes, strict=True)
    }
