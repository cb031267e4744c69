import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.yaml_source import parse_value, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.5e-4", 1.5e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("2.", 2.0),
        ("10", 10),
        ("010", 10),
        ("-3", -3),
        ("0x1f", 31),
        ("true", True),
        ("null", None),
        ("~", None),
        ("yes", "yes"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'1e-3'", "1e-3"),
        ('"true"', "true"),
        ("1_000", "1_000"),
        ("[1, a, {b: null}]", [1, "a", {"b": None}]),
    ],
)
def test_scalars_follow_the_core_schema(text, value):
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_printed_float_reads_back(number):
    parsed = parse_value(repr(number))
    assert isinstance(parsed, float)
    assert math.copysign(1, parsed) == math.copysign(1, number)
    assert parsed == number


def test_lines_are_kept_for_keys_and_list_items():
    source = parse_yaml("a:\n  b: 1\n  c:\n    - x\n    - y\n", name="f.yaml")
    assert source.value == {"a": {"b": 1, "c": ["x", "y"]}}
    assert [source.line(path) for path in (("a",), ("a", "b"), ("a", "c", 1))] == [1, 2, 5]
    assert source.line(("a", "nowhere", "deep")) == 1
    assert source.line(("nowhere",)) is None


def test_every_duplicate_key_is_named_with_both_lines():
    source = parse_yaml("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n", name="f.yaml")
    assert [(problem.path, problem.text, problem.line) for problem in source.problems] == [
        (("b", "c"), "written twice, on lines 3 and 5", 5),
        (("a",), "written twice, on lines 1 and 6", 6),
    ]


def test_an_empty_value_is_not_taken_for_null():
    source = parse_yaml("pretrain:\n#  epochs: 3\nname: x\n", name="f.yaml")
    assert source.value == {"name": "x"}
    assert "write `null`" in source.problems[0].text


def test_an_alias_is_expanded_and_a_circular_one_refused():
    assert parse_yaml("a: &x [1]\nb: *x\n", name="f.yaml").value == {"a": [1], "b": [1]}
    assert "contains it" in parse_yaml("a: &x [*x]\n", name="f.yaml").problems[0].text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<<: {a: 1}\n", "merge keys"),
        ("a: !!python/name:os.system x\n", "tag"),
        ("? [1, 2]\n: 3\n", "field name must be text"),
    ],
)
def test_unsupported_yaml_is_a_problem_of_its_place(text, problem):
    source = parse_yaml(text, name="f.yaml")
    assert problem in source.problems[0].text
    assert source.problems[0].line == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml: the file is empty"),
        ("# only a comment\n", "f.yaml: the file is empty"),
        ("\n- a\n", "f.yaml:2: the top level must be a mapping of fields such as `name: ...`, not a list"),
        ("just text", "f.yaml:1: the top level must be a mapping"),
        ("a: 1\nb: [1,\n", "f.yaml:3: not valid YAML"),
        ("a: 1\n\tb: 2\n", "f.yaml:2: not valid YAML"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: not valid YAML: expected a single document"),
        ("a: \x00", "f.yaml: not valid YAML"),
    ],
)
def test_what_is_no_experiment_gives_one_message_with_its_line(text, message):
    with pytest.raises(UserError) as caught:
        parse_yaml(text, name="f.yaml")
    assert str(caught.value).startswith(message)
