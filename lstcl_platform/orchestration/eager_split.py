"""A dataset dealt to ranks whose executor starts at once, instead of when the first rank asks for data."""

from typing import TYPE_CHECKING, Any

import ray
from ray.data import Dataset
from ray.data._internal.iterator.stream_split_iterator import SplitCoordinator, StreamSplitDataIterator
from ray.data._internal.logical.interfaces import LogicalPlan
from ray.data._internal.logical.operators import StreamingSplit

if TYPE_CHECKING:
    from ray.data import DataIterator

_Coordinator: Any = SplitCoordinator.__ray_metadata__.modified_class


class _EagerCoordinator(_Coordinator):  # type: ignore[misc]  # an actor's class has no type
    """Ray's own, but for its only epoch, which begins here."""

    def __init__(self, dataset: Dataset, ranks: int) -> None:
        super().__init__(dataset, ranks, None)
        self._try_start_new_epoch(self._cur_epoch)

    def start_epoch(self, split_idx: int) -> int:
        """The epoch that runs."""
        epoch: int = self._cur_epoch
        return epoch


def eager_split(dataset: Dataset, ranks: int) -> "list[DataIterator]":
    """One iterator a rank over the rows of `dataset` in turn, each to be read once.

    A stage starts about ten processes one after the other; those that decode then start beside those that train.

    Args:
        dataset: lazy; executed once, from now on.
        ranks: how many iterators; all must be read at the same time.
    """
    split = StreamingSplit(
        num_splits=ranks, equal=False, input_dependencies=[dataset._logical_plan.dag], locality_hints=None
    )
    dealt = Dataset._from_parent(dataset, LogicalPlan(split, dataset.context))
    coordinator = (
        ray.remote(_EagerCoordinator)
        .options(
            num_cpus=0,
            max_concurrency=ranks + 1,
            label_selector={ray._raylet.RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()},
        )
        .remote(dealt, ranks)
    )
    return [StreamSplitDataIterator(coordinator, rank, ranks) for rank in range(ranks)]
