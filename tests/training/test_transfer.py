"""The feed gives batches in order, one step ahead, and never writes into what it was given."""

import time

import numpy as np
import pytest
import torch

from lstcl_platform.training.transfer import Feed


def numbered(count: int, taken: list[int]):
    for number in range(count):
        taken.append(number)
        column = np.full(2, number)
        column.flags.writeable = False
        yield {"x": column, "name": np.array(["a", "b"], dtype=object)}


def feed(batches) -> Feed:
    return Feed(batches, device=torch.device("cpu"), columns=["x"])


def test_prefetching_changes_when_batches_come_and_not_which():
    taken: list[int] = []
    one = feed(numbered(3, taken))
    assert taken == []
    seen = []
    for number in range(3):
        batch = one.take()
        seen.append(batch.tensors["x"].tolist())
        if number < 2:
            one.prefetch()
            assert taken == list(range(number + 2))
    assert seen == [[0, 0], [1, 1], [2, 2]]
    assert list(batch.host["name"]) == ["a", "b"]
    with pytest.raises(RuntimeError, match="ended before the last step"):
        one.take()


def test_a_read_only_array_is_not_shared():
    column = np.zeros(2)
    column.flags.writeable = False
    tensor = feed(iter([{"x": column}])).take().tensors["x"]
    tensor += 1
    assert column.tolist() == [0, 0]


def test_waiting_is_measured_once():
    def slow():
        time.sleep(0.2)
        yield {"x": np.zeros(1)}

    one = feed(slow())
    one.take()
    assert one.pop_waited_seconds() >= 0.2
    assert one.pop_waited_seconds() == 0
