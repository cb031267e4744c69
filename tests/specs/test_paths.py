import pytest

from lstcl_platform.specs.paths import assign
from tests.specs.pets import Home


def test_assigning_makes_blocks_on_the_way_but_none_that_is_null():
    raw = {}
    assign(raw, "pet.tricks", 4, root=Home)
    assert raw == {"pet": {"tricks": 4}}
    with pytest.raises(ValueError, match=r"garden is null here, so garden\.tricks cannot be set"):
        assign(raw, "garden.tricks", 4, root=Home)
    with pytest.raises(ValueError, match="garden is null here"):
        assign({"garden": None}, "garden.tricks", 4, root=Home)


def test_a_value_is_no_block():
    with pytest.raises(ValueError, match=r"pet is not a block of fields, so pet\.tricks cannot be set"):
        assign({"pet": 3}, "pet.tricks", 4, root=Home)
