import pickle

import numpy as np
import pytest

from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import ClipPairSpec, EvaluateSpec, FinetuneSpec, PretrainSpec
from lstcl_platform.video.decoding import DecodeError, decode_clips
from lstcl_platform.video.few_labels import labelled_subset
from lstcl_platform.video.indexing import index_videos
from lstcl_platform.video.manifest import Manifest
from lstcl_platform.video.samples import EvaluateSamples, FinetuneSamples, PretrainSamples
from lstcl_platform.video.sampling import Box, Clip, sample_clips
from tests.helpers.videos import damage, make_labelled_folder

DATA = DataSpec(train="train", val="val")
MODEL = ModelSpec(name="st_swin_micro", frames=4, image_size=16)
PRETRAIN = PretrainSpec(batch_size=3)


@pytest.fixture(scope="module")
def manifest_path(tmp_path_factory):
    folder = make_labelled_folder(tmp_path_factory.mktemp("set"), classes=2, videos=5, frames=40, side=32)
    index_videos(folder).save(folder / "m.parquet")
    return folder / "m.parquet"


@pytest.fixture
def damaged(tmp_path):
    """A set in which one video of eight is torn, where indexing does not look; and its row."""
    folder = make_labelled_folder(tmp_path / "set", classes=2, videos=4, frames=40, side=32)
    damage(folder / "class_1" / "video_1.mp4")
    manifest = index_videos(folder)
    manifest.save(folder / "m.parquet")
    return folder / "m.parquet", 5


def pretrain(path, **changes):
    return PretrainSamples(
        manifest=path, data=DATA, model=MODEL, pretrain=PRETRAIN.model_copy(update=changes)
    )


def test_pretraining_batch_has_the_promised_shapes(manifest_path):
    batch = pretrain(manifest_path)(np.arange(3))
    assert {name: (value.shape, value.dtype.name) for name, value in batch.items()} == {
        "position": ((3,), "int64"),
        "video": ((3,), "int64"),
        "short": ((3, 4, 16, 16, 3), "uint8"),
        "long": ((3, 4, 16, 16, 3), "uint8"),
        "augment": ((3, 2, 7), "float32"),
        "bad": ((3,), "object"),
        "seconds": ((3,), "float32"),
        "clips_padded": ((3,), "int64"),
        "frames_decoded": ((3,), "int64"),
        "frames_used": ((3,), "int64"),
    }
    assert batch["bad"].tolist() == [""] * 3
    assert len(set(batch["video"].tolist())) == 3


def test_samples_count_what_their_videos_are_too_short_for(manifest_path):
    # 40 frames; T = 4: strides 8 and 32 span 25 and 97 positions.
    batch = pretrain(manifest_path)(np.arange(6))
    assert batch["clips_padded"].tolist() == [1] * 6
    fitting = ClipPairSpec(short_stride=3, long_stride=9, sampling="random_disjoint")  # 10 + 28
    samples = pretrain(manifest_path, clips=fitting)(np.arange(6))
    assert samples["clips_padded"].tolist() == [0] * 6
    assert samples["pairs_not_disjoint"].tolist() == [0] * 6
    close = ClipPairSpec(short_stride=4, long_stride=9, sampling="random_disjoint")  # 13 + 28
    assert pretrain(manifest_path, clips=close)(np.arange(6))["pairs_not_disjoint"].tolist() == [1] * 6
    assert finetune(manifest_path, stride=14)(np.arange(2))["clips_padded"].tolist() == [1, 1]
    assert finetune(manifest_path, stride=13)(np.arange(2))["clips_padded"].tolist() == [0, 0]
    assert evaluation(manifest_path, stride=14)(np.arange(9, 11))["clips_padded"].tolist() == [3, 0]


def test_segments_reach_both_ends_of_the_video(manifest_path):
    manifest = Manifest.load(manifest_path)
    (clip,) = EvaluateSamples(
        manifest=manifest_path, data=DATA, model=MODEL, evaluate=EvaluateSpec(clips=1), stride="segments"
    )(np.array([2]))["clips"][0]
    centres = Clip(np.array([5, 15, 24, 34]), Box(2, 2, 28, 28), False)  # bounds 0, 10, 20, 29, 39
    (expected,) = decode_clips(manifest.file(2), [centres], size=16, target_fps=30.0)
    assert np.array_equal(clip, expected)
    assert finetune(manifest_path, stride="segments")(np.arange(2))["clip"].shape == (2, 4, 16, 16, 3)


def test_samples_are_the_clips_that_were_drawn(manifest_path):
    samples = pretrain(manifest_path)
    batch = samples(np.array([13]))
    epochs, ordinals = samples.plan.locate(np.array([13]))
    manifest = Manifest.load(manifest_path)
    video = manifest.row(int(manifest.usable[ordinals[0]]))
    views = sample_clips(video, PRETRAIN, frames=4, target_fps=30.0, epoch=int(epochs[0]))
    short, long = decode_clips(manifest.root / video.path, views, size=16, target_fps=30.0)
    assert batch["video"].tolist() == [video.row]
    assert np.array_equal(batch["short"][0], short)
    assert np.array_equal(batch["long"][0], long)
    assert np.array_equal(batch["augment"][0], [view.augment for view in views])


def test_content_depends_on_the_position_alone(manifest_path):
    whole = pretrain(manifest_path)(np.arange(9))
    copy = pickle.loads(pickle.dumps(pretrain(manifest_path)))
    for part in (np.array([7, 2]), np.array([4])):
        batch = copy(part)
        for name in ("position", "video", "short", "long", "augment"):
            assert np.array_equal(batch[name], whole[name][part])


def test_the_callable_is_small_to_send(manifest_path):
    samples = pretrain(manifest_path)
    samples(np.arange(2))
    assert len(pickle.dumps(samples)) < 4000


def test_bad_video_has_the_same_stand_in_everywhere_and_never_one_of_its_batch(damaged):
    path, bad = damaged
    samples = pretrain(path)
    plan = samples.plan
    positions = np.arange(4 * plan.steps_per_epoch * 3)
    batch = samples(positions)
    wrong = np.flatnonzero(batch["bad"] != "")
    planned = plan.locate(positions)[1]
    assert wrong.tolist() == np.flatnonzero(planned == bad).tolist()
    assert len(wrong) >= 2
    for position in wrong:
        assert "class_1/video_1.mp4: Invalid data" in batch["bad"][position]
        next_slot = plan.stand_ins(int(position))[0]
        assert batch["video"][position] == planned[next_slot]
        step = position // 3 * 3
        assert len(set(batch["video"][step : step + 3].tolist())) == 3
        alone = samples(np.array([position]))
        assert np.array_equal(alone["short"][0], batch["short"][position])
    assert bad not in batch["video"]


def test_bad_video_without_any_stand_in_stops(damaged):
    path, bad = damaged
    samples = pretrain(path, batch_size=8)
    position = int(np.flatnonzero(samples.plan.order(0) == bad)[0])
    with pytest.raises(DecodeError, match=r"class_1/video_1\.mp4: and all its stand-ins are damaged"):
        samples(np.array([position]))


def test_too_few_videos_name_file_and_numbers(manifest_path):
    with pytest.raises(UserError, match=r"m\.parquet: 10 usable videos cannot fill one global batch of 11"):
        pretrain(manifest_path, batch_size=11)


def test_too_many_unusable_videos_stop_at_once(manifest_path, tmp_path):
    manifest = Manifest.load(manifest_path)
    rows = [manifest.row(i) for i in range(10)]
    object.__setattr__(rows[0], "problem", "empty file")
    Manifest.from_rows(rows, root=manifest.root).save(tmp_path / "m.parquet")
    with pytest.raises(UserError, match=r"1 of 10 videos cannot be used.*max_bad_fraction \(0\.01\)"):
        pretrain(tmp_path / "m.parquet")


def finetune(path, **changes):
    spec = FinetuneSpec(batch_size=2, stride=2).model_copy(update=changes)
    return FinetuneSamples(manifest=path, data=DATA, model=MODEL, finetune=spec)


def test_finetuning_batch_carries_the_label_of_the_video_shown(manifest_path):
    samples = finetune(manifest_path)
    batch = samples(np.arange(6))
    assert batch["clip"].shape == (6, 4, 16, 16, 3)
    assert batch["clip"].dtype == np.uint8
    assert batch["label"].dtype == np.int64
    assert batch["label"].tolist() == [int(video >= 5) for video in batch["video"]]
    assert (samples.videos, samples.num_classes) == (10, 2)


def test_labelled_subset_is_fixed_stratified_and_nested(manifest_path):
    manifest = Manifest.load(manifest_path)
    three = labelled_subset(manifest, labels_per_class=3, seed=4)
    assert manifest.labels[three].tolist() == [0] * 3 + [1] * 3
    assert np.array_equal(three, labelled_subset(manifest, labels_per_class=3, seed=4))
    assert set(labelled_subset(manifest, labels_per_class=2, seed=4)) < set(three)
    subsets = {tuple(labelled_subset(manifest, labels_per_class=3, seed=seed)) for seed in range(8)}
    assert len(subsets) > 3
    samples = finetune(manifest_path, labels_per_class=3, seed=4)
    assert samples.videos == 6
    assert set(samples(np.arange(6))["video"].tolist()) == set(three.tolist())


def test_class_with_too_few_labels_is_named(manifest_path):
    with pytest.raises(UserError, match=r"labels_per_class is 6, but class 'class_0' in .* has only 5"):
        finetune(manifest_path, labels_per_class=6)


def evaluation(path, *, stride=2):
    spec = EvaluateSpec(clips=3)
    return EvaluateSamples(manifest=path, data=DATA, model=MODEL, evaluate=spec, stride=stride)


def test_evaluation_shows_every_usable_video_once_and_then_padding(manifest_path):
    samples = evaluation(manifest_path)
    assert samples.videos == 10
    batch = samples(np.arange(12))
    assert batch["clips"].shape == (12, 3, 4, 16, 16, 3)
    assert batch["video"].tolist() == [*range(10), -1, -1]
    assert batch["label"].tolist() == [0] * 5 + [1] * 5 + [-1, -1]
    assert batch["path"].tolist() == [
        row.path for row in map(Manifest.load(manifest_path).row, range(10))
    ] + ["", ""]
    assert not batch["clips"][10:].any()
    assert batch["clips"][:10].reshape(10, -1).any(axis=1).all()


def test_bad_test_video_is_never_replaced(damaged):
    path, bad = damaged
    batch = evaluation(path)(np.arange(8))
    assert batch["video"].tolist() == list(range(8))
    assert batch["label"][bad] == 1
    assert not batch["clips"][bad].any()
    assert [bool(text) for text in batch["bad"]] == [i == bad for i in range(8)]
