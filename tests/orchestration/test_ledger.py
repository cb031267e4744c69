import csv
from pathlib import Path

import pytest

from lstcl_platform.orchestration.ledger import FOLDER, Ledger
from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import PretrainSpec
from lstcl_platform.video.indexing import index_videos
from lstcl_platform.video.sample_reads import SampleRef
from lstcl_platform.video.samples import PretrainSamples
from tests.helpers.videos import make_labelled_folder


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = make_labelled_folder(tmp_path_factory.mktemp("set"), classes=2, videos=3, frames=10, side=32)
    index_videos(folder).save(folder / "m.parquet")
    return PretrainSamples(
        manifest=folder / "m.parquet",
        data=DataSpec(train="train", val="val", max_bad_fraction=0.34),
        model=ModelSpec(name="st_swin_micro", frames=4, image_size=16),
        pretrain=PretrainSpec(batch_size=2),
    )


def test_what_is_settled_holds_for_that_sample_and_for_everybody_from_then_on(samples, tmp_path: Path):
    crashed = SampleRef(samples, 1, 4)
    early = Ledger.open(str(tmp_path))
    early.add(crashed, "crashes", settled=True)
    early.add(SampleRef(samples, 2, 0), "torn", settled=False)
    assert early.settled(crashed, look=False) is None
    assert early.settled(crashed, look=True) == "crashes"
    late = Ledger.open(str(tmp_path))
    assert late.settled(crashed, look=False) == "crashes"
    for other in (SampleRef(samples, 1, 5), SampleRef(samples, 2, 0), SampleRef(samples, 0, 4)):
        assert late.settled(other, look=True) is None


def test_a_verdict_is_kept_once_and_damage_in_other_words_is_the_same_data(samples, tmp_path: Path):
    one, other, none = (Ledger(str(tmp_path / name)) for name in ("one", "other", "none"))
    for epoch in (3, 0, 7):
        one.add(SampleRef(samples, 2, epoch), "torn", settled=False)
    other.add(SampleRef(samples, 2, 9), "torn apart", settled=False)
    assert [bad.epoch for bad in one.verdicts()] == [3]
    assert none.effective_digest(samples.digest) == samples.digest
    assert one.effective_digest(samples.digest) == other.effective_digest(samples.digest) != samples.digest
    other.add(SampleRef(samples, 2, 9), "hangs", settled=True)
    assert one.effective_digest(samples.digest) != other.effective_digest(samples.digest)


def test_too_many_bad_videos_stop_naming_them(samples, tmp_path: Path):
    ledger = Ledger(str(tmp_path))
    for row in (0, 1, 1):
        ledger.add(SampleRef(samples, row, row), "torn", settled=True)
        ledger.add(SampleRef(samples, row, 5), "torn", settled=True)
    with pytest.raises(
        UserError, match=r"3 of 6 videos cannot be used.*max_bad_fraction.*video_0\.mp4: torn"
    ):
        ledger.add(SampleRef(samples, 5, 0), "torn", settled=False)


def test_the_table_names_video_epoch_and_error(samples, tmp_path: Path):
    ledger = Ledger(str(tmp_path / "stage"))
    assert ledger.write_table(str(tmp_path)) is None
    ledger.add(SampleRef(samples, 4, 2), "hangs, often", settled=True)
    (tmp_path / "stage" / FOLDER / ".00000001-partial.json.123.partial").write_text("{")
    location = ledger.write_table(str(tmp_path))
    with open(location, newline="") as file:
        (line,) = csv.DictReader(file)
    assert (line["path"], line["epoch"], line["problem"]) == (str(samples.file(4)), "2", "hangs, often")
