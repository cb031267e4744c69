import pytest

from lstcl_platform.specs import UserError, build_graph, expand, parse_experiment

GRID = {"pretrain.clips.long_stride": [8, 32]}


def study(tmp_path, *, name="study", epochs=(), protocols=("finetuned", "linear"), **values):
    values = {
        "name": name,
        "data": {"train": "train", "val": "val"},
        "evaluate": {"protocols": list(protocols), "probe_epochs": list(epochs)},
        "sweep": {"grid": GRID, "cases": [{"name": "scratch", "pretrain": None}]},
        **values,
    }
    return parse_experiment(values, origin="test", folder=tmp_path)


def graph_of(*specs):
    trials = [trial for spec in specs for trial in expand(spec).trials]
    return build_graph(trials, manifests={specs[0].data.train: "a", specs[0].data.val: "b"})


def test_a_probed_epoch_is_a_part_of_the_pretraining_with_a_probe_and_leaves_all_other_keys_as_they_are(
    tmp_path,
):
    plain, probed = graph_of(study(tmp_path)), graph_of(study(tmp_path, epochs=[20, 50]))
    for trial, chain in plain.chains.items():
        stages = [probed.stages[key] for key in probed.chains[trial]]
        assert tuple(stage.key for stage in stages if stage.until is None) == chain
        if trial.endswith("scratch"):
            assert len(stages) == len(chain)
            continue
        assert [(stage.kind, stage.until, stage.epoch) for stage in stages[:6]] == [
            ("pretrain", 20, 20),
            ("probe", 20, 20),
            ("pretrain", 50, 50),
            ("probe", 50, 50),
            ("pretrain", None, 200),
            ("probe", None, 200),
        ]
        first, early, second, late, whole, end = (stage.key for stage in stages[:6])
        assert [probed.stages[key].parent for key in (early, late, end)] == [first, second, whole]
        assert [probed.stages[key].needs for key in (first, second, whole)] == [(), (first,), (second,)]
        assert probed.stages[whole].earlier == (first, second)
        assert probed.longer(first) == [probed.stages[second], probed.stages[whole]]
        finetune = next(stage for stage in stages if stage.kind == "finetune")
        assert (finetune.parent, finetune.earlier) == (whole, ())
    assert len(probed.stages) == len(plain.stages) + 2 * 4


def test_studies_that_probe_other_epochs_share_one_line_of_parts(tmp_path):
    early = study(tmp_path, epochs=[50])
    late = study(tmp_path, name="late", epochs=[20, 100])
    graph = graph_of(early, late)
    parts = [graph.stages[key] for key in graph.chains["late/long=8"] if graph.stages[key].kind == "pretrain"]
    untils = [[graph.stages[key].until for key in part.earlier] for part in parts]
    assert untils == [[], [20, 50], [20, 50, 100]]
    assert parts[-1].key in graph.chains["study/long=8"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epochs": [50, 20]}, "probe_epochs must be ascending, not [50, 20]"),
        ({"epochs": [20, 20]}, "probe_epochs must be ascending"),
        ({"epochs": [20], "protocols": ["finetuned"]}, "add 'knn' or 'linear' to evaluate.protocols"),
        ({"epochs": [20, 200]}, "200 is not below pretrain.epochs (200)"),
        ({"epochs": [0]}, "probe_epochs[0]: must be greater than 0"),
    ],
)
def test_epochs_that_cannot_be_probed_are_refused_by_field(tmp_path, changes, told):
    with pytest.raises(UserError) as refused:
        study(tmp_path, **changes)
    assert told in str(refused.value)
    assert "evaluate" in str(refused.value)


def test_epochs_are_asked_of_what_is_pretrained_alone(tmp_path):
    spec = study(tmp_path, epochs=[20], pretrain=None, sweep={})
    assert [stage.kind for stage in graph_of(spec).stages.values()] == ["probe", "finetune", "evaluate"]
