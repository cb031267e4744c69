"""Choosing a framework in a file, on the command line and in a sweep."""

import jsonschema
import pytest

from lstcl_platform.specs import UserError, expand, load_experiment
from lstcl_platform.specs.frameworks import BYOLSpec, MoCoV3Spec, SimSiamSpec
from lstcl_platform.specs.json_schema import experiment_schema


def framework(write, text="", overrides=()):
    return load_experiment(write(text), overrides).pretrain.framework


def test_a_kind_brings_its_own_defaults(write):
    assert framework(write) == MoCoV3Spec()
    assert framework(write, overrides=["pretrain.framework.kind=byol"]) == BYOLSpec()
    assert framework(write, "pretrain: {framework: {kind: simsiam, heads: byol}}\n") == SimSiamSpec(
        heads="byol"
    )


def test_a_block_without_kind_is_moco_v3(write):
    assert framework(write, overrides=["pretrain.framework.temperature=0.1"]) == MoCoV3Spec(temperature=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{kind: biol}",
            "kind must be one of moco_v3, byol, simsiam, not the text 'biol'; did you mean 'byol'?",
        ),
        ("{kind: simsiam, momentum: 0.9}", "momentum: unknown field; it belongs to kind moco_v3 or byol"),
        ("{heads: byol}", "allowed in pretrain.framework: kind, temperature, momentum,"),
        ("{kind: byol, momentun: 0.9}", "unknown field; did you mean 'momentum'?"),
        ("{kind: byol, momentum: 2}", "must be at most 1"),
    ],
)
def test_what_a_kind_does_not_take_is_refused(write, text, message):
    with pytest.raises(UserError) as error:
        framework(write, f"pretrain: {{framework: {text}}}\n")
    assert message in str(error.value)
    assert "Found 1 error" in str(error.value)


def test_a_field_of_the_file_that_the_kind_of_an_override_lacks(write):
    with pytest.raises(
        UserError, match=r"exp.yaml:5: .*temperature: unknown field; it belongs to kind moco_v3 \("
    ):
        framework(
            write, "pretrain: {framework: {temperature: 0.1}}\n", overrides=["pretrain.framework.kind=byol"]
        )


def names(write, sweep):
    return [trial.name for trial in expand(load_experiment(write(f"sweep: {sweep}\n"))).trials]


def test_a_sweep_over_kinds_and_over_blocks(write):
    kinds = "{grid: {pretrain.framework.kind: [moco_v3, byol, simsiam], seed: [0]}}".replace(
        "seed", "pretrain.seed"
    )
    assert names(write, kinds) == [f"framework={kind} seed=0" for kind in ("moco_v3", "byol", "simsiam")]
    blocks = "{grid: {pretrain.framework: [{kind: byol}, {kind: byol, momentum: 0.9}, {kind: simsiam}]}}"
    assert names(write, blocks) == ["framework=byol", "framework=byol{momentum:0.9}", "framework=simsiam"]
    spec = load_experiment(write(f"sweep: {kinds}\n"))
    assert [trial.spec.pretrain.framework for trial in expand(spec).trials] == [
        MoCoV3Spec(),
        BYOLSpec(),
        SimSiamSpec(),
    ]


def test_a_cell_that_sets_what_its_framework_lacks_is_named(write):
    grid = "{grid: {pretrain.framework.kind: [byol, simsiam], pretrain.framework.momentum: [0.9]}}"
    with pytest.raises(UserError, match="momentum") as error:
        names(write, grid)
    assert "simsiam" in str(error.value) or "sweep.grid.pretrain.framework.momentum" in str(error.value)
    with pytest.raises(UserError, match="did you mean 'byol'"):
        names(write, "{grid: {pretrain.framework.kind: [byl]}}")


@pytest.mark.parametrize(
    ("block", "valid"),
    [
        ({"momentum": 0.9}, True),
        ({"kind": "byol", "momentum": 0.9}, True),
        ({"kind": "simsiam", "heads": "byol"}, True),
        ({"heads": "byol"}, False),
        ({"kind": "simsiam", "momentum": 0.9}, False),
    ],
)
def test_an_editor_tells_the_kinds_apart(block, valid):
    document = {"name": "x", "data": {"train": "a", "val": "b"}, "pretrain": {"framework": block}}
    assert jsonschema.Draft202012Validator(experiment_schema()).is_valid(document) is valid
