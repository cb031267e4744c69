from typer.testing import CliRunner

from lstcl_platform.cli.main import app
from lstcl_platform.specs.errors import UserError


def test_a_source_that_is_missing_is_refused_before_ray_starts(tmp_path):
    refused = CliRunner().invoke(app, ["data", "check", str(tmp_path / "none")])
    assert isinstance(refused.exception, UserError)
    assert "no such file or folder" in str(refused.exception)
