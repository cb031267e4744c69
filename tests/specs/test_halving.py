import pytest

from lstcl_platform.specs import UserError, build_graph, expand, parse_experiment
from lstcl_platform.specs.halving import HalvingSpec, standings

GRID = {"pretrain.clips.short_stride": [2, 4], "finetune.seed": [0, 1]}


def study(tmp_path, *, halving=None, **sweep):
    values = {
        "name": "study",
        "data": {"train": "train", "val": "val"},
        "sweep": {"grid": GRID, **sweep} | ({} if halving is None else {"halving": halving}),
    }
    return parse_experiment(values, origin="test", folder=tmp_path)


def graph_of(*specs):
    trials = [trial for spec in specs for trial in expand(spec).trials]
    return build_graph(trials, manifests={specs[0].data.train: "a", specs[0].data.val: "b"})


def test_cells_rank_by_the_mean_of_their_seeds_and_equal_ones_in_the_order_of_the_study():
    cells = [("a", [0.2, 0.3]), ("b", [0.9, 0.0]), ("c", [0.45]), ("d", [0.5, 0.1])]
    found = standings(HalvingSpec(after_epochs=(5,)), epoch=5, cells=cells)
    assert [(each.cell, each.rank, each.goes_on) for each in found] == [
        ("a", 4, False),
        ("b", 1, True),
        ("c", 2, True),
        ("d", 3, False),
    ]
    assert str(found[3]) == "stopped after epoch 5: val_top1 0.3, rank 3 of 4; going on took rank 2 (0.45)"


@pytest.mark.parametrize(
    ("keep", "cells", "going_on"), [(0.5, 5, 2), (0.1, 5, 1), (0.29, 100, 29), (0.99, 2, 1)]
)
def test_the_share_is_rounded_down_to_whole_cells_but_one_always_goes_on(keep, cells, going_on):
    assert HalvingSpec(after_epochs=(1,), keep=keep).going_on(cells) == going_on


def test_a_rung_is_a_stage_of_its_own_and_leaves_all_other_keys_as_they_are(tmp_path):
    plain = graph_of(study(tmp_path))
    halved = graph_of(study(tmp_path, halving={"after_epochs": [5, 15]}))
    for trial, chain in plain.chains.items():
        longer = [halved.stages[key] for key in halved.chains[trial]]
        assert tuple(stage.key for stage in longer if stage.until is None) == chain
        assert [(stage.kind, stage.until) for stage in longer[1:5]] == [
            ("finetune", 5),
            ("evaluate", 5),
            ("finetune", 15),
            ("evaluate", 15),
        ]
        rungs = [stage.key for stage in longer if stage.kind == "finetune"]
        assert [halved.stages[key].earlier for key in rungs] == [(), tuple(rungs[:1]), tuple(rungs[:2])]
    assert len(halved.stages) == len(plain.stages) + 4 * 4


def test_rungs_are_shared_between_studies_whatever_else_they_rank_after(tmp_path):
    one = study(tmp_path, halving={"after_epochs": [5, 15]})
    other = study(tmp_path, halving={"after_epochs": [15, 40]}).model_copy(update={"name": "other"})
    graph = graph_of(one, other)
    assert len(graph.stages) == 2 + 4 * 2 * 4
    (last,) = {chain[-2] for name, chain in graph.chains.items() if "short=2 seed=0" in name}
    assert [graph.stages[key].until for key in graph.stages[last].earlier] == [5, 15, 40]


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        ({"halving": {"after_epochs": [15, 5]}}, "after_epochs must be ascending, not [15, 5]"),
        ({"halving": {"after_epochs": []}}, "after_epochs needs at least one"),
        ({"halving": {}}, "sweep.halving.after_epochs: required, but missing"),
        ({"halving": {"after_epochs": [5], "keep": 1.0}}, "sweep.halving.keep: must be less than 1, not 1.0"),
        ({"halving": {"after_epochs": [5], "metric": "top1"}}, "did you mean 'val_top1'?"),
        (
            {"halving": {"after_epochs": [5, 200]}},
            "cell 'short=2 seed=0' has finetune.epochs 200: epoch 200 does not come before that",
        ),
        (
            {"halving": {"after_epochs": [5]}, "cases": [{"name": "few", "finetune.epochs": 6}]},
            None,
        ),
        (
            {"halving": {"after_epochs": [5]}, "cases": [{"name": "frozen", "evaluate.protocols": ["knn"]}]},
            "evaluate.protocols of cell 'frozen' has no 'finetuned'",
        ),
        (
            {"halving": {"after_epochs": [5]}, "cases": [{"name": "else", "data.val": "other"}]},
            "data.val, which must be the same for all of them, but the sweep sets it",
        ),
        (
            {"halving": {"after_epochs": [5]}, "grid": {"finetune.seed": [0, 1]}},
            "needs two cells or more to rank; seeds are ranked together, as one cell",
        ),
    ],
)
def test_what_cannot_be_ranked_is_refused_by_field_and_cell(tmp_path, sweep, told):
    if told is None:
        assert study(tmp_path, **sweep).sweep.halving.keep == 0.5
        return
    with pytest.raises(UserError) as refused:
        study(tmp_path, **sweep)
    assert told in str(refused.value)
    assert "sweep.halving" in str(refused.value)
