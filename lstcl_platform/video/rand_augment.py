"""RandAugment and random erasing of labelled clips, on uint8 in the decoding process, by timm.

Order: crop, resize, flip (all while decoding), RandAugment, erasing; normalisation and mixing follow on the
training device. timm's operations work on one image: a clip gets the same operations with the same strengths
on all its frames because every frame is augmented from the same state of the generators.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from lstcl_platform.specs.training import FinetuneAugmentSpec
from lstcl_platform.video.augmentation import MEAN, STD
from lstcl_platform.video.decoding import Frames
from lstcl_platform.video.draws import ERASE_STREAM, RAND_AUGMENT_STREAM, library_draws

_GREY = round(255 * MEAN)
_TRANSLATION = 0.45
"""Largest shift as a share of the side (timm's `create_transform`)."""


def augment_labelled_clip(
    clip: Frames, spec: FinetuneAugmentSpec, *, seed: int, epoch: int, video: int
) -> Frames:
    """Augment a clip.

    Args:
        clip: uint8 RGB (T, H, W, 3); left as it is.
        spec: Number and strength of the operations, probability of erasing.
        seed: Seed of the finetuning.
        epoch: From 0.
        video: Row of the manifest.

    Returns:
        uint8 RGB (T, H, W, 3).
    """
    if spec.randaugment_ops:
        augment = _rand_augment(spec, min(clip.shape[1:3]))
        frames = []
        for frame in clip:
            with library_draws(seed=seed, stream=RAND_AUGMENT_STREAM, epoch=epoch, item=video):
                frames.append(np.asarray(augment(Image.fromarray(frame))))
        clip = np.stack(frames)
    if spec.erasing:
        with library_draws(seed=seed, stream=ERASE_STREAM, epoch=epoch, item=video) as word:
            clip = _erase(clip, spec.erasing, seed=word)
    return clip


@lru_cache(maxsize=4)
def _rand_augment(spec: FinetuneAugmentSpec, side: int) -> Any:
    from timm.data import rand_augment_transform

    ops, magnitude, spread = spec.randaugment_ops, spec.randaugment_magnitude, spec.randaugment_spread
    settings = {"translate_const": int(side * _TRANSLATION), "img_mean": (_GREY, _GREY, _GREY)}
    return rand_augment_transform(f"rand-m{magnitude}-n{ops}-mstd{spread}-inc1", settings)


def _erase(clip: Frames, probability: float, *, seed: int) -> Frames:
    """Fill one box, the same in all frames, with normal noise around the mean colour, new in every pixel."""
    from timm.data.random_erasing import RandomErasing

    frames, height, width, channels = clip.shape
    noise = torch.full((frames * channels, height, width), torch.nan)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        RandomErasing(probability=probability, mode="pixel", device="cpu")(noise)
    noise = noise.view(frames, channels, height, width).movedim(1, -1)
    pixels = noise.mul(STD).add(MEAN).mul(255).round().clamp(0, 255)
    return np.where(noise.isnan(), clip, pixels.nan_to_num().byte().numpy())
