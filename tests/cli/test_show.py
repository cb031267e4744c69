import pytest
from typer.testing import CliRunner

from lstcl_platform import storage
from lstcl_platform.cli.main import app
from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.indexing import index_videos
from tests.helpers.study import make_study_videos, study_values, write_spec


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    videos = make_study_videos(folder, train=4, val=2)
    (videos / "train" / "jump" / "bad.mp4").write_text("no video")
    index_videos(videos / "train").save(folder / "train.parquet")
    spec = write_spec(folder / "tiny.yaml", study_values(videos, folder / "runs"))
    no_pretrain = study_values(videos, folder / "runs", pretrain=None, finetune__batch_size=2)
    return folder, spec, write_spec(folder / "none.yaml", no_pretrain)


def show(*arguments):
    return CliRunner().invoke(app, ["data", "show", *map(str, arguments)])


def test_a_video_and_a_row_of_a_manifest_give_the_same_kind_of_sheet(study, tmp_path):
    folder, spec, _ = study
    video = folder / "train" / "jump" / "00.mp4"
    for number, source in enumerate((video, folder / "train.parquet")):
        sheet = tmp_path / f"{number}.png"
        done = show(source, "--spec", spec, "-o", sheet)
        assert done.exit_code == 0, done.output
        assert sheet.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()
    assert show(folder / "train.parquet", "--spec", spec, "--epoch", "1", "-o", sheet).exit_code == 0
    assert (tmp_path / "0.png").read_bytes() != sheet.read_bytes()


def test_wrong_input_is_named(study, tmp_path):
    folder, _, no_pretrain = study
    video, manifest, sheet = (
        folder / "train" / "jump" / "00.mp4",
        folder / "train.parquet",
        tmp_path / "s.png",
    )
    for arguments, message in (
        ((folder / "none.mp4",), "missing: no such file"),
        ((folder / "train",), "a folder; name one video in it"),
        ((manifest, "--row", "9"), "has rows 0 to 4"),
        ((manifest, "--row", "2"), "bad.mp4: unreadable"),
        ((video, "--row", "0"), "is one video"),
        ((video, "--spec", no_pretrain), "no pretrain"),
    ):
        refused = show(*arguments, "-o", sheet)
        assert isinstance(refused.exception, UserError), arguments
        assert message in str(refused.exception)
    assert not sheet.exists()


def test_a_video_in_a_bucket_has_the_sheet_of_the_same_file(study, s3, bucket, tmp_path):
    folder, spec, _ = study
    video = folder / "train" / "jump" / "00.mp4"
    storage.write_bytes(f"{bucket}/00.mp4", video.read_bytes())
    for number, source in enumerate((video, f"{bucket}/00.mp4")):
        done = show(source, "--spec", spec, "-o", tmp_path / f"{number}.png")
        assert done.exit_code == 0, done.output
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()
