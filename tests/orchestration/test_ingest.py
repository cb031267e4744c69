import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstcl_platform.orchestration.deal import MAX_CHUNK, Deal


@st.composite
def deals(draw):
    world = draw(st.integers(1, 5))
    accumulation = draw(st.integers(1, 3))
    share = draw(st.integers(1, 40))
    steps = draw(st.integers(1, 5))
    return Deal(
        global_batch=world * accumulation * share,
        world=world,
        accumulation=accumulation,
        start_step=draw(st.integers(0, steps)),
        steps=steps,
    )


def received(deal: Deal, rank: int) -> np.ndarray:
    """Positions of `rank` when chunk i goes to rank i mod world."""
    mine = [deal.positions(chunk) for chunk in range(rank, deal.chunks, deal.world)]
    return np.concatenate(mine) if mine else np.empty(0, dtype=np.int64)


@settings(deadline=None)  # the first example pays for what it imports
@given(deals())
def test_chunks_dealt_in_turn_are_exactly_what_each_rank_expects(deal):
    for rank in range(deal.world):
        steps = range(deal.steps - deal.start_step)
        expected = [deal.expected(rank, step) for step in steps]
        np.testing.assert_array_equal(received(deal, rank), np.concatenate([*expected, []]))


@given(deals())
def test_every_position_from_the_start_step_on_is_dealt_once(deal):
    dealt = np.concatenate([received(deal, rank) for rank in range(deal.world)])
    first, end = deal.start_step * deal.global_batch, deal.steps * deal.global_batch
    np.testing.assert_array_equal(np.sort(dealt), np.arange(first, end))


@given(deals())
def test_a_chunk_never_crosses_a_batch(deal):
    assert deal.rank_batch % deal.chunk == 0
    assert deal.chunk <= MAX_CHUNK


@pytest.mark.parametrize("world", [2, 3, 4, 6])
def test_a_micro_batch_holds_the_same_samples_for_every_number_of_ranks(world):
    accumulation, steps = 2, 2

    def micro_batches(deal):
        ranks = [deal.expected(rank, 1).reshape(accumulation, -1) for rank in range(deal.world)]
        return [set(np.concatenate([part[micro] for part in ranks])) for micro in range(accumulation)]

    alone = Deal(global_batch=48, world=1, accumulation=accumulation, steps=steps)
    spread = Deal(global_batch=48, world=world, accumulation=accumulation, steps=steps)
    assert micro_batches(spread) == micro_batches(alone)
