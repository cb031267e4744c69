"""Wrong inputs: exit code 2, one clear message, no traceback, and nothing run."""

import sys

import pytest
import yaml

from lstcl_platform.cli.main import main
from tests.helpers.study import make_study_videos, study_values


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_study_videos(tmp_path_factory.mktemp("videos"), train=4, val=2)


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Launches a spec text and returns the message it is refused with."""

    def launch(text: str) -> str:
        spec = tmp_path / "exp.yaml"
        spec.write_text(text)
        monkeypatch.setattr(sys, "argv", ["lstcl-platform", "launch", str(spec)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert not (tmp_path / "runs" / "train").exists()
        message = capsys.readouterr().err
        assert "Traceback" not in message
        return message

    return launch


@pytest.fixture
def spec_text(videos, tmp_path):
    def text(**changes) -> str:
        return yaml.safe_dump(study_values(videos, tmp_path / "runs", **changes))

    return text


def test_a_misspelt_key_is_named_with_its_line_and_the_nearest_name(refused, spec_text):
    text = spec_text(pretrain__epochz=3)
    line = next(number for number, row in enumerate(text.splitlines(), start=1) if "epochz" in row)
    message = refused(text)
    assert f"exp.yaml:{line}" in message
    assert "pretrain.epochz" in message
    assert "'epochs'" in message


def test_a_duplicate_key_is_refused(refused, spec_text):
    message = refused(spec_text() + "name: again\n")
    assert "name" in message
    assert "twice" in message or "duplicate" in message


def test_a_short_stride_above_the_long_one_is_refused_naming_both(refused, spec_text):
    message = refused(spec_text(pretrain__clips__short_stride=8))
    assert "short_stride" in message
    assert "long_stride" in message


def test_a_missing_data_folder_is_named(refused, spec_text, tmp_path):
    assert str(tmp_path / "nowhere") in refused(spec_text(data__train=str(tmp_path / "nowhere")))


def test_a_batch_that_the_workers_cannot_share_is_refused_with_both_numbers(refused, spec_text):
    message = refused(spec_text(resources__workers=3))
    assert "batch_size" in message
    assert "resources.workers" in message
    assert "3" in message


@pytest.mark.parametrize("block", ["pretrain", "finetune"])
def test_a_batch_that_the_videos_cannot_fill_is_refused_before_a_stage_runs(refused, spec_text, block):
    message = refused(spec_text(**{f"{block}__batch_size": 8}))
    assert f"{block}.batch_size is 8" in message
    assert "has only 4 videos" in message


def test_a_file_that_is_not_yaml_is_refused_with_its_line(refused):
    assert "exp.yaml:2" in refused("name: [1, 2\n  : }")


def test_a_folder_without_a_video_is_named(refused, spec_text, tmp_path):
    (tmp_path / "empty" / "class").mkdir(parents=True)
    (tmp_path / "empty" / "class" / "readme.txt").write_text("no video")
    assert "no video" in refused(spec_text(data__train=str(tmp_path / "empty")))


def test_an_unreadable_manifest_is_named(refused, spec_text, tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 but not really")
    assert "train.parquet" in refused(spec_text(data__train=str(tmp_path / "train.parquet")))


def test_a_missing_spec_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["lstcl-platform", "launch", str(tmp_path / "none.yaml")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "none.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"tracking__uri": "postgresql+psycopg://me:hunter2hunter2@/x?host=/nowhere"},
        {"tracking__uri": "postgresql://me:hunter2hunter2@127.0.0.1:1/x"},
        {"tracking__uri": "http://me:hunter2hunter2@127.0.0.1:1"},
        {"tracking": "http://me:hunter2hunter2@127.0.0.1:1"},
        {"storage__path": "s3://me:hunter2hunter2@bucket/x"},
        {"data__train": "https://host/x?token=hunter2hunter2"},
        {"model__init": {"kind": "file", "file": "/nowhere/hunter2hunter2"}},
    ],
)
def test_no_message_repeats_a_secret(refused, spec_text, changes, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hunter2hunter2")
    assert "hunter2" not in refused(spec_text(**changes))
