"""What a session says about groups that did not run, in a pytest of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
TESTS = """
import pytest

@pytest.mark.long
def test_long(): pass

@pytest.mark.browser
def test_browser(): pass

@pytest.mark.kills
def test_kills(): pass

@pytest.mark.autoscaling
def test_autoscaling(): pass

@pytest.mark.postgresql
def test_postgresql(): pass

@pytest.mark.cluster
def test_cluster(): pass

def test_unit(): pass
"""
MARKERS = ("cluster", "kills", "autoscaling", "postgresql", "browser", "long")
SETTINGS = "[pytest]\naddopts = -m 'not long'\nmarkers =\n" + "".join(f"  {name}: x\n" for name in MARKERS)


@pytest.fixture
def session(tmp_path):
    """Runs pytest on one test of each group, with or without the programs of the browser group."""
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    (tmp_path / "test_groups.py").write_text(TESTS)
    programs = tmp_path / "programs"
    programs.mkdir()

    def run(*arguments: str, tools: bool, strict: bool) -> tuple[int, str]:
        for name in ("chromium", "chromedriver", "initdb", "pg_ctl", "postgres") if tools else ():
            (programs / name).touch(mode=0o755)
        outer = ("LSTCL_ALL_GROUPS", "PYTEST_ADDOPTS")
        environment = {name: value for name, value in os.environ.items() if name not in outer}
        environment |= {"PATH": str(programs), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        environment |= {"LSTCL_ALL_GROUPS": "1"} if strict else {}
        command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        return done.returncode, done.stdout

    return run


def test_fast_groups_run_first_and_what_was_left_out_is_said(session):
    status, output = session(tools=False, strict=False)
    assert status == 0
    order = [
        output.index(f"::test_{name} ")
        for name in ("unit", "postgresql", "cluster", "autoscaling", "kills", "browser")
    ]
    assert order == sorted(order)
    assert "browser     LEFT OUT: no chromium and no chromedriver here" in output
    assert "then: pytest -m browser" in output
    assert "long        LEFT OUT: takes minutes to hours; run with: pytest -m long" in output
    assert "cluster     1 of 1 ran" in output


def test_with_all_groups_a_missing_tool_fails_and_long_does_not(session):
    status, output = session(tools=False, strict=True)
    assert status == 1
    assert "browser     LEFT OUT" in output
    status, output = session(tools=True, strict=True)
    assert status == 0
    assert "6 passed, 1 deselected" in output
    assert "long        LEFT OUT" in output


def test_with_all_groups_a_group_without_tests_fails(session):
    status, output = session("--deselect", "test_groups.py::test_kills", tools=True, strict=True)
    assert status == 1
    assert "kills       LEFT OUT: no test of it was selected" in output


def test_the_markers_of_the_project_are_the_groups(pytestconfig):
    declared = {line.split(":")[0] for line in pytestconfig.getini("markers")}
    assert {"cluster", "kills", "autoscaling", "postgresql", "browser", "long"} <= declared
