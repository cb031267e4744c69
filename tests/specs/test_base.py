from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from lstcl_platform.specs.base import DEFER_RELATIONS, Relation, Spec, all_broken_relations
from lstcl_platform.specs.training import PretrainSpec


class Range(Spec):
    """A spec with one rule."""

    low: int = 0
    """Lower end."""
    high: int = 1
    """Upper end."""

    def broken_relations(self) -> Iterator[Relation]:
        """The ends are in order."""
        if self.low > self.high:
            yield Relation(fields=("low", "high"), text="low exceeds high")


class Pair(Spec):
    """A spec with two blocks."""

    first: Range = Range()
    """One."""
    second: Range = Range()
    """Another."""


def test_a_spec_built_in_python_is_checked_whole():
    with pytest.raises(ValueError, match="must be below epochs"):
        PretrainSpec(epochs=3)
    with pytest.raises(ValueError, match="frozen"):
        PretrainSpec().epochs = 3


def test_rules_hold_at_construction_unless_the_caller_asks_to_list_them():
    with pytest.raises(ValidationError, match="low exceeds high"):
        Range(low=2)
    broken = {"first": {"low": 2}, "second": {"high": -1}}
    pair = Pair.model_validate(broken, context=DEFER_RELATIONS)
    assert [(block, rule.fields) for block, rule in all_broken_relations(pair)] == [
        (("first",), ("low", "high")),
        (("second",), ("low", "high")),
    ]


@pytest.mark.parametrize(
    "values", [{"lr_base": float("nan")}, {"epochs": True}, {"epochs": "3"}, {"epochz": 3}]
)
def test_no_value_is_bent_to_fit(values):
    with pytest.raises(ValidationError):
        PretrainSpec(**values)
