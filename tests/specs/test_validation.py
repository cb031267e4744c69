from lstcl_platform.specs.validation import validate_fields, written
from tests.specs.pets import Dog, Home


def messages(raw):
    spec, problems = validate_fields(Home, raw)
    assert (spec is None) is bool(problems)
    return [(problem.path, problem.text) for problem in problems]


def test_a_union_of_blocks_is_checked_against_the_kind_that_is_written():
    assert messages({"pet": {"kind": "dog", "tricks": 5}}) == []
    assert messages({"pet": {"kind": "dog", "lives": 5}}) == [
        (("pet", "lives"), "unknown field; it belongs to kind cat (allowed in pet: kind, tricks)")
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
