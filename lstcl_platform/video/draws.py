"""Random numbers as a pure function of their purpose: Philox keyed by (seed, stream, epoch, video)."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

PLAN_STREAM = 0
"""Order of the videos in an epoch."""
LABEL_STREAM = 1
"""Draw of the labelled subset."""
FINETUNE_STREAM = 2
"""Clip of a labelled sample."""
SEGMENT_STREAM = 3
"""Frames of a labelled sample within its segments."""
RAND_AUGMENT_STREAM = 4
"""RandAugment of a labelled sample."""
ERASE_STREAM = 5
"""Erasing of a labelled sample."""
MIX_STREAM = 6
"""Mixing of a pair of labelled samples, by its number over all steps."""
VIEW_STREAMS = (16, 17)
"""Short and long view of a pretraining sample."""
STRIDE_STREAM = 18
"""Strides of a pretraining sample, where there is a choice."""


def raw_bits(count: int, *, seed: int, stream: int, epoch: int = 0, video: int = 0) -> npt.NDArray[np.uint64]:
    """Draw `count` words of 64 bits; no two different argument tuples share a Philox block.

    NumPy guarantees the raw bits of a bit generator, but not what its distributions make of them, so
    everything here is built on raw bits: a sample stays the same across NumPy versions.
    """
    generator = np.random.Philox(key=[seed, stream], counter=[0, 0, epoch, video])
    return np.asarray(generator.random_raw(count), dtype=np.uint64)


def uniforms(
    count: int, *, seed: int, stream: int, epoch: int = 0, video: int = 0
) -> npt.NDArray[np.float64]:
    """Draw `count` numbers from [0, 1), multiples of 2^-53."""
    bits = raw_bits(count, seed=seed, stream=stream, epoch=epoch, video=video)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


@contextmanager
def library_draws(*, seed: int, stream: int, epoch: int = 0, item: int = 0) -> Iterator[int]:
    """Seed the global generators of Python and NumPy inside the block, for libraries that draw from them.

    What is drawn depends on the versions of Python and of the library, unlike `uniforms`. Yields the number
    they were seeded with, in [0, 2^64); the generators' states are restored at the end.
    """
    (word,) = raw_bits(1, seed=seed, stream=stream, epoch=epoch, video=item).tolist()
    before = random.getstate(), np.random.get_state()
    random.seed(word)
    np.random.seed([word & 0xFFFFFFFF, word >> 32])
    try:
        yield word
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
