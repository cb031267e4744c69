"""200 malformed experiment files: exit code 2, one message that a person can read, no traceback, at once."""

import sys
import time

import pytest

from lstcl_platform.cli.main import main
from lstcl_platform.specs.problems import MAX_CHARACTERS, MAX_LINES
from tests.helpers.study import run_cli
from tests.specs.mutations import mutations


@pytest.fixture(scope="module")
def malformed():
    return mutations()


def wrong_with(status: object, message: str, name: str) -> str | None:
    """What is wrong with an answer, or None."""
    if status != 2:
        return f"exit code {status}"
    if not message.startswith("error: ") or message.count("error: ") > 1 or "Traceback" in message:
        return f"not one message: {message[:300]}"
    if name not in message.splitlines()[0]:
        return f"the file is not named: {message[:300]}"
    lines = message.splitlines()
    if len(lines) > MAX_LINES + 2 or max(map(len, lines)) > MAX_CHARACTERS + 10:
        return f"{len(lines)} lines of up to {max(map(len, lines))} characters"
    return None


def test_each_is_refused_with_one_message(malformed, tmp_path, monkeypatch, capsys):
    assert len(malformed) == 200
    found, seconds = {}, {}
    for mutation in malformed:
        spec = tmp_path / "exp.yaml"
        spec.write_bytes(mutation.content)
        monkeypatch.setattr(sys, "argv", ["lstcl-platform", "plan", "--no-cache", str(spec)])
        began, status = time.process_time(), None
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        except BaseException as error:
            found[mutation.name] = f"raised {type(error).__name__}: {str(error)[:300]}"
            continue
        seconds[mutation.name] = time.process_time() - began
        captured = capsys.readouterr()
        captured.err.encode()  # or no terminal could show it
        if (wrong := wrong_with(status, captured.err, "exp.yaml")) is not None or captured.out:
            found[mutation.name] = wrong or f"printed {captured.out[:300]}"
    assert not found
    slowest = max(seconds, key=seconds.__getitem__)
    print(f"slowest: {slowest}, {seconds[slowest]:.2f} s of CPU time")
    assert seconds[slowest] < 5, f"{slowest}: a second is meant, on any machine in use"


@pytest.mark.parametrize("name", ["a surrogate as the name", "a grid of 10^13 cells", "utf-16"])
def test_so_does_a_launch_in_a_process_of_its_own(malformed, tmp_path, name):
    mutation = next(mutation for mutation in malformed if mutation.name.endswith(name))
    (tmp_path / "exp.yaml").write_bytes(mutation.content)
    ended = run_cli("launch", tmp_path / "exp.yaml")
    assert wrong_with(ended.returncode, ended.stderr, "exp.yaml") is None
    assert not ended.stdout
