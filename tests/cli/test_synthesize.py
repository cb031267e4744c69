from typer.testing import CliRunner

from lstcl_platform.cli.main import app
from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.synthetic import is_complete

SPEC = """
name: small
data:
  train: videos/train
  val: videos/val
"""
SYNTHETIC = """
  synthesize: {train_videos: 12, val_videos: 6, side: 16, seconds: 2.0}
model: {name: st_swin_micro, frames: 2, image_size: 32}
"""


def synthesize(*arguments):
    return CliRunner().invoke(app, ["data", "synthesize", *map(str, arguments)])


def test_renders_beside_the_spec_and_scores_the_baselines(tmp_path):
    spec = tmp_path / "small.yaml"
    spec.write_text(SPEC + SYNTHETIC)
    result = synthesize(spec, "--processes", 1)
    assert result.exit_code == 0, result.output
    assert is_complete(tmp_path / "videos" / "train")
    assert is_complete(tmp_path / "videos" / "val")
    for line in ("videos    12 + 6 (18 rendered now)", "  majority       0.167", "  mean frame     0."):
        assert line in result.stdout
    again = synthesize(spec, "--no-baselines")
    assert "12 + 6 (0 rendered now)" in again.stdout
    assert "mean frame" not in again.stdout


def test_a_spec_without_synthetic_data_is_refused(tmp_path):
    spec = tmp_path / "plain.yaml"
    spec.write_text(SPEC)
    result = synthesize(spec)
    assert isinstance(result.exception, UserError)
    assert "data.synthesize is not set" in str(result.exception)
