from textwrap import dedent

import pytest

from lstcl_platform.specs import UserError, expand, load_experiment, load_requested

STUDY = """\
    model: {name: st_swin_base, frames: 16}
    pretrain:
      epochs: 100
      clips: {short_stride: 4}
    sweep:
      grid: {pretrain.clips.long_stride: [8, 32]}
      cases:
        - {name: scratch, pretrain: null}
        - {name: other, model.name: [timesformer_base, st_swin_base]}
      exclude: [{model.name: timesformer_base, finetune.seed: 1}]
    """


@pytest.fixture
def loaded(write):
    """Load the study with an override file over it."""

    def load(text, *more, study=STUDY, overrides=()):
        files = [
            write(dedent(one), base="", name=f"small{number}.yaml")
            for number, one in enumerate((text, *more))
        ]
        return load_requested(write(study), overrides, override_files=files)

    return load


def refusal(loaded, *arguments, **options):
    with pytest.raises(UserError) as caught:
        loaded(*arguments, **options)
    return [line.strip().rpartition("/")[2] for line in str(caught.value).splitlines()[1:]]


def test_blocks_merge_and_anything_else_is_exchanged(loaded):
    spec = loaded("pretrain: {epochs: 2, warmup_epochs: 1}\nfinetune:\n  epochs: 6\n").resolved
    assert spec.pretrain is not None
    assert (spec.pretrain.epochs, spec.pretrain.warmup_epochs, spec.pretrain.clips.short_stride) == (2, 1, 4)
    assert spec.finetune.epochs == 6
    assert len(expand(spec).trials) == 5
    text = "sweep: {grid: {pretrain.clips.long_stride: [16]}, cases: [{finetune.seed: 3}]}"
    assert [trial.name for trial in expand(loaded(text).resolved).trials] == ["long=16", "seed=3"]


def test_values_are_exchanged_wherever_the_experiment_writes_them(loaded):
    spec = loaded(
        """\
        replace:
          model.name: {st_swin_base: st_swin_micro, timesformer_base: timesformer_micro}
          model.frames: {16: 4, 99: 5}
        """
    ).resolved
    trials = {trial.name: trial.spec.model for trial in expand(spec).trials}
    assert {name: model.name for name, model in trials.items()} == {
        "long=8": "st_swin_micro",
        "long=32": "st_swin_micro",
        "scratch": "st_swin_micro",
        "other name=timesformer_micro": "timesformer_micro",
        "other name=st_swin_micro": "st_swin_micro",
    }
    assert {model.frames for model in trials.values()} == {4}
    assert spec.sweep.exclude == [{"model.name": "timesformer_micro", "finetune.seed": 1}]


def test_later_files_and_set_come_last(loaded):
    changes = ("pretrain: {epochs: 50}", "pretrain: {epochs: 60, lr_base: 1e-3}")
    pretrain = loaded(*changes, overrides=["pretrain.epochs=70"]).resolved.pretrain
    assert pretrain is not None
    assert (pretrain.epochs, pretrain.lr_base) == (70, 1e-3)
    assert loaded(*changes).requested["pretrain"]["epochs"] == 60


def test_data_paths_count_from_the_file_that_says_them(write, tmp_path):
    (tmp_path / "over").mkdir()
    small = write("data: {train: a/train}", base="", name="over/small.yaml")
    spec = load_experiment(write(), override_files=[small])
    assert spec.data.train == str(tmp_path / "over" / "a" / "train")
    assert spec.data.val == str(tmp_path / "clips" / "val")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "a: 1\npretrain: {epoch: 2}",
            "small0.yaml:2: pretrain.epoch: unknown field; did you mean 'epochs'?",
        ),
        ("finetune:\n  epochs: 0", "small0.yaml:2: finetune.epochs: must be greater than 0, not 0"),
        ("pretrain:\n\n  epochs: 3", "small0.yaml:3: pretrain: warmup_epochs (40) must be below epochs (3)"),
        ("replace:\n  model.nam: {a: b}", "small0.yaml:2: replace.model.nam: unknown field; did you mean"),
        (
            "replace:\n  model.name:\n    st_swin_bse: st_swin_micro",
            'small0.yaml:3: replace.model.name.st_swin_bse: model.name can never be "st_swin_bse"',
        ),
        (
            "replace:\n  model.name:\n    st_swin_base: st_swin_mini",
            "small0.yaml:3: model.name: must be 'timesformer_base'",
        ),
        ("replace: {model.name: st_swin_micro}", "small0.yaml:1: replace: must give for each field"),
        ("data: {synthesize: {side: 8}, train: x}\npretrain:\n", "small0.yaml:2: pretrain: no value; write"),
        ("pretrain: [", "small0.yaml:1: not valid YAML"),
    ],
)
def test_mistakes_name_the_override_file_and_its_line(loaded, text, line):
    with pytest.raises(UserError) as caught:
        loaded(text)
    assert line in str(caught.value)


def test_a_stage_that_is_off_stays_off(loaded):
    lines = refusal(loaded, "pretrain: {epochs: 3}", study="pretrain: null\n")
    assert lines == ["small0.yaml:1: pretrain: is null in the experiment, so its fields cannot be set"]


def test_mistakes_of_both_files_are_told_with_the_experiments_first(loaded):
    lines = refusal(loaded, "finetune: {epochs: 0}", study="finetune: {epochs: 9, seed: -1}\n")
    assert [line.split(": ")[:2] for line in lines] == [
        ["exp.yaml:5", "finetune.seed"],
        ["small0.yaml:1", "finetune.epochs"],
    ]


def test_a_missing_override_file_is_called_one(write, tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: cannot read the override file: No such file"):
        load_experiment(write(), override_files=[tmp_path / "none.yaml"])


def test_a_star_stands_for_any_other_value_but_null(loaded):
    study = """\
        model: {init: {kind: timm, name: some_vit}}
        sweep:
          cases:
            - {name: a, finetune.labels_per_class: [3, 5]}
            - {name: b, finetune.labels_per_class: null}
            - {name: c, model.init: null}
        """
    spec = loaded(
        'replace:\n  model.init: {"*": null}\n  finetune.labels_per_class: {3: 4, "*": 1}', study=study
    ).resolved
    trials = expand(spec).trials
    assert [trial.spec.finetune.labels_per_class for trial in trials] == [4, 1, None, None]
    assert {trial.spec.model.init for trial in trials} == {None}
