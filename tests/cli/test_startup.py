"""The command line answers at once: nothing heavy is loaded for help or for a message about a spec."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "torchvision", "ray", "mlflow", "timm", "kornia", "av", "pyarrow", "matplotlib"}
RUN = """
import json, sys
from lstcl_platform.cli.main import main
modules, *sys.argv = sys.argv[1:]
try:
    main()
finally:
    open(modules, "w").write(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""


def run(tmp_path: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], set[str], float]:
    """Run the command line; returns the process, the top-level modules it loaded, and its CPU seconds."""
    modules = tmp_path / "modules.json"
    command = [sys.executable, "-c", RUN, str(modules), "lstcl-platform", *arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return process, set(json.loads(modules.read_text())), seconds


@pytest.fixture
def bad_spec(tmp_path: Path) -> str:
    (tmp_path / "bad.yaml").write_text("name: bad\ndata: {train: a, val: b}\npretrain:\n  epochz: 3\n")
    return "bad.yaml"


def test_help_loads_nothing_heavy(tmp_path):
    process, modules, _ = run(tmp_path, "--help")
    assert process.returncode == 0
    assert "plan" in process.stdout
    assert not modules & HEAVY


def test_a_wrong_spec_exits_2_with_its_message_and_loads_nothing_heavy(tmp_path, bad_spec):
    process, modules, _ = run(tmp_path, "plan", bad_spec)
    assert process.returncode == 2
    assert "bad.yaml:4: pretrain.epochz: unknown field; did you mean 'epochs'?" in process.stderr
    assert "Traceback" not in process.stderr
    assert process.stdout == ""
    assert not modules & HEAVY


def test_the_answer_comes_within_a_second(tmp_path, bad_spec):
    # CPU time and the best of three: the machine that runs the tests may be busy.
    for arguments in (["--help"], ["plan", bad_spec]):
        assert min(run(tmp_path, *arguments)[2] for _ in range(3)) < 1.0
