"""A spec with a union told apart by `kind`, as frameworks will be."""

from typing import Annotated, Literal

from pydantic import Field

from lstcl_platform.specs.base import Spec


class Cat(Spec):
    """A kind of pet."""

    kind: Literal["cat"] = "cat"
    """Kind."""
    lives: int = 9
    """Lives."""


class Dog(Spec):
    """Another kind of pet."""

    kind: Literal["dog"] = "dog"
    """Kind."""
    tricks: int = 3
    """Tricks."""


class Home(Spec):
    """A spec with a union told apart by `kind`."""

    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat()
    """Who lives here."""
    garden: Dog | None = None
    """Who lives outside."""
