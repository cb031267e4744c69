from pathlib import Path

import jsonschema
import pytest
import yaml

from lstcl_platform.specs import load_experiment
from lstcl_platform.specs.fields import field_paths
from lstcl_platform.specs.json_schema import experiment_schema

SCHEMA = experiment_schema()
EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
MINIMAL = {"name": "x", "data": {"train": "a", "val": "b"}}


def errors(document):
    return [error.json_path for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)]


def test_the_schema_is_valid_and_closed():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    objects = [SCHEMA, *SCHEMA["$defs"].values()]
    assert all(block["additionalProperties"] is False for block in objects)


def test_every_field_is_described():
    for block in [SCHEMA, *SCHEMA["$defs"].values()]:
        assert block["description"]
        for name, field in block["properties"].items():
            assert field.get("description"), name


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_projects_experiments_follow_it(path):
    assert errors(yaml.safe_load(path.read_text())) == []


def test_a_resolved_experiment_follows_it(write):
    spec = load_experiment(write("sweep: {cases: [{name: scratch, pretrain: null}]}\n"))
    assert errors(spec.model_dump(mode="json")) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"epochs": 3}, "$"),
        ({"pretrain": {"epochz": 3}}, "$.pretrain"),
        ({"finetune": {"epochs": "3"}}, "$.finetune.epochs"),
        ({"model": {"name": "vit"}}, "$.model.name"),
        ({"sweep": {"grid": {"pretrain.epochz": [1]}}}, "$.sweep.grid"),
        ({"sweep": {"cases": [{"pretran": None}]}}, "$.sweep.cases[0]"),
    ],
)
def test_an_editor_marks_what_loading_refuses(change, place):
    assert errors({**MINIMAL, **change}) == [place]


def test_sweeps_are_completed_with_the_paths_that_exist():
    assert errors({**MINIMAL, "sweep": {"grid": {path: [1] for path in field_paths()}}}) == []
