import pytest

from lstcl_platform.specs.fields import blocks_of, field_paths, find_field, is_list
from tests.specs.pets import Dog, Home


def test_paths_reach_the_fields_of_every_kind():
    assert list(field_paths(Home)) == [
        "pet",
        "pet.kind",
        "pet.lives",
        "pet.tricks",
        "garden",
        "garden.kind",
        "garden.tricks",
    ]
    assert blocks_of(Home.model_fields["garden"].annotation) == [Dog]
    assert find_field("pet.tricks", Home).default == 3


def test_a_field_that_is_a_list_is_known_as_such():
    assert is_list(find_field("pretrain.augment.crop_area"))
    assert not is_list(find_field("pretrain.epochs"))
    assert not is_list(find_field("pretrain"))
    assert not is_list(find_field("pretrain.clips.long_stride"))  # a list or a number


@pytest.mark.parametrize("path", ["", ".", "pretrain.", "pretrain..epochs", "pretrain.epochs.x"])
def test_a_path_that_leads_nowhere_is_refused(path):
    with pytest.raises(LookupError, match="unknown field"):
        find_field(path)
