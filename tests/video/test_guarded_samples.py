import os
from dataclasses import replace

import numpy as np
import pytest

from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.errors import StorageError
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import PretrainSpec
from lstcl_platform.video.decoding import DecodeError
from lstcl_platform.video.guarded_samples import GuardedReads
from lstcl_platform.video.indexing import index_videos
from lstcl_platform.video.sample_reads import Patience, SampleRef
from tests.helpers.faults import HEALED, FaultySamples
from tests.helpers.videos import damage, make_video
from tests.video.test_sample_reads import Kept

NAMES = ("crash", "fine", "hang", "killed", "torn")
PATIENCE = Patience(seconds=6, failures=2)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    for number, name in enumerate(NAMES):
        make_video(folder / "class" / f"{name}_0.mp4", frames=40, side=32, seed=number)
    damage(folder / "class" / "torn_0.mp4")
    index_videos(folder).save(folder / "m.parquet")
    return FaultySamples(
        manifest=folder / "m.parquet",
        data=DataSpec(train="train", val="val", max_bad_fraction=1.0),
        model=ModelSpec(name="st_swin_micro", frames=4, image_size=16),
        pretrain=PretrainSpec(batch_size=1),
    )


def ref(samples, name):
    return SampleRef(samples, NAMES.index(name), 3)


def test_each_failure_is_named_and_sound_and_healed_samples_are_read(samples):
    kept = Kept()
    with GuardedReads(kept, PATIENCE) as read:
        for name, failures, problem in (
            ("crash", 2, "crashes the decoder: its process ended with -11"),
            ("hang", 1, "hangs the decoder: no result in 6"),
            ("torn", 2, "Invalid data"),
        ):
            read._patience = replace(PATIENCE, failures=failures)  # each lost child costs seconds to replace
            with pytest.raises(DecodeError, match=problem):
                read(ref(samples, name))
            assert problem in kept.found[NAMES.index(name), 3]
        got = read(ref(samples, "fine"))
        kept.found[NAMES.index("fine"), 3] = "settled before"
        with pytest.raises(DecodeError, match="settled before"):
            read(ref(samples, "fine"))
        kept.found.clear()
        healed = samples.file(0).parents[1] / HEALED
        healed.touch()
        assert read(ref(samples, "crash"))["short"].shape == (4, 16, 16, 3)
        healed.unlink()
    here = samples.draw(NAMES.index("fine"), 3)
    assert got.keys() == here.keys()
    for name, value in here.items():
        np.testing.assert_array_equal(got[name], value)


def test_what_is_killed_from_outside_is_no_fault_of_the_video(samples):
    kept = Kept()
    with GuardedReads(kept, PATIENCE) as read, pytest.raises(RuntimeError, match="killed from outside"):
        read(ref(samples, "killed"))
    assert not kept.found


class StuckSamples(FaultySamples):
    """A video whose storage does not answer: opening a pipe waits for a writer that never comes."""

    def file(self, row):
        return super().file(row).with_name("pipe")

    def video(self, row):
        return replace(super().video(row), size_bytes=0)

    def draw(self, row, epoch):
        return {"bytes": self.file(row).read_bytes()}


def test_storage_that_does_not_answer_is_no_fault_of_the_video(samples):
    stuck = StuckSamples(
        manifest=samples.manifest, data=samples.data, model=samples.model, pretrain=samples.pretrain
    )
    os.mkfifo(stuck.file(0))
    kept = Kept()
    reads = GuardedReads(kept, replace(PATIENCE, seconds=3))
    with reads as read, pytest.raises(StorageError, match="cannot be read through"):
        read(SampleRef(stuck, NAMES.index("hang"), 0))
    assert not kept.found
