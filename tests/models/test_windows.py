"""Window geometry against the reference's tables and against its definition."""

import re
from itertools import product

import numpy as np
import pytest
import torch

from lstcl_platform.models.windows import (
    blocked_pairs,
    fit_window,
    relative_position_index,
    stage_layout,
)
from tests.fixtures import arrays

TABLES = arrays("video_swin_tables")


@pytest.mark.parametrize("name", [n for n in TABLES if n.startswith("relative_position_index")])
def test_index_equals_reference(name):
    window = tuple(int(n) for n in re.findall(r"\d+", name))
    assert np.array_equal(relative_position_index(window, window).numpy(), TABLES[name])


@pytest.mark.parametrize("name", [n for n in TABLES if re.match(r"blocked_\d", n)])
def test_shift_mask_equals_reference(name):
    d, h, w, wt, wh, ww, st, sh, sw = (int(n) for n in re.findall(r"\d+", name))
    expected_shape = tuple(TABLES[name.replace("blocked", "blocked_shape")])
    blocked = blocked_pairs((d, h, w), (wt, wh, ww), (st, sh, sw))
    assert tuple(blocked.shape) == expected_shape
    expected = np.unpackbits(TABLES[name], count=blocked.numel()).reshape(expected_shape)
    assert np.array_equal(blocked.numpy(), expected)


@pytest.mark.parametrize("window", [(8, 4, 4), (4, 7, 7), (3, 2, 5)])
def test_index_of_a_shrunken_window_follows_the_offset(window):
    index = relative_position_index(window, (8, 7, 7))
    tokens = list(product(*(range(w) for w in window)))
    for q, k in [
        (0, 0),
        (0, len(tokens) - 1),
        (len(tokens) - 1, 0),
        (len(tokens) // 2, 1),
        (3, len(tokens) // 3),
    ]:
        dt, dh, dw = (a - b for a, b in zip(tokens[q], tokens[k], strict=True))
        assert index[q, k] == (dt + 7) * 13 * 13 + (dh + 6) * 13 + (dw + 6)


def test_window_shrinks_to_the_input_and_drops_the_shift_there():
    assert fit_window((8, 14, 7), (8, 7, 7), (4, 3, 3)) == ((8, 7, 7), (0, 3, 0))
    assert fit_window((4, 5, 20), (8, 7, 7), (4, 3, 3)) == ((4, 5, 7), (0, 0, 3))


@pytest.mark.parametrize("size", [(8, 14, 14), (16, 9, 15), (3, 7, 7), (8, 10, 4)])
def test_layout_moves_tokens_there_and_back(size):
    layout = stage_layout(size, (8, 7, 7), (4, 3, 3), torch.device("cpu"))
    steps = [layout.enter, layout.shift, layout.unshift, layout.leave]
    x = torch.arange(int(np.prod(layout.padded)))
    start = x
    for step in steps:
        if step is not None:
            assert torch.equal(x[step.order][step.inverse], x)
            x = x[step.order]
    assert torch.equal(x, start)


def test_padding_slots_are_those_outside_the_volume():
    layout = stage_layout((8, 10, 14), (8, 7, 7), (4, 3, 3), torch.device("cpu"))
    assert layout.padded == (8, 14, 14)
    for order in (layout.plain, layout.shifted):
        assert order.padding.sum() == 8 * 4 * 14
    assert stage_layout((8, 14, 14), (8, 7, 7), (4, 3, 3), torch.device("cpu")).plain.padding is None


def test_layout_is_computed_once():
    arguments = ((8, 14, 14), (8, 7, 7), (4, 3, 3), torch.device("cpu"))
    assert stage_layout(*arguments) is stage_layout(*arguments)
