from typer.testing import CliRunner

from lstcl_platform.cli.main import app
from lstcl_platform.specs import UserError


def refusal(*arguments):
    done = CliRunner().invoke(app, ["data", "prepare", *map(str, arguments)])
    assert isinstance(done.exception, UserError)
    return str(done.exception)


def test_wrong_input_is_refused_before_ray_starts(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "x.mp4").touch()
    out = tmp_path / "out"
    assert "nowhere: no such file or folder" in refusal(tmp_path / "nowhere", "-o", out)
    assert "--strides 0" in refusal(tmp_path / "set", "-o", out, "--strides", "0")
    assert "a manifest has no layout to keep" in refusal(tmp_path / "m.parquet", "-o", out)
    assert "lies inside the folder of the videos" in refusal(tmp_path / "set", "-o", tmp_path / "set" / "out")
    assert not out.exists()
