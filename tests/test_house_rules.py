"""Rules of the house that no linter knows: lengths, machine paths, reasons, the public surface, true documents."""

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from lstcl_platform.cli.main import app
from lstcl_platform.specs import expand, load_experiment

ROOT = Path(__file__).parents[1]
PYTHON = ("lstcl_platform", "tests", "benchmarks")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
COMMANDS = {
    "launch",
    "plan",
    "resume",
    "status",
    "stop",
    "logs",
    "clean",
    "doctor",
    "compare",
    "report",
    "predict",
    "embed",
    "export",
    "schema",
    "data check",
    "data index",
    "data prepare",
    "data show",
    "data synthesize",
    "bench decode",
    "bench ingest",
    "bench step",
}
"""The public surface: a command that comes or goes is a decision, not a side effect."""
MACHINE_PATH = re.compile(r"(?<![\w.*}/])/(?:work|home|root|Users|tmp/venv)/")
SILENCED = re.compile(r"#\s*(?:type:\s*ignore|noqa|pragma)\b")
SILENCED_WITH_REASON = re.compile(
    r"# (?:type: ignore\[[\w, -]+\]|noqa: [A-Z]+\d+(?:, [A-Z]+\d+)*) +(?:#|--|\() *\S+ \S+"
)
SHELL = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NAMED_PATH = re.compile(r"`((?:lstcl_platform|tests|experiments|benchmarks|\.ci)/[\w./-]*)`")


def tracked(*suffixes: str) -> list[Path]:
    """Files of the project with one of `suffixes`: what git holds or, in an unpacked archive, all."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        files = [ROOT / name for name in listed.stdout.splitlines()]
    else:
        files = [path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.parts)]
    return sorted(path for path in files if path.name.endswith(suffixes) and path.is_file())


def python_files() -> list[Path]:
    files = [path for path in tracked(".py") if path.relative_to(ROOT).parts[0] in PYTHON]
    assert len(files) > 100, "the search for files is broken"
    return files


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring, which is as long as what it promises."""
    end = function.end_lineno or function.lineno
    lines = end - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_files_and_functions_are_short():
    long = []
    for path in python_files():
        text = path.read_text()
        if (lines := len(text.splitlines())) > MAX_FILE_LINES:
            long.append(f"{name(path)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and (lines := code_lines(node)) > MAX_FUNCTION_LINES:
                long.append(f"{name(path)}:{node.lineno}: {node.name} has {lines} lines")
    assert not long


def matching_lines(files: list[Path], pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    for path in files:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if pattern.search(line):
                yield f"{name(path)}:{number}", line


def test_no_path_of_a_machine():
    files = [
        path for path in tracked(".py", ".md", ".yaml", ".toml", ".json", "run") if path != Path(__file__)
    ]
    assert not list(matching_lines(files, MACHINE_PATH))


def test_a_silenced_check_says_why():
    files = [path for path in python_files() if path != Path(__file__)]
    found = list(matching_lines(files, SILENCED))
    assert found, "the pattern is broken: some lines must silence a check of untyped libraries"
    assert not [place for place, line in found if not SILENCED_WITH_REASON.search(line)]


def commands(group: TyperGroup, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for word, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{prefix}{word} ")
        else:
            yield f"{prefix}{word}", command


@pytest.fixture(scope="module")
def surface() -> dict[str, Any]:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return dict(commands(group))


def test_the_commands_are_the_decided_ones(surface):
    assert set(surface) == COMMANDS


def shell_lines(path: Path) -> list[str]:
    return [line for block in SHELL.findall(path.read_text()) for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_documented_commands_exist(surface, document):
    calls = [
        call.strip()
        for line in shell_lines(ROOT / document)
        for call in line.split("#")[0].split("&&")
        if call.strip().startswith("lstcl-platform ")
    ]
    for call in calls:
        words = shlex.split(call)[1:]
        known = next((key for key in (" ".join(words[:2]), words[0]) if key in surface), None)
        assert known, f"{document}: no such command: {call}"
        options = {option for parameter in surface[known].params for option in parameter.opts}
        unknown = [word for word in words if word.startswith("-") and word.split("=")[0] not in options]
        assert not unknown, f"{document}: {known} has no option {unknown}: {call}"
    if document == "README.md":
        assert {call.split()[1] for call in calls} >= {"launch", "plan", "status", "compare", "schema"}


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_documented_files_exist(document):
    text = (ROOT / document).read_text()
    named = set(NAMED_PATH.findall(text)) | set(re.findall(r"experiments/\w+\.yaml", text))
    assert named
    assert not sorted(path for path in named if not (ROOT / path).exists())


def test_the_study_of_the_readme_can_be_planned(tmp_path):
    (text,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    spec = tmp_path / "my_study.yaml"
    spec.write_text(text)
    assert len(expand(load_experiment(spec)).trials) == 5, "the text before it says five cells"


def test_the_gate_runs_the_test_command_of_the_readme():
    """`.ci/run` takes the one line of README that ends in `&& pytest`; there must be one, and no second."""
    lines = [line for line in shell_lines(ROOT / "README.md") if line.endswith("&& pytest")]
    assert len(lines) == 1
    assert "&& pytest$" in (ROOT / ".ci" / "run").read_text()
