"""A small experiment file, and a way to write variants of it."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

Write = Callable[..., Path]

BASE = """\
name: study
data:
  train: clips/train
  val: clips/val
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write `BASE` plus the given text (or the text alone) to a file and return its path."""

    def _write(text: str = "", *, base: str = BASE, name: str = "exp.yaml") -> Path:
        path = tmp_path / name
        path.write_text(base + dedent(text))
        return path

    return _write
