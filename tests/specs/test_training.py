import pytest

from lstcl_platform.specs import UserError, expand
from lstcl_platform.specs.loading import parse_experiment
from lstcl_platform.specs.training import ClipPairSpec, FinetuneSpec


def trials(**values):
    values = {"name": "study", "data": {"train": "train", "val": "val"}, **values}
    return expand(parse_experiment(values, origin="test")).trials


@pytest.mark.parametrize(
    ("short", "long"), [(8, 8), (4, (8, 16, 32)), ((4, 8, 16), 32), ((4, 8, 16, 32), (4, 8, 16, 32))]
)
def test_strides_are_one_or_an_ascending_set(short, long):
    clips = ClipPairSpec(short_stride=short, long_stride=long)
    assert clips.short_strides == (short if isinstance(short, tuple) else (short,))
    assert clips.long_strides == (long if isinstance(long, tuple) else (long,))


@pytest.mark.parametrize(
    ("short", "long", "message"),
    [
        (16, 8, r"short_stride \(16\) must not exceed long_stride \(8\)"),
        ((4, 64), (8, 32), r"short_stride \(64\) must not exceed long_stride \(32\)"),
        (8, (4, 32), r"long_stride 4 can never be drawn: no short_stride of 8 is as small"),
        ((8, 4), 32, r"a set of strides must be ascending, not \[8, 4\]"),
        (4, (8, 8), r"a set of strides must be ascending, not \[8, 8\]"),
        (4, (8,), "at least 2 items"),
        ((0, 4), 8, "greater than 0"),
    ],
)
def test_strides_that_cannot_all_be_drawn_are_refused(short, long, message):
    with pytest.raises(ValueError, match=message):
        ClipPairSpec(short_stride=short, long_stride=long)


def test_in_a_sweep_a_list_of_strides_is_several_cells_and_a_list_in_it_a_set():
    cases = [
        {"name": "cells", "pretrain.clips.long_stride": [8, 32]},
        {"name": "set", "pretrain.clips.long_stride": [[8, 32]]},
    ]
    found = {trial.name: trial.spec.pretrain.clips.long_stride for trial in trials(sweep={"cases": cases})}
    assert found == {"cells long=8": 8, "cells long=32": 32, "set": (8, 32)}
    grid = {"pretrain.clips.long_stride": [[8, 16], 32]}
    assert [trial.name for trial in trials(sweep={"grid": grid})] == ["long=[8,16]", "long=32"]


def test_segments_have_no_span_and_evaluation_takes_them_over():
    (trial,) = trials(finetune={"stride": "segments"})
    assert list(trial.spec.clip_spans()) == ["pretrain.clips.long_stride"]
    (mixed,) = trials(
        finetune={"stride": "segments", "indexing": "linspace"}, evaluate={"stride": 4}, pretrain=None
    )
    assert mixed.spec.clip_spans() == {"evaluate.stride": 32}
    with pytest.raises(ValueError, match="segments"):
        FinetuneSpec(stride="segment")


def test_a_pretraining_may_read_other_data():
    (plain,) = trials()
    (other,) = trials(data={"train": "ssv2", "val": "val", "pretrain": "k400"})
    (scratch,) = trials(data={"train": "ssv2", "val": "val", "pretrain": "k400"}, pretrain=None)
    assert [len(trial.spec.sources()) for trial in (plain, other, scratch)] == [2, 3, 2]
    assert other.spec.data.pretraining == other.spec.sources()[2]
    assert other.spec.data.pretraining.endswith("k400")
    with pytest.raises(UserError, match="pretrain and val name the same data"):
        trials(data={"train": "train", "val": "val", "pretrain": "val"})


def test_clips_are_mixed_in_pairs_so_a_worker_s_share_must_be_even():
    uneven = {"finetune": {"batch_size": 6}, "resources": {"workers": 2}, "pretrain": None}
    with pytest.raises(UserError, match=r"workers \(3\) is odd, but clips are mixed in pairs"):
        trials(**uneven)
    off = {"batch_size": 6, "mixup": 0.0, "cutmix": 0.0}
    assert not trials(**{**uneven, "finetune": off})[0].spec.finetune.mixes


def test_drop_path_of_finetuning_is_the_backbone_s_usual_unless_set():
    for name, rate in (("timesformer_base", 0.1), ("swin_base", 0.2), ("st_swin_tiny", 0.2)):
        assert trials(model={"name": name})[0].spec.finetune_drop_path == rate
        assert trials(model={"name": name}, finetune={"drop_path": 0.0})[0].spec.finetune_drop_path == 0.0
