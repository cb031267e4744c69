import tracemalloc

import numpy as np
import pytest

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.plan import EpochPlan


def test_every_epoch_shows_every_video_at_most_once_in_another_order():
    plan = EpochPlan(videos=23, global_batch=5, seed=3)
    assert plan.steps_per_epoch == 4
    epochs, ordinals = plan.locate(np.arange(60))
    assert epochs.tolist() == [0] * 20 + [1] * 20 + [2] * 20
    orders = ordinals.reshape(3, 20)
    for order in orders:
        assert len(set(order.tolist())) == 20
        assert order.min() >= 0
        assert order.max() < 23
    assert not np.array_equal(orders[0], orders[1])
    assert set(orders[0].tolist()) != set(orders[1].tolist())


def test_position_alone_decides():
    plan = EpochPlan(videos=40, global_batch=8, seed=1)
    whole = plan.locate(np.arange(200))
    shuffled = np.random.default_rng(0).permutation(200)
    epochs, ordinals = EpochPlan(videos=40, global_batch=8, seed=1).locate(shuffled)
    assert np.array_equal(epochs, whole[0][shuffled])
    assert np.array_equal(ordinals, whole[1][shuffled])
    assert not np.array_equal(
        EpochPlan(videos=40, global_batch=8, seed=2).locate(np.arange(200))[1], whole[1]
    )


def test_order_does_not_depend_on_the_batch():
    orders = [EpochPlan(videos=40, global_batch=batch, seed=1).order(2) for batch in (1, 8, 40)]
    assert np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[0], orders[2])


def test_stand_ins_wrap_inside_the_epoch():
    plan = EpochPlan(videos=12, global_batch=3, seed=0)
    assert plan.stand_ins(12 + 7).tolist() == [12 + 10, 12 + 1, 12 + 4]
    assert EpochPlan(videos=3, global_batch=3, seed=0).stand_ins(1).tolist() == []


def test_48_million_positions_take_little_memory():
    tracemalloc.start()
    plan = EpochPlan(videos=240_000, global_batch=512, seed=0)
    last = plan.steps_per_epoch * 512 * 200 - 1
    epochs, ordinals = plan.locate(np.array([0, last // 2, last]))
    for epoch in range(5):
        plan.order(epoch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert last > 47_000_000
    assert epochs.tolist() == [0, 99, 199]
    assert (ordinals < 240_000).all()
    assert peak < 12e6


def test_too_few_videos_name_both_numbers():
    with pytest.raises(UserError, match="7 usable videos cannot fill one global batch of 8"):
        EpochPlan(videos=7, global_batch=8, seed=0)
