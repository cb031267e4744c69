"""A batch that passes the trunk in pieces is the same step."""

import pytest
import torch

from lstcl_platform.models.block import blocks_of
from tests.frameworks.small import SPECS, small, views


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("parts", [2, 5])
def test_pieces_of_the_trunk_give_the_whole_batchs_step(name, parts):
    whole, pieces = small(name), small(name)
    pieces.trunk_parts = parts
    for seed in (1, 2):
        losses = []
        for framework in (whole, pieces):
            framework.zero_grad()
            losses.append(framework(*views(seed)))
            losses[-1].backward()
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-12, atol=0.0)
        expected = {n: p.grad for n, p in whole.named_parameters() if p.grad is not None}
        largest = max(float(gradient.abs().max()) for gradient in expected.values())
        for n, p in pieces.named_parameters():
            if n in expected:
                torch.testing.assert_close(p.grad, expected[n], rtol=1e-9, atol=largest * 1e-12)
    for n, value in whole.state_dict().items():
        torch.testing.assert_close(pieces.state_dict()[n], value, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(pieces.observed["feature"], whole.observed["feature"])


def test_only_one_piece_passes_the_trunk_at_a_time():
    framework, rows = small(), []
    framework.trunk_parts = 5
    framework.backbone.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    framework(*views()).backward()
    assert rows == [4] * 10  # five forward, five again in the backward pass


def test_a_block_that_recomputes_gives_the_same_bits():
    plain, recomputed = small(), small()
    for block in blocks_of(recomputed):
        block.recomputed = True
    calls = []
    next(blocks_of(recomputed.backbone)).register_forward_pre_hook(lambda *_: calls.append(1))
    for framework in (plain, recomputed):
        framework(*views()).backward()
    assert len(calls) == 2
    for (n, p), q in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        assert p.grad is None or torch.equal(p.grad, q.grad), n
