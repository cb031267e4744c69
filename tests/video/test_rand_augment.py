"""RandAugment and erasing: the same on all frames, drawn from the sample alone, timm's own operations."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import rand_augment_transform

from lstcl_platform.specs.training import FinetuneAugmentSpec
from lstcl_platform.video.draws import RAND_AUGMENT_STREAM, raw_bits
from lstcl_platform.video.rand_augment import augment_labelled_clip

FRAMES, SIDE = 3, 24


def clip(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = torch.from_numpy(rng.integers(0, 256, (FRAMES, 3, 6, 6)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(small, (SIDE, SIDE), mode="bilinear")
    return smooth.byte().movedim(1, -1).contiguous().numpy()


def augmented(pixels: np.ndarray, *, seed: int = 0, epoch: int = 0, video: int = 0, **fields) -> np.ndarray:
    spec = FinetuneAugmentSpec(**fields)
    return augment_labelled_clip(pixels, spec, seed=seed, epoch=epoch, video=video)


def test_all_frames_get_the_same_operations():
    still = np.repeat(clip()[:1], FRAMES, axis=0)
    changed = 0
    for video in range(20):
        result = augmented(still, video=video)
        assert (result == result[:1]).all()
        changed += not np.array_equal(result, still)
    assert changed > 10


def test_operations_are_timms_with_its_notation():
    pixels = clip()
    for video in range(10):
        result = augmented(pixels, seed=5, epoch=2, video=video)
        settings = {"translate_const": int(SIDE * 0.45), "img_mean": (115, 115, 115)}
        reference = rand_augment_transform("rand-m7-n4-mstd0.5-inc1", settings)
        (word,) = raw_bits(1, seed=5, stream=RAND_AUGMENT_STREAM, epoch=2, video=video).tolist()
        for frame, expected in zip(pixels, result, strict=True):
            random.seed(word)
            np.random.seed([word & 0xFFFFFFFF, word >> 32])
            assert np.array_equal(np.asarray(reference(Image.fromarray(frame))), expected)


def test_draws_belong_to_seed_epoch_and_video():
    pixels = clip()
    first = augmented(pixels, seed=1, epoch=1, video=1, erasing=1.0)
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    assert np.array_equal(augmented(pixels, seed=1, epoch=1, video=1, erasing=1.0), first)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected
    for other in ({"seed": 2}, {"epoch": 2}, {"video": 2}):
        assert not np.array_equal(augmented(pixels, **{"seed": 1, "epoch": 1, "video": 1, **other}), first)


def test_switched_off_it_returns_the_clip_itself():
    pixels = clip()
    assert augmented(pixels, randaugment_ops=0) is pixels


def test_input_is_left_alone():
    pixels = clip()
    before = pixels.copy()
    for video in range(5):
        augmented(pixels, video=video, erasing=1.0)
    assert np.array_equal(pixels, before)


def test_erasing_fills_one_box_of_all_frames_with_noise_around_the_mean_colour():
    grey = np.full((8, 32, 32, 3), 7, dtype=np.uint8)
    noise, erased = [], 0
    for video in range(200):
        result = augmented(grey, video=video, randaugment_ops=0, erasing=0.25)
        box = (result != 7).any(axis=(0, 3))
        if not box.any():
            continue
        erased += 1
        assert box.sum() == box.any(0).sum() * box.any(1).sum()
        assert (result[:, ~box] == 7).all()
        assert not np.array_equal(result[0], result[1])
        noise.append(result[:, box].ravel())
    assert erased / 200 == pytest.approx(0.25, abs=0.1)
    values = np.concatenate(noise) / 255
    assert values.mean() == pytest.approx(0.45, abs=0.01)
    assert values.std() == pytest.approx(0.225, abs=0.015)
