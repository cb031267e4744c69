"""Pairs are mixed as timm mixes them, and alike for every number of workers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lstcl_platform.specs.training import FinetuneSpec
from lstcl_platform.training.mixing import PairMixer
from tests.training.stages import Recorder, stage_context

CLASSES, BATCH = 5, 8
LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 2, 2])


def mixed(*, step: int = 0, rank: int = 0, world_size: int = 1, **fields):
    """(clips, targets) of a rank; the clip of sample i is i everywhere."""
    spec = FinetuneSpec(batch_size=BATCH, **fields)
    context = stage_context(Path("a1"), Recorder(), rank=rank, world_size=world_size)
    share = slice(rank * BATCH // world_size, (rank + 1) * BATCH // world_size)
    clips = torch.arange(BATCH, dtype=torch.float32)[share, None, None, None, None].repeat(1, 3, 4, 16, 16)
    targets = PairMixer(spec, num_classes=CLASSES, context=context)(step, clips, LABELS[share])
    return clips, targets


def share_of_own(targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Lambda of samples whose partner has another class."""
    return (targets[torch.arange(BATCH), LABELS] - smoothing / CLASSES) / (1 - smoothing)


def test_mixup_blends_neighbours_and_their_targets():
    clips, targets = mixed(cutmix=0.0)
    own = share_of_own(targets, 0.1)
    for first in range(0, 6, 2):
        a, b, lam = float(first), float(first + 1), own[first].item()
        assert 0 < lam < 1
        assert own[first + 1].item() == pytest.approx(lam, abs=1e-6)
        torch.testing.assert_close(clips[first], torch.full_like(clips[first], lam * a + (1 - lam) * b))
        torch.testing.assert_close(clips[first + 1], torch.full_like(clips[first], lam * b + (1 - lam) * a))
    assert len({round(value, 5) for value in own[:6].tolist()}) == 3  # each pair has its own draw
    torch.testing.assert_close(targets.sum(1), torch.ones(BATCH))
    assert targets[7].tolist() == pytest.approx([0.02, 0.02, 0.92, 0.02, 0.02])


def test_cutmix_swaps_one_box_in_all_frames_and_counts_its_area():
    clips, targets = mixed(mixup=0.0, label_smoothing=0.0)
    own = share_of_own(targets, 0.0)
    boxes = 0
    for i in range(6):
        partner = i ^ 1
        assert set(clips[i].unique().tolist()) <= {float(i), float(partner)}
        swapped = clips[i] == partner
        assert torch.equal(swapped, swapped[:1, :1].expand_as(swapped))
        assert own[i].item() == pytest.approx(1 - swapped.float().mean().item(), abs=1e-6)
        rows, columns = (swapped[0, 0].any(dim).sum() for dim in (1, 0))
        assert swapped[0, 0].sum() == rows * columns
        boxes += bool(swapped.any())
    assert boxes >= 4


@pytest.mark.parametrize("world_size", [2, 4])
def test_workers_mix_as_one(world_size: int):
    clips, targets = mixed(step=3)
    parts = [mixed(step=3, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert torch.equal(torch.cat([part[0] for part in parts]), clips)
    assert torch.equal(torch.cat([part[1] for part in parts]), targets)


def test_draws_belong_to_seed_and_step_and_leave_the_generators_alone():
    np.random.seed(1)
    expected = np.random.rand()
    np.random.seed(1)
    first = mixed(step=3, seed=2)[1]
    assert np.random.rand() == expected
    assert torch.equal(mixed(step=3, seed=2)[1], first)
    assert not torch.equal(mixed(step=4, seed=2)[1], first)
    assert not torch.equal(mixed(step=3, seed=3)[1], first)


def test_probability_and_share_of_cutmix():
    unmixed = cut = 0
    for step in range(60):
        clips, _ = mixed(step=step, mix_probability=0.7, cutmix_share=0.3)
        for first in range(0, BATCH, 2):
            values = clips[first].unique()
            unmixed += values.tolist() == [first]
            cut += set(values.tolist()) <= {first, first + 1.0} and values.tolist() != [first]
    assert unmixed / 240 == pytest.approx(0.3, abs=0.08)
    assert cut / 240 == pytest.approx(0.7 * 0.3, abs=0.08)
