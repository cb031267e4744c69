"""Schedules against the public MoCo v3's values at fractional epochs."""

import re

import pytest

from lstcl_platform.training.schedules import cosine_momentum, warmup_cosine
from tests.fixtures import numbers

REFERENCE = numbers("moco_v3_schedules")
EPOCHS = REFERENCE["epochs_grid"]


@pytest.mark.parametrize("name", REFERENCE["lr"])
def test_learning_rate(name):
    base, batch, warmup, total = re.fullmatch(r"base(.+)_bs(\d+)_w(\d+)_e(\d+)", name).groups()
    peak = float(base) * int(batch) / 256
    for epoch, expected in zip(EPOCHS, REFERENCE["lr"][name], strict=True):
        found = warmup_cosine(epoch, total=int(total), warmup=int(warmup), peak=peak)
        assert found == expected
        in_steps = warmup_cosine(epoch * 7, total=int(total) * 7, warmup=int(warmup) * 7, peak=peak)
        assert in_steps == pytest.approx(expected, rel=1e-9, abs=1e-18)


@pytest.mark.parametrize("name", REFERENCE["momentum"])
def test_momentum(name):
    start, total = re.fullmatch(r"m(.+)_e(\d+)", name).groups()
    for epoch, expected in zip(EPOCHS, REFERENCE["momentum"][name], strict=True):
        assert cosine_momentum(epoch, total=int(total), start=float(start)) == expected


def test_without_warmup_training_starts_at_the_peak():
    assert warmup_cosine(0, total=10, warmup=0, peak=0.5) == 0.5
