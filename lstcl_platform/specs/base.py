"""What all specs share: frozen, strict about unknown fields and types, documented field by field."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Precision = Literal["fp32", "bf16", "fp16"]

DEFER_RELATIONS = "relations are checked by the caller"
"""Validation context under which a spec checks fields only; the caller then lists all broken relations."""


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A rule between fields that the written values break.

    Attributes:
        fields: the fields it is about, as dotted paths inside the spec that states the rule.
        text: what is wrong, with names and values.
    """

    fields: tuple[str, ...]
    text: str


class Spec(BaseModel):
    """Base of everything a user writes: immutable, and an unknown field is an error.

    A subclass states the rules between its fields in `broken_relations`; building a spec in Python raises
    `ValueError` (pydantic's `ValidationError`) when one is broken.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    def broken_relations(self) -> Iterator[Relation]:
        """Yield the rules between this spec's own fields that do not hold."""
        return iter(())

    @model_validator(mode="after")
    def _relations_hold(self, info: ValidationInfo) -> Self:
        if info.context == DEFER_RELATIONS:
            return self
        broken = [relation.text for relation in self.broken_relations()]
        if broken:
            raise ValueError("; ".join(broken))
        return self


def all_broken_relations(
    spec: Spec, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Relation]]:
    """Yield (path of the block, relation) for every broken rule in `spec` and in the blocks inside it."""
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, Spec):
            yield from all_broken_relations(value, (*prefix, name))
    for relation in spec.broken_relations():
        yield prefix, relation
