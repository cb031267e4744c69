import pytest
from typer.testing import CliRunner

from lstcl_platform.cli.data import data_app
from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.manifest import Manifest
from tests.helpers.videos import make_labelled_folder


@pytest.fixture
def folder(tmp_path):
    folder = make_labelled_folder(tmp_path / "set", classes=2, videos=2, frames=30, side=16)
    (folder / "class_1" / "bad.mp4").write_text("no video")
    return folder


def index(*arguments):
    return CliRunner().invoke(data_app, ["index", *map(str, arguments)])


def test_index_writes_the_manifest_and_names_the_problems(folder, tmp_path):
    result = index(folder, "-o", tmp_path / "out" / "m.parquet")
    assert result.exit_code == 0
    manifest = Manifest.load(tmp_path / "out" / "m.parquet")
    assert len(manifest) == 5
    for line in (
        "videos    5 (4 usable)",
        "classes   2 (2 to 2 usable",
        "hours     0.00",
        f"digest    {manifest.digest}",
        "problems  1 video cannot be used:",
        "  class_1/bad.mp4: unreadable: Invalid data found",
    ):
        assert line in result.stdout
    # No terminal: plain lines instead of a bar.
    assert "5 of 5" in result.stderr
    assert "\x1b" not in result.output


def test_index_lands_in_the_current_folder_and_is_updated(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert index("set").exit_code == 0
    assert len(Manifest.load("set.parquet")) == 5
    (folder / "class_1" / "bad.mp4").unlink()
    result = index("set")
    assert "videos    4 (4 usable)" in result.stdout
    assert "problems" not in result.stdout


def test_wrong_input_is_a_user_error(folder, tmp_path):
    assert isinstance(index(tmp_path / "none").exception, UserError)
    (tmp_path / "taken.parquet").write_text("something else")
    result = index(folder, "-o", tmp_path / "taken.parquet")
    assert isinstance(result.exception, UserError)
    assert (tmp_path / "taken.parquet").read_text() == "something else"
