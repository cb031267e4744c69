"""Lookups of fields, also where a block is one of several kinds."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from lstcl_platform.specs.base import Spec
from lstcl_platform.specs.fields import blocks_of, field_paths, find_field, is_list
from lstcl_platform.specs.paths import assign
from lstcl_platform.specs.training import PretrainSpec
from lstcl_platform.specs.validation import validate_fields, written


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


def messages(raw):
    spec, problems = validate_fields(Home, raw)
    assert (spec is None) is bool(problems)
    return [(problem.path, problem.text) for problem in problems]


def test_a_union_of_blocks_is_checked_against_the_kind_that_is_written():
    assert messages({"pet": {"kind": "dog", "tricks": 5}}) == []
    assert messages({"pet": {"kind": "dog", "lives": 5}}) == [
        (("pet", "lives"), "unknown field; did you mean 'pet.lives'? (allowed in pet: kind, tricks)")
    ]
    assert messages({"pet": {"kind": "dog", "tricks": "many"}}) == [
        (("pet", "tricks"), "must be a whole number, not the text 'many'")
    ]
    assert messages({"pet": {"kind": "dgo"}}) == [
        (("pet",), "kind must be one of cat, dog, not the text 'dgo'; did you mean 'dog'?")
    ]
    assert messages({"pet": {"lives": 3}}) == [(("pet",), "required field 'kind' is missing")]
    assert messages({"pet": 3, "garden": []}) == [
        (("pet",), "must be a block of fields, not 3"),
        (("garden",), "must be a block of fields, not a list of 0"),
    ]


def test_what_was_given_keeps_its_kind():
    assert written(Home(pet=Dog())) == {"pet": {"kind": "dog"}}
    assert written(Home()) == {}


def test_paths_reach_the_fields_of_every_kind():
    assert list(field_paths(Home)) == [
        "pet", "pet.kind", "pet.lives", "pet.tricks", "garden", "garden.kind", "garden.tricks",
    ]  # fmt: skip
    assert blocks_of(Home.model_fields["garden"].annotation) == [Dog]
    assert find_field("pet.tricks", Home).default == 3


def test_a_field_that_is_a_list_is_known_as_such():
    assert is_list(find_field("pretrain.augment.crop_area"))
    assert not is_list(find_field("pretrain.epochs"))
    assert not is_list(find_field("pretrain"))


@pytest.mark.parametrize("path", ["", ".", "pretrain.", "pretrain..epochs", "pretrain.epochs.x"])
def test_a_path_that_leads_nowhere_is_refused(path):
    with pytest.raises(LookupError, match="unknown field"):
        find_field(path)


def test_assigning_makes_blocks_on_the_way_but_none_that_is_null():
    raw = {}
    assign(raw, "pet.tricks", 4, root=Home)
    assert raw == {"pet": {"tricks": 4}}
    with pytest.raises(ValueError, match=r"garden is null here, so garden\.tricks cannot be set"):
        assign(raw, "garden.tricks", 4, root=Home)
    with pytest.raises(ValueError, match="garden is null here"):
        assign({"garden": None}, "garden.tricks", 4, root=Home)


def test_a_spec_built_in_python_is_checked_whole():
    with pytest.raises(ValueError, match="must be below epochs"):
        PretrainSpec(epochs=3)
    with pytest.raises(ValueError, match="frozen"):
        PretrainSpec().epochs = 3
