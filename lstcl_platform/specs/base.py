"""What all specs share: frozen, strict about unknown fields, documented field by field."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Precision = Literal["fp32", "bf16", "fp16"]


class Spec(BaseModel):
    """Base of everything a user writes: immutable, and an unknown field is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, validate_default=True
    )
