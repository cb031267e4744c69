from dataclasses import replace

import numpy as np
import pytest

from lstcl_platform.video.time_grid import clip_positions, grid_length, segment_bounds
from tests.video.test_manifest import row

VIDEO = row(0, frames=280, duration=10.0)


@pytest.mark.parametrize(("fps", "length"), [(30.0, 300), (25.0, 250), (None, 280)])
def test_grid_counts_seconds_or_native_frames(fps, length):
    assert grid_length(VIDEO, target_fps=fps) == length
    assert grid_length(replace(VIDEO, duration=0.001, frames=0), target_fps=fps) == 1


@pytest.mark.parametrize(
    ("stride", "expected"),
    # numpy.linspace(start, start + T * stride - 1, T), rounded down: SlowFast's decoder.
    [(8, [0, 9, 18, 27, 36, 45, 54, 63]), (32, [0, 36, 72, 109, 145, 182, 218, 255])],
)
def test_linspace_follows_slowfast(stride, expected):
    positions = clip_positions(0, frames=8, stride=stride, length=300, indexing="linspace")
    assert positions.tolist() == expected


@pytest.mark.parametrize(
    ("policy", "expected"), [("clamp", [3, 5, 6, 6, 6, 6]), ("loop", [3, 5, 0, 2, 4, 6])]
)
def test_a_clip_beyond_the_end_repeats_the_last_frame_or_the_video(policy, expected):
    positions = clip_positions(3, frames=6, stride=2, length=7, indexing="exact", short_videos=policy)
    assert positions.tolist() == expected


@pytest.mark.parametrize(("frames", "length"), [(8, 300), (8, 37), (16, 49), (4, 4), (8, 3), (8, 1)])
def test_segments_are_those_of_the_reference_loader(frames, length):
    # SlowFast's ssv2.py: seg_size = (N - 1) / T, ends rounded, both included.
    first, last = segment_bounds(frames=frames, length=length)
    size = (length - 1) / frames
    assert first.tolist() == [round(size * i) for i in range(frames)]
    assert last.tolist() == [round(size * (i + 1)) for i in range(frames)]
    assert (first[0], last[-1]) == (0, length - 1)
    assert np.array_equal(first[1:], last[:-1])
