import hashlib

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


def test_short_videos_repeat_their_last_frame():
    _, long = draw(row(1, frames=60, duration=2.0))
    assert long.positions.tolist() == [0, 32, 59, 59, 59, 59, 59, 59]
    assert draw(row(1, frames=1, duration=1 / 30))[0].positions.tolist() == [0] * 8


def test_views_say_what_their_video_was_too_short_for():
    pair = draw(row(1, frames=60, duration=2.0))
    assert [view.padded for view in pair] == [False, True]
    assert [view.padded for view in draw()] == [False, False]
    spec = {"clips": ClipPairSpec(sampling="random_disjoint")}
    assert not any(view.overlaps for epoch in range(50) for view in draw(epoch=epoch, **spec))
    assert all(view.overlaps for view in draw(row(1, frames=250, duration=250 / 30), **spec))


def test_short_videos_can_start_again():
    video, spec = row(1, frames=60, duration=2.0), PretrainSpec()
    _, long = sample_clips(video, spec, frames=8, target_fps=30.0, epoch=0, short_videos="loop")
    assert long.positions.tolist() == [0, 32, 4, 36, 8, 40, 12, 44]


@pytest.mark.parametrize("sampling", ["random_included", "random_disjoint"])
def test_the_relation_of_the_starts_moves_no_other_draw(sampling):
    for plain, related in zip(draw(), draw(clips=ClipPairSpec(sampling=sampling)), strict=True):
        assert (plain.box, plain.flip) == (related.box, related.flip)
        assert np.array_equal(plain.augment, related.augment)


def test_a_pair_has_the_strides_that_were_drawn_for_it():
    sets = ClipPairSpec(short_stride=(4, 8, 16, 32), long_stride=(4, 8, 16, 32))
    steps = {tuple(int(np.diff(v.positions)[0]) for v in draw(epoch=e, clips=sets)) for e in range(200)}
    assert steps == {(x, y) for x in (4, 8, 16, 32) for y in (4, 8, 16, 32) if x <= y}


@pytest.mark.parametrize(
    ("indexing", "digest"),
    [
        ("exact", "f13b8a41816a4c4124cdc969c66713739787738bf8dbd39b92ec33f6c2793fa3"),
        ("linspace", "ed7eba44ccc062973878aa43a3432fae709b50c25861931ba465edbf2ea4fdf4"),
    ],
)
def test_default_draws_are_what_they_were(indexing, digest):
    """Other draws under the same stage key would pass for the same result."""
    found, orders = hashlib.sha256(), []
    for seed in (0, 7):
        for epoch in range(20):
            clips = ClipPairSpec(indexing=indexing)
            for view in draw(epoch=epoch, seed=seed, clips=clips):
                found.update(view.positions.astype("<i8").tobytes())
                found.update(repr((view.box, view.flip)).encode())
                found.update(view.augment[:-1].astype("<f4").tobytes())
                orders.append(int(view.augment[-1]))
            spec = FinetuneSpec(seed=seed, indexing=indexing)
            clip = sample_labelled_clip(LONG, spec, frames=8, target_fps=30.0, epoch=epoch)
            found.update(clip.positions.astype("<i8").tobytes())
            found.update(repr((clip.box, clip.flip)).encode())
    assert found.hexdigest() == digest
    assert orders[:6] == [0, 0, 0, 15, 13, 1]


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
    brightness, contrast, saturation, hue, grey, sigma, order = values.T
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
    orders, counts = np.unique(order[brightness != 1], return_counts=True)
    assert orders.tolist() == list(range(24))
    assert counts.min() > 0.6 * counts.mean()
    assert not any(
        draw(epoch=e, augment=PretrainAugmentSpec(jitter_order="fixed"))[0].augment[6] for e in range(9)
    )


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


def test_segments_give_one_frame_each_uniformly():
    spec, video = FinetuneSpec(stride="segments"), row(5, frames=49, duration=49 / 12)
    clips = [sample_labelled_clip(video, spec, frames=8, target_fps=12, epoch=e) for e in range(2100)]
    positions = np.array([clip.positions for clip in clips])
    for slot, drawn in enumerate(positions.T):  # 48 / 8 = 6: positions 6 i to 6 i + 6, both included
        counts = np.bincount(drawn - 6 * slot, minlength=7)
        assert len(counts) == 7
        # 99.99 % point of chi-square with 6 degrees of freedom, for eight slots.
        assert ((counts - 300) ** 2 / 300).sum() < 27.9
    correlations = np.corrcoef(positions.T) - np.eye(8)
    assert np.abs(correlations).max() < 0.1
    assert not any(clip.padded for clip in clips)


def test_segments_leave_crop_and_flip_as_they_are():
    plain, segments = (
        sample_labelled_clip(LONG, FinetuneSpec(stride=stride), frames=8, target_fps=30, epoch=1)
        for stride in (8, "segments")
    )
    assert (plain.box, plain.flip) == (segments.box, segments.flip)


def test_a_video_of_fewer_frames_than_a_clip_is_padded_in_segments_too():
    clip = sample_labelled_clip(
        row(5, frames=5, duration=5 / 30), FinetuneSpec(stride="segments"), frames=8, target_fps=30, epoch=0
    )
    assert clip.padded
    assert sorted(clip.positions.tolist()) == clip.positions.tolist()


def uniform(video, count, *, stride=8):
    spec = EvaluateSpec(clips=count)
    return uniform_clips(video, spec, frames=8, stride=stride, indexing="exact", target_fps=30)


def test_test_segments_show_their_centres_or_spread_evenly():
    video = row(5, frames=49, duration=49 / 30)
    (centre,) = uniform(video, 1, stride="segments")
    assert centre.positions.tolist() == [3, 9, 15, 21, 27, 33, 39, 45]  # (start + end) // 2 of ssv2.py
    three = uniform(video, 3, stride="segments")
    assert [clip.positions[0] for clip in three] == [1, 3, 5]
    assert not any(clip.flip or clip.padded for clip in three)


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


@pytest.mark.parametrize(("width", "height"), [(340, 256), (256, 340)])
def test_three_crops_reach_both_ends_of_the_long_side(width, height):
    spec = EvaluateSpec(clips=2, crops=3, crop_ratio=1)
    video = row(5, frames=300, duration=10.0, width=width, height=height)
    clips = uniform_clips(video, spec, frames=8, stride=8, indexing="exact", target_fps=30)
    corners = [(0, 0), (42, 0), (84, 0)] if width > height else [(0, 0), (0, 42), (0, 84)]
    assert [(clip.box.x, clip.box.y) for clip in clips] == corners * 2
    assert {(clip.box.width, clip.box.height) for clip in clips} == {(256, 256)}
    assert [clip.positions[0] for clip in clips] == [0] * 3 + [243] * 3
