"""Windowed attention against its formula, value and every gradient."""

import pytest
import torch

from lstcl_platform.models.attention import row_attention, window_attention


def formula(q, k, v, bias):
    return ((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5 + bias).softmax(-1) @ v


def inputs(shape, rows, dtype=torch.float64):
    torch.manual_seed(0)
    tensors = [torch.randn(shape, dtype=dtype) for _ in range(3)]
    tensors.append(torch.randn(rows, *shape[2:4], shape[3], dtype=dtype))
    return [x.requires_grad_() for x in tensors]


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ((2, 3, 2, 5, 4), 1),
        ((2, 3, 2, 5, 4), 3),
        ((7, 2, 5, 160, 8), 1),
        ((23, 2, 3, 100, 8), 2),
        ((1, 1, 2, 800, 4), 1),
    ],
    ids=["shared", "per window", "ragged pieces", "ragged pieces per window", "one head a piece"],
)
def test_equals_the_formula(shape, rows):
    ours, theirs = inputs(shape, rows), inputs(shape, rows)
    found, expected = window_attention(*ours), formula(*theirs)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    cotangent = torch.randn(shape, dtype=torch.float64)
    (found * cotangent).sum().backward()
    (expected * cotangent).sum().backward()
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rows", [1, 3])
def test_without_gradient_it_is_the_same(rows):
    q, k, v, bias = inputs((2, 3, 2, 5, 4), rows)
    with torch.no_grad():
        torch.testing.assert_close(window_attention(q, k, v, bias), formula(q, k, v, bias))


def test_bf16_gradients_stay_close():
    wide = inputs((4, 2, 3, 60, 16), 1, torch.float32)
    formula(*wide).square().sum().backward()
    narrow = [x.detach().bfloat16().requires_grad_() for x in wide[:3]]
    bias = wide[3].detach().clone().requires_grad_()
    window_attention(*narrow, bias).float().square().sum().backward()
    for found, expected in zip([*narrow, bias], wide, strict=True):
        assert (found.grad.float() - expected.grad).norm() < 0.03 * expected.grad.norm()
    assert bias.grad.dtype == torch.float32


@pytest.mark.parametrize("tokens", [8, 64, 65, 197])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_rows_without_a_bias_are_attended_alike_however_long(tokens, dtype):
    generator = torch.Generator().manual_seed(tokens)
    q, k, v = torch.randn(3, 2, 3, tokens, 16, dtype=torch.float64, generator=generator).to(dtype).unbind(0)
    logits = q.double() @ k.double().transpose(-2, -1) / 4
    expected = logits.softmax(-1) @ v.double()
    tolerance = 1e-12 if dtype is torch.float64 else 0.05
    torch.testing.assert_close(row_attention(q, k, v).double(), expected, rtol=tolerance, atol=tolerance)
