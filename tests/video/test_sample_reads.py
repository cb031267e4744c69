import subprocess
import sys

import numpy as np
import pytest

from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.errors import StorageError, UserError
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import PretrainSpec
from lstcl_platform.video.decoding import DecodeError
from lstcl_platform.video.indexing import index_videos
from lstcl_platform.video.sample_reads import (
    Patience,
    SampleRef,
    WatchedReads,
    read_checked,
)
from lstcl_platform.video.samples import PretrainSamples
from tests.helpers.videos import damage, make_labelled_folder

TORN = 2


class Kept:
    """Verdicts in memory."""

    def __init__(self):
        self.found: dict[tuple[int, int], str] = {}
        self.looks = 0

    def settled(self, ref, *, look):
        self.looks += look
        return self.found.get((ref.row, ref.epoch))

    def add(self, ref, problem, *, settled):
        self.found[ref.row, ref.epoch] = problem


@pytest.fixture
def samples(tmp_path):
    """Six videos, one of which is torn in a place that indexing does not look at."""
    folder = make_labelled_folder(tmp_path / "set", classes=2, videos=3, frames=40, side=32)
    damage(folder / "class_0" / "video_2.mp4")
    manifest = index_videos(folder)
    assert not manifest.problems
    manifest.save(folder / "m.parquet")
    return PretrainSamples(
        manifest=folder / "m.parquet",
        data=DataSpec(train="train", val="val", max_bad_fraction=0.5),
        model=ModelSpec(name="st_swin_micro", frames=4, image_size=16),
        pretrain=PretrainSpec(batch_size=2),
    )


def test_a_torn_video_is_bad(samples):
    with pytest.raises(DecodeError, match=r"video_2\.mp4: "):
        read_checked(SampleRef(samples, TORN, 0))


def test_an_error_that_does_not_come_again_costs_nothing(samples):
    class Flaky(PretrainSamples):
        failures = 1

        def draw(self, row, epoch):
            if self.failures:
                self.failures -= 1
                raise DecodeError(str(self.file(row)), "Input/output error")
            return super().draw(row, epoch)

    flaky = Flaky(
        manifest=samples.manifest, data=samples.data, model=samples.model, pretrain=samples.pretrain
    )
    got = read_checked(SampleRef(flaky, 0, 0))
    assert np.array_equal(got["short"], samples.draw(0, 0)["short"])


def test_a_file_that_is_gone_stops_and_is_not_replaced(samples):
    samples.file(1).unlink()
    with pytest.raises(
        StorageError, match=r"video_1\.mp4 cannot be read \(No such file.*No video was replaced"
    ):
        samples(np.arange(6))


def test_a_file_that_has_changed_stops_and_is_not_replaced(samples):
    damage(samples.file(1))
    with pytest.raises(UserError, match=r"video_1\.mp4 has changed since it was indexed"):
        samples(np.arange(6))
    samples.file(1).write_bytes(b"")
    with pytest.raises(UserError, match=r"bytes then, 0 now"):
        samples(np.arange(6))


def test_watched_reads_keep_and_obey_verdicts(samples):
    kept = Kept()
    read = WatchedReads(kept, Patience())
    positions = np.arange(6)
    batch = samples(positions, read=read)
    planned = samples.plan.locate(positions)[1]
    assert set(kept.found) == {(TORN, 0)}
    assert kept.looks == 1  # for the stand-in
    assert np.flatnonzero(batch["bad"] != "").tolist() == np.flatnonzero(planned == TORN).tolist()

    good = int(planned[0] if planned[0] != TORN else planned[1])
    kept.found[good, 0] = "crashes the decoder"
    again = samples(positions, read=WatchedReads(kept, Patience()))
    assert sorted(again["video"][again["bad"] == ""].tolist()) == sorted(set(range(6)) - {TORN, good})


def test_counts_of_frames(samples):
    batch = samples(np.arange(2))
    assert batch["frames_used"].tolist() == [8, 8]
    assert (batch["frames_decoded"] >= 4).all()


def test_a_hang_in_native_code_ends_the_process():
    code = (
        "import ctypes; from lstcl_platform.video.sample_reads import deadline\n"
        "with deadline(0.2): pass\n"
        "print('in time', flush=True)\n"
        "with deadline(0.2): ctypes.PyDLL(None).pause()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "in time\n")
    assert "line 4" in ended.stderr
