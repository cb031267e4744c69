"""Who asked for a launch, and with which code: what it takes to run it again."""

import shlex
import subprocess
import sys
from pathlib import Path

from lstcl_platform import __version__

COMMAND, COMMIT = "mlflow.source.name", "mlflow.source.git.commit"
"""MLflow's own names, which its pages show."""
VERSION, CHANGED = "lstcl.version", "lstcl.uncommitted"

_GIT_SECONDS = 10


def origin_tags() -> dict[str, str]:
    """Tags of a launch: the command, the version, and where the code is a git checkout its commit.

    `CHANGED` is ``yes`` when files of that commit were edited, so that the commit alone does not say what ran.
    """
    tags = {COMMAND: _command(), VERSION: __version__}
    package = Path(__file__).parents[1]
    # A package installed inside somebody's repository is no part of it: git must hold this very file.
    if _git(package, "ls-files", "--error-unmatch", __file__) is None:
        return tags
    commit, edited = _git(package, "rev-parse", "HEAD"), _git(package, "status", "--porcelain", "-uno")
    if commit:
        tags |= {COMMIT: commit, CHANGED: "yes" if edited else "no"}
    return tags


def _command() -> str:
    program = Path(sys.argv[0]).name
    return shlex.join(["lstcl-platform" if program in ("", "-c") else program, *sys.argv[1:]])


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None where there is no git, no repository or no answer."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
