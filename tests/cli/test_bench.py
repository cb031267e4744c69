import re

import pytest
from typer.testing import CliRunner

from lstcl_platform.cli.main import app
from lstcl_platform.specs import UserError
from tests.helpers.study import make_study_videos, study_values, write_spec
from tests.helpers.videos import make_video


@pytest.fixture(scope="module")
def study_videos(tmp_path_factory):
    return make_study_videos(tmp_path_factory.mktemp("videos"), train=4, val=2)


def invoke(*arguments):
    return CliRunner().invoke(app, ["bench", "ingest", *map(str, arguments)])


def test_a_stage_that_the_trial_lacks_is_refused_before_ray_starts(tmp_path, study_videos):
    values = study_values(study_videos, tmp_path / "runs", pretrain=None, finetune__batch_size=2)
    refused = invoke(write_spec(tmp_path / "tiny.yaml", values))
    assert isinstance(refused.exception, UserError)
    assert "has no pretrain, only finetune, evaluate" in str(refused.exception)


def test_decode_prints_a_table_and_refuses_other_strides(study_videos):
    command = [
        "bench",
        "decode",
        str(study_videos / "val"),
        "--strides",
        "2,8",
        "--frames",
        "4",
        "--rounds",
        "1",
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "ours is faster by" in done.stdout
    assert "1.00x" in done.stdout
    assert "data prepare" not in done.stdout
    command[4] = "2,x"
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, UserError)
    assert "--strides 2,x" in str(refused.exception)


def test_decode_measures_other_forms_of_the_videos_in_the_same_run(tmp_path):
    video = make_video(tmp_path / "v.mp4", frames=20, side=48)
    command = ["bench", "decode", str(video), "--strides", "2", "--frames", "2", "--rounds", "1"]
    done = CliRunner().invoke(app, [*command, "--clips", "2", "--gops", "4,10", "--prepared"])
    assert done.exit_code == 0, done.output
    groups = re.findall(r"(\w+) samples, videos (.+?) +│", done.stdout)
    forms = ["as they are", "x264, keyframe every 4", "x264, keyframe every 10", "prepared"]
    assert groups == [(samples, form) for form in forms for samples in ("pretraining", "evaluation")]
    assert re.search(r"`lstcl-platform data prepare` would give \d+\.\d times", done.stdout)
    refused = CliRunner().invoke(app, [*command, "--gops", "0"])
    assert "--gops 0: expected whole numbers" in str(refused.exception)


def test_decode_recommends_preparing_large_videos(tmp_path):
    video = make_video(tmp_path / "large.mp4", frames=4, side=400)
    command = ["bench", "decode", str(video), "--strides", "1", "--frames", "2", "--rounds", "1"]
    done = CliRunner().invoke(app, command)
    assert "1 of 1 video much larger than clips need: `lstcl-platform data prepare`" in done.stdout
