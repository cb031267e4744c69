import numpy as np
import pytest

from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import EvaluateSpec
from lstcl_platform.video.indexing import index_videos
from lstcl_platform.video.probe_samples import TEST_SPLIT, TRAIN_SPLIT, ProbeSamples
from lstcl_platform.video.samples import EvaluateSamples
from tests.helpers.videos import make_labelled_folder

COMMON = {
    "data": DataSpec(train="train", val="val"),
    "model": ModelSpec(name="st_swin_micro", frames=2, image_size=16),
    "evaluate": EvaluateSpec(clips=2, crops=3),
    "stride": 2,
}


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    paths = []
    for name, videos in (("train", 3), ("val", 2)):
        folder = make_labelled_folder(
            tmp_path_factory.mktemp(name), classes=2, videos=videos, frames=12, side=32
        )
        index_videos(folder).save(folder / "m.parquet")
        paths.append(folder / "m.parquet")
    return paths


def test_training_videos_come_first_then_test_videos_then_padding(manifests):
    samples = ProbeSamples(train_manifest=manifests[0], test_manifest=manifests[1], **COMMON)
    assert (samples.videos, samples.num_classes) == (10, 2)
    batch = samples(np.arange(12))
    assert batch["split"].tolist() == [TRAIN_SPLIT] * 6 + [TEST_SPLIT] * 6
    assert batch["video"].tolist() == [*range(6), *range(4), -1, -1]
    assert batch["label"].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1, -1, -1]
    assert batch["clips"].shape == (12, 6, 2, 16, 16, 3)
    for manifest, rows in zip(manifests, (slice(0, 6), slice(6, 10)), strict=True):
        alone = EvaluateSamples(manifest=manifest, **COMMON)
        expected = alone(np.arange(alone.videos))
        assert np.array_equal(batch["clips"][rows], expected["clips"])


def test_content_follows_the_positions_in_any_order(manifests):
    samples = ProbeSamples(train_manifest=manifests[0], test_manifest=manifests[1], **COMMON)
    whole, some = samples(np.arange(12)), np.array([7, 2, 11, 5, 6])
    batch = samples(some)
    for name in ("position", "split", "video", "label", "clips"):
        assert np.array_equal(batch[name], whole[name][some])
