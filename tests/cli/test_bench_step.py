"""`bench step` as a person types it."""

import json

import pytest
from typer.testing import CliRunner

from lstcl_platform.cli.main import app
from lstcl_platform.planning.rates import load_rates
from lstcl_platform.specs import UserError
from tests.helpers.study import study_values, write_spec

SMALL = ["--model", "st_swin_micro", "--frames", "2", "--image-size", "16", "--batch", "2", "--device", "cpu"]


def invoke(*arguments):
    return CliRunner().invoke(app, ["bench", "step", *map(str, arguments)])


def test_json_has_the_figures_of_the_experiments_step(tmp_path):
    spec = write_spec(tmp_path / "tiny.yaml", study_values(tmp_path / "videos", tmp_path / "runs"))
    file = tmp_path / "rates.yaml"
    options = ["--framework", "simsiam", "--seconds", "0", "--peak-tflops", "1", "--rates", file]
    done = invoke(*SMALL, *options, "--format", "json", spec)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    (row,) = found["rows"]
    assert row["name"].startswith("ours, ")
    assert row["mfu"] == pytest.approx(row["tflops"])
    assert sum(row["parts"].values()) == pytest.approx(1)
    assert row["parts"]["momentum update"] == 0  # SimSiam has no momentum encoder
    (rate,) = load_rates(file).stages
    assert (rate.stage, rate.framework, rate.frames) == ("pretrain", "simsiam", 2)
    assert rate.samples_per_second == pytest.approx(row["samples_per_second"])


def test_a_rate_of_another_depth_is_of_no_use_to_a_plan(tmp_path):
    refused = invoke(*SMALL, "--depth", "1", "--seconds", "0", "--rates", tmp_path / "rates.yaml")
    assert "with --depth it is another model" in str(refused.exception)


def test_numerics_are_a_table():
    done = invoke(*SMALL, "--depth", "1", "--precision", "fp32", "--numerics")
    assert done.exit_code == 0, done.output
    assert "bf16, accumulation_steps 2" in done.stdout


@pytest.mark.parametrize(
    ("depth", "message"), [("1,x", "--depth 1,x: expected whole numbers"), ("1,2", "depth takes 1 numbers")]
)
def test_a_depth_that_the_model_lacks_is_refused(depth, message):
    refused = invoke(*SMALL, "--depth", depth, "--seconds", "0")
    assert isinstance(refused.exception, UserError)
    assert message in str(refused.exception)
