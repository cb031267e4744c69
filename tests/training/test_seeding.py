"""Draws within a step depend on seed and step, and on nothing that came before."""

import pytest
import torch

from lstcl_platform.training.seeding import repeatable, reseed, rng_state, set_rng_state

CPU = torch.device("cpu")


def draw(seed: int, step: int) -> tuple[float, ...]:
    reseed(seed, step)
    return tuple(torch.rand(4).tolist())


def test_draws_are_a_function_of_seed_and_step():
    keys = [(s, t) for s in (0, 1, 11) for t in (0, 1, 11)]
    drawn = [draw(*key) for key in keys]
    assert len(set(drawn)) == len(keys)
    torch.rand(100)
    assert [draw(*key) for key in reversed(keys)] == drawn[::-1]


def test_the_state_comes_back():
    state = rng_state(CPU)
    first = torch.rand(3)
    set_rng_state(state, CPU)
    assert torch.equal(torch.rand(3), first)


def test_repeatable_leaves_the_setting_as_it_was():
    def fail_inside() -> None:
        with repeatable(CPU):
            assert torch.are_deterministic_algorithms_enabled()
            raise KeyError

    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(KeyError):
        fail_inside()
    assert not torch.are_deterministic_algorithms_enabled()
