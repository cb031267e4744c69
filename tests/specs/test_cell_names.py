from hypothesis import given
from hypothesis import strategies as st

from lstcl_platform.specs.cell_names import cell_name, short_labels
from lstcl_platform.specs.fields import field_paths


def test_labels_are_the_last_part_and_longer_only_where_they_would_coincide():
    paths = ["pretrain.clips.short_stride", "pretrain.seed", "finetune.seed", "finetune.stride", "pretrain"]
    assert short_labels(paths) == {
        "pretrain.clips.short_stride": "short",
        "pretrain.seed": "pretrain.seed",
        "finetune.seed": "finetune.seed",
        "finetune.stride": "stride",
        "pretrain": "pretrain",
    }


def test_a_kind_goes_by_the_name_of_its_block():
    kind, block = "pretrain.framework.kind", "pretrain.framework"
    assert cell_name({kind: "byol"}, short_labels([kind])) == "framework=byol"
    assert cell_name({block: {"kind": "byol"}}, short_labels([block])) == "framework=byol"
    assert short_labels([kind, block]) == {kind: "framework.kind", block: "pretrain.framework"}


@given(st.sets(st.sampled_from(sorted(field_paths()))))
def test_labels_tell_all_paths_apart(paths):
    labels = short_labels(sorted(paths))
    assert len(set(labels.values())) == len(paths)


def test_values_are_written_shortly():
    values = {
        "data.train": "/data/k400/train",
        "model.frames": 8,
        "pretrain": None,
        "finetune.lr_base": 1e-05,
    }
    assert cell_name(values, short_labels(values)) == "train=k400/train frames=8 pretrain=null lr_base=1e-05"
    assert cell_name(values, short_labels(values), case="big", axes=["model.frames"]) == "big frames=8"
    assert cell_name({"a": {"kind": "byol", "on": True}}, {"a": "a"}) == "a=byol{on:true}"
    assert cell_name({"a": {"on": True}}, {"a": "a"}) == "a={on:true}"
