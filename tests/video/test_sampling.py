from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from lstcl_platform.specs.training import (
    ClipPairSpec,
    EvaluateSpec,
    FinetuneSpec,
    PretrainAugmentSpec,
    PretrainSpec,
)
from lstcl_platform.video.draws import uniforms
from lstcl_platform.video.sampling import (
    AUGMENT_FIELDS,
    clip_positions,
    grid_length,
    random_box,
    sample_clips,
    sample_labelled_clip,
    uniform_clips,
)
from tests.video.test_manifest import row

LONG = row(5, frames=300, duration=10.0, width=340, height=256)


def draw(video=LONG, *, epoch=0, frames=8, target_fps=30.0, **changes):
    return sample_clips(video, PretrainSpec(**changes), frames=frames, target_fps=target_fps, epoch=epoch)


def same(one, other):
    return all(
        np.array_equal(getattr(one, k), getattr(other, k)) for k in ("positions", "box", "flip", "augment")
    )


def test_a_sample_is_a_function_of_seed_epoch_and_video():
    short, long = draw(epoch=3)
    again = draw(epoch=3)
    assert same(short, again[0])
    assert same(long, again[1])
    for other in (draw(epoch=4), draw(epoch=3, seed=1), draw(row(6, **vars_of(LONG)), epoch=3)):
        assert not same(short, other[0])
        assert not same(long, other[1])


def vars_of(video):
    return {"frames": video.frames, "duration": video.duration, "width": video.width, "height": video.height}


def test_strides_are_exact_and_starts_fill_their_range():
    shorts, longs = zip(*(draw(epoch=epoch) for epoch in range(400)), strict=True)
    assert all((np.diff(view.positions) == 8).all() for view in shorts)
    assert all((np.diff(view.positions) == 32).all() for view in longs)
    starts = [view.positions[0] for view in longs]
    assert (min(starts), max(starts)) == (0, 300 - 225)
    assert max(view.positions[-1] for view in shorts) == 299
    # Independent starts: the two views' start times do not go together.
    assert abs(np.corrcoef([view.positions[0] for view in shorts], starts)[0, 1]) < 0.15


def test_views_are_drawn_independently():
    pairs = [draw(epoch=epoch) for epoch in range(400)]
    agree = np.mean([short.flip == long.flip for short, long in pairs])
    assert 0.4 < agree < 0.6
    columns = np.array([[short.augment, long.augment] for short, long in pairs])
    for index in range(len(AUGMENT_FIELDS)):
        assert abs(np.corrcoef(columns[:, 0, index], columns[:, 1, index])[0, 1]) < 0.15


@pytest.mark.parametrize(("fps", "length"), [(30.0, 300), (25.0, 250), (None, 280)])
def test_grid_counts_seconds_or_native_frames(fps, length):
    assert grid_length(replace(LONG, frames=280), target_fps=fps) == length


def test_short_videos_repeat_their_last_frame():
    _, long = draw(row(1, frames=60, duration=2.0))
    assert long.positions.tolist() == [0, 32, 59, 59, 59, 59, 59, 59]
    assert draw(row(1, frames=1, duration=1 / 30))[0].positions.tolist() == [0] * 8


@pytest.mark.parametrize(
    ("stride", "expected"),
    # numpy.linspace(start, start + T * stride - 1, T), rounded down: SlowFast's decoder.
    [(8, [0, 9, 18, 27, 36, 45, 54, 63]), (32, [0, 36, 72, 109, 145, 182, 218, 255])],
)
def test_linspace_follows_slowfast(stride, expected):
    positions = clip_positions(0, frames=8, stride=stride, length=300, indexing="linspace")
    assert positions.tolist() == expected


def test_linspace_stays_inside_and_varies():
    spec = {"clips": ClipPairSpec(indexing="linspace")}
    longs = [draw(epoch=epoch, **spec)[1].positions for epoch in range(200)]
    assert min(p[0] for p in longs) == 0
    assert 297 <= max(p[-1] for p in longs) <= 299
    assert {p[-1] - p[0] for p in longs} <= {255, 256}


def test_crops_have_torchvisions_distribution():
    area, aspect, size = (0.2, 0.766), (0.75, 1.3333), (256, 340)
    ours = []
    for video in range(3000):
        box = random_box(
            uniforms(40, seed=0, stream=9, video=video),
            width=size[1],
            height=size[0],
            area=area,
            aspect=aspect,
        )
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= size[1]
        assert box.y + box.height <= size[0]
        ours.append((box.y, box.x, box.height, box.width))
    torch.manual_seed(0)
    crop = v2.RandomResizedCrop(8, scale=area, ratio=aspect)
    image = torch.zeros(3, *size)
    drawn = [crop.make_params([image]) for _ in range(3000)]
    theirs = [(p["top"], p["left"], p["height"], p["width"]) for p in drawn]
    for mine, other in zip(np.array(ours, float).T, np.array(theirs, float).T, strict=True):
        error = np.sqrt(mine.var() / len(mine) + other.var() / len(other))
        assert abs(mine.mean() - other.mean()) < 4 * error
        assert mine.std() == pytest.approx(other.std(), rel=0.08)


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(1000, 30, (480, 0, 40, 30)), (30, 1000, (0, 480, 30, 40))]
)
def test_crop_that_never_fits_falls_back_to_the_centre(width, height, expected):
    box = random_box(
        uniforms(40, seed=0, stream=9), width=width, height=height, area=(0.9, 1.0), aspect=(0.75, 4 / 3)
    )
    assert (box.x, box.y, box.width, box.height) == expected


def test_probabilities_and_ranges_of_the_augmentation():
    values = np.array([draw(epoch=epoch)[0].augment for epoch in range(2000)])
    brightness, contrast, saturation, hue, grey, sigma = values.T
    for factor in (brightness, contrast, saturation):
        assert np.mean(factor != 1) == pytest.approx(0.8, abs=0.03)
        assert 0.4 <= factor.min() < 0.42
        assert 1.58 < factor.max() <= 1.6
    assert np.abs(hue).max() <= 0.15
    assert np.array_equal(hue != 0, brightness != 1)
    assert np.mean(grey) == pytest.approx(0.2, abs=0.03)
    assert np.mean(sigma > 0) == pytest.approx(0.5, abs=0.04)
    assert sigma[sigma > 0].min() >= 0.1
    assert 1.9 < sigma.max() <= 2.0


def test_switching_one_augmentation_off_moves_no_other_draw():
    plain = PretrainAugmentSpec(jitter=0, flip=0, blur=1)
    full = PretrainAugmentSpec(jitter=1, flip=1, blur=1)
    one, other = draw(augment=plain)[0], draw(augment=full)[0]
    assert one.box == other.box
    assert (one.flip, other.flip) == (False, True)
    assert one.augment[5] == other.augment[5]
    assert one.augment[:4].tolist() == [1, 1, 1, 0]


def test_labelled_clip_has_its_own_draw():
    spec = FinetuneSpec()
    clip = sample_labelled_clip(LONG, spec, frames=8, target_fps=30, epoch=0)
    assert (np.diff(clip.positions) == 8).all()
    assert clip.box == sample_labelled_clip(LONG, spec, frames=8, target_fps=30, epoch=0).box
    assert clip.box != draw()[0].box


def uniform(video, count, **options):
    spec = EvaluateSpec(clips=count)
    return uniform_clips(video, spec, frames=8, stride=8, indexing="exact", target_fps=30, **options)


def test_test_clips_reach_from_the_start_to_the_end():
    clips = uniform(LONG, 5)
    assert [clip.positions[0] for clip in clips] == [0, 60, 121, 182, 243]
    assert clips[-1].positions[-1] == 299
    assert uniform(LONG, 1)[0].positions[0] == 121
    assert [clip.positions.tolist() for clip in uniform(row(0, frames=1, duration=0.03), 3)] == [[0] * 8] * 3


def test_test_crop_is_the_centre_of_the_resized_short_side():
    clip = uniform(LONG, 1)[0]
    assert (clip.box.x, clip.box.y, clip.box.width, clip.box.height) == (58, 16, 224, 224)
    assert not clip.flip
