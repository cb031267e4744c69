"""How much faster clips are cut out of prepared videos than out of their sources."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lstcl_platform.video.decode_bench import draw_sample
from lstcl_platform.video.decode_ways import WAYS, one_thread
from lstcl_platform.video.probe import probe

_SIZE = 224


def measure_speed_up(
    pairs: Sequence[tuple[Path, Path]], *, strides: Sequence[int], frames: int, rounds: int
) -> tuple[float, float]:
    """Samples a CPU second on one core, of the sources and of the prepared videos, alternating.

    Args:
        pairs: source and prepared video; both have the same frames.
        strides: native frames between two of a clip, one clip a sample for each, with a random start and crop.
        frames: frames a clip.
        rounds: samples of each video that count; one before them warms up.
    """
    one_thread()
    facts = [(probe(source), probe(prepared)) for source, prepared in pairs]
    seconds = [0.0, 0.0]
    for number in range(rounds + 1):
        for pair, known in zip(pairs, facts, strict=True):
            for side in ((0, 1), (1, 0))[number % 2]:
                # The same draws for both: the same frames, and the same share of the picture.
                rng = np.random.default_rng([number, known[0].frames])
                sample = draw_sample(known[side], rng, strides=strides, frames=frames, clips=0)
                began = time.process_time()
                WAYS["ours"](pair[side], sample, _SIZE)
                seconds[side] += (time.process_time() - began) * (number > 0)
    counted = rounds * len(pairs)
    return counted / seconds[0], counted / seconds[1]
