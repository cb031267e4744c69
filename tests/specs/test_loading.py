import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstcl_platform.specs import UserError, expand, load_experiment, load_requested, parse_experiment
from lstcl_platform.specs.experiment import ExperimentSpec
from lstcl_platform.specs.fields import field_paths

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))


def refusal(path, overrides=()):
    with pytest.raises(UserError) as caught:
        load_experiment(path, overrides)
    head, *lines = str(caught.value).splitlines()
    return head, [line.strip().replace(str(path), "exp.yaml") for line in lines]


def test_a_file_says_only_what_it_changes(write):
    spec = load_experiment(write("pretrain: {epochs: 100}\n"))
    assert spec.pretrain is not None
    assert (spec.pretrain.epochs, spec.pretrain.warmup_epochs) == (100, 40)
    assert spec.finetune.epochs == 200


def test_the_defaults_are_the_papers_settings(write):
    spec = load_experiment(write())
    pretrain = spec.pretrain
    assert pretrain is not None
    assert (spec.model.name, spec.model.frames, spec.model.image_size) == ("st_swin_base", 8, 224)
    assert (pretrain.clips.short_stride, pretrain.clips.long_stride, pretrain.clips.sampling) == (
        8,
        32,
        "random_independent",
    )
    assert (pretrain.epochs, pretrain.warmup_epochs, pretrain.lr_base, pretrain.weight_decay) == (
        200,
        40,
        1.5e-4,
        0.1,
    )
    assert (pretrain.framework.kind, pretrain.framework.temperature, pretrain.framework.momentum) == (
        "moco_v3",
        0.2,
        0.99,
    )
    assert (spec.finetune.stride, spec.finetune.epochs, spec.evaluate.clips) == (8, 200, 5)
    assert spec.data.target_fps == 30


def test_a_list_stands_for_a_tuple_but_types_stay_strict(write):
    spec = load_experiment(
        write("pretrain: {augment: {crop_area: [0.3, 1]}, lr_base: 1e-3, warmup_epochs: 3}\n")
    )
    assert spec.pretrain is not None
    assert spec.pretrain.augment.crop_area == (0.3, 1.0)
    assert spec.pretrain.lr_base == 0.001
    assert isinstance(spec.pretrain.warmup_epochs, float)
    _, lines = refusal(write("pretrain: {epochs: true, seed: '3', batch_size: 8.0}\n"))
    assert lines == [
        "exp.yaml:5: pretrain.epochs: must be a whole number, not true",
        "exp.yaml:5: pretrain.batch_size: must be a whole number, not 8.0",
        "exp.yaml:5: pretrain.seed: must be a whole number, not the text '3'",
    ]


def test_all_errors_come_at_once_each_with_line_field_and_what_is_allowed(write):
    path = write("""\
        epochs: 3
        pretrain:
          epochz: 50
          clips: {short_stride: 64}
          precision: bf18
          augment: {crop_area: [0.3]}
          warmup_epochs: -1
        finetune:
          batch_size: 250
        finetune: {}
        resources: {workers: 3, gpus_per_worker: none}
        sweep:
          grid:
            pretrain.clip.long_stride: [8, 32]
            finetune.sede: [0]
        """)
    head, lines = refusal(path)
    assert head == f"Found 12 errors in {path}"
    expected = """\
        5: epochs: unknown field; did you mean 'pretrain.epochs' or 'finetune.epochs'? (allowed: data, model,
        7: pretrain.epochz: unknown field; did you mean 'epochs'? (allowed in pretrain: framework, clips,
        8: pretrain.clips: short_stride (64) must not exceed long_stride (32): the short clip is matched to
        9: pretrain.precision: must be 'fp32', 'bf16' or 'fp16', not the text 'bf18'; did you mean 'bf16'?
        10: pretrain.augment.crop_area: must be a list of 2 values, not a list of 1
        11: pretrain.warmup_epochs: must be at least 0, not -1
        13: finetune.batch_size (250) is not divisible by resources.workers (3)
        14: finetune: written twice, on lines 12 and 14
        15: resources.gpus_per_worker: must be a number or 'auto', not the text 'none'
        15: pretrain.batch_size / pretrain.accumulation_steps (512) is not divisible by resources.workers (3)
        18: sweep.grid.pretrain.clip.long_stride: unknown field; did you mean 'clips'? (allowed in pretrain:
        19: sweep.grid.finetune.sede: unknown field; did you mean 'seed'? (allowed in finetune: stride,"""
    starts = [f"exp.yaml:{line.strip()}" for line in expected.splitlines()]
    assert [line[: len(start)] for line, start in zip(lines, starts, strict=True)] == starts


def test_one_error_is_counted_as_one(write):
    path = write("modle: {}\n")
    head, lines = refusal(path)
    assert head == f"Found 1 error in {path}"
    assert lines[0].startswith("exp.yaml:5: modle: unknown field; did you mean 'model'?")


def test_required_fields_are_named(write):
    _, lines = refusal(write("description: nothing else\n", base=""))
    assert lines == ["exp.yaml: data: required, but missing", "exp.yaml: name: required, but missing"]
    _, lines = refusal(write("name: x\ndata: {train: a}\n", base=""))
    assert lines == ["exp.yaml:2: data.val: required, but missing"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "pretrain: {accumulation_steps: 4, contrast_batch: 256}",
            "negatives and BatchNorm see 512 videos or 128, not 256",
        ),
        ("pretrain: {accumulation_steps: 3}", "batch_size (512) is not divisible by accumulation_steps (3)"),
        ("pretrain: {epochs: 20}", "pretrain: warmup_epochs (40) must be below epochs (20)"),
        ("finetune: {epochs: 5}", "finetune: warmup_epochs (5) must be below epochs (5)"),
        (
            "resources: {workers: 6}",
            "pretrain.batch_size / pretrain.accumulation_steps (512) is not divisible by",
        ),
        (
            "pretrain: {augment: {blur_sigma: [2, 1]}}",
            "blur_sigma must be an increasing pair of positive numbers",
        ),
        (
            "finetune: {augment: {crop_area: [0, 1]}}",
            "crop_area must be an increasing pair of positive numbers",
        ),
    ],
)
def test_relations_are_refused_on_the_line_of_their_block(write, text, message):
    _, lines = refusal(write(text + "\n"))
    assert any(line.startswith("exp.yaml:5: ") and message in line for line in lines)


def test_accumulation_keeps_the_contrast_batch_unless_another_is_stated(write):
    whole = load_experiment(write("pretrain: {accumulation_steps: 4}\n"))
    assert whole.pretrain is not None
    assert (whole.pretrain.effective_contrast_batch, whole.pretrain.contrasts) == (512, 1)
    spec = load_experiment(
        write("pretrain: {accumulation_steps: 4, contrast_batch: 128}\nresources: {workers: 64}\n")
    )
    assert spec.pretrain is not None
    assert (spec.pretrain.effective_contrast_batch, spec.pretrain.contrasts) == (128, 4)


def test_both_splits_may_not_be_the_same_data(write):
    _, lines = refusal(write("name: x\ndata: {train: ./a, val: a}\n", base=""))
    assert lines == [
        "exp.yaml:2: data: train and val name the same data: evaluation would test on training videos"
    ]


@pytest.mark.parametrize(
    ("synthesize", "field"),
    [
        ("{seconds: 7}", "pretrain.clips.long_stride"),
        ("{seconds: 1.5}", "finetune.stride"),
    ],
)
def test_clips_must_fit_into_synthetic_videos(write, synthesize, field):
    base = f"name: x\ndata: {{train: a, val: b, synthesize: {synthesize}}}\n"
    _, lines = refusal(write(base=base))
    assert any(f"{field} with model.frames 8 gives a clip of" in line for line in lines)
    load_experiment(write(base=base.replace(synthesize, "{seconds: 7.5}")))


def test_native_frames_count_at_the_rate_of_the_synthetic_videos(write):
    base = "name: x\ndata: {train: a, val: b, target_fps: FPS, synthesize: {seconds: 7.5}}\n"
    load_experiment(write(base=base.replace("FPS", "null")))
    _, lines = refusal(write(base=base.replace("FPS", "10")))
    assert "gives a clip of 22.5 s, longer than data.synthesize.seconds (7.5)" in lines[0]


def test_overrides_are_read_as_yaml_and_win(write):
    path = write("pretrain: {epochs: 100}\n")
    spec = load_experiment(
        path, ["pretrain.epochs=50", "pretrain.lr_base=1e-3", "finetune.labels_per_class=null", "name='7'"]
    )
    assert spec.pretrain is not None
    assert (spec.pretrain.epochs, spec.pretrain.lr_base, spec.name) == (50, 0.001, "7")
    assert spec.finetune.labels_per_class is None


def test_overrides_reach_the_sweep(write):
    path = write("sweep: {grid: {pretrain.seed: [0, 1]}}\n")
    spec = load_experiment(path, ["sweep.grid.pretrain.seed=[5]", "sweep.illegal=exclude"])
    assert [trial.name for trial in expand(spec).trials] == ["seed=5"]
    assert len(expand(load_experiment(write(), ["sweep.grid.finetune.seed=[0, 1]"])).trials) == 2
    override = "pretrain.seed=3"
    (trial,) = expand(load_experiment(path, [override, "sweep.grid={}"])).trials
    assert trial.spec.pretrain.seed == 3
    _, lines = refusal(write(), [override, "sweep.grid.pretrain.seed=[0, 1]"])
    assert lines[0].startswith(f"--set {override}: pretrain.seed is swept by sweep.grid")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "pretrain.epochz=3",
            "--set pretrain.epochz=3: unknown field; did you mean 'epochs'? (allowed in pretrain: ",
        ),
        (
            "pretran.epochs=3",
            "--set pretran.epochs=3: pretran: unknown field; did you mean 'pretrain'? (allowed: ",
        ),
        ("pretrain.epochs=abc", "--set pretrain.epochs=abc: must be a whole number, not the text 'abc'"),
        ("pretrain.epochs=", "--set pretrain.epochs=: no value; write `null` if none is meant"),
        (
            "pretrain.epochs",
            "--set pretrain.epochs: must look like --set pretrain.epochs=100",
        ),
        ("pretrain.epochs=[", "--set pretrain.epochs=[: '[' is not a YAML value"),
        ("pretrain.epochs.x=1", "--set pretrain.epochs.x=1: pretrain.epochs is not a block of fields"),
        ("data.synthesize.side=32", "--set data.synthesize.side=32: data.synthesize is null here, so"),
        (
            "pretrain.warmup_epochs=60",
            "--set pretrain.warmup_epochs=60: pretrain: warmup_epochs (60) must be below",
        ),
        (
            "finetune.seed=3",
            "--set finetune.seed=3: finetune.seed is swept by sweep.grid, which would override it",
        ),
        (
            "pretrain=null",
            "--set pretrain=null: pretrain is swept by sweep.cases[0], which would override it",
        ),
    ],
)
def test_a_wrong_override_is_named_instead_of_a_line(write, override, message):
    sweep = "sweep: {grid: {finetune.seed: [0, 1]}, cases: [{name: scratch, pretrain: null}]}\n"
    _, lines = refusal(write("pretrain: {epochs: 50}\n" + sweep), [override])
    assert lines[0].startswith(message)


def test_data_paths_count_from_the_file_and_uris_are_left_alone(write, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = write("""\
        storage: {path: out}
        sweep:
          cases:
            - {name: other, data.train: ../other}
            - {name: remote, data: {train: "s3://bucket/train", val: clips/val}}
        """)
    loaded = load_requested(os.path.relpath(path))
    spec = loaded.resolved
    assert spec.data.train == str(tmp_path / "clips" / "train")
    assert spec.storage.path == str(tmp_path / "elsewhere" / "out")
    other, remote = expand(spec).trials
    assert other.spec.data.train == str(tmp_path.parent / "other")
    assert (remote.spec.data.train, remote.spec.data.val) == (
        "s3://bucket/train",
        str(tmp_path / "clips/val"),
    )
    assert loaded.requested["data"] == {"train": "clips/train", "val": "clips/val"}
    assert loaded.requested["storage"] == {"path": "out"}


def test_requested_keeps_what_was_asked_for_and_nothing_else(write):
    loaded = load_requested(write("pretrain: {epochs: 100}\n"), ["finetune.epochs=20"])
    assert loaded.requested == {
        "name": "study",
        "data": {"train": "clips/train", "val": "clips/val"},
        "pretrain": {"epochs": 100},
        "finetune": {"epochs": 20},
    }
    assert loaded.overrides == ("finetune.epochs=20",)


def test_a_resolved_experiment_gives_the_same_trials_again(write):
    spec = load_experiment(
        write("""\
            pretrain: {clips: {short_stride: 64}}
            sweep:
              grid: {pretrain.clips.short_stride: [8, 16], pretrain.clips.long_stride: [8, 32]}
              cases: [{name: scratch, pretrain: null, finetune.seed: [0, 1]}]
              illegal: exclude
            """)
    )
    again = parse_experiment(spec.model_dump(mode="json"), origin="the record")
    assert again == spec
    assert expand(again) == expand(spec)
    with pytest.raises(UserError, match="the record: modle: unknown field"):
        parse_experiment({**spec.model_dump(mode="json"), "modle": 1}, origin="the record")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "x" * 81])
def test_names_that_cannot_be_names_are_refused(write, name):
    with pytest.raises(UserError, match="name: must be text"):
        load_experiment(write(base=f"name: {name!r}\ndata: {{train: a, val: b}}\n"))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: cannot read the experiment file: No such file"):
        load_experiment(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot read the experiment file"):
        load_experiment(tmp_path)
    (tmp_path / "video.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        load_experiment(tmp_path / "video.yaml")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_of_the_project_loads(path):
    assert expand(load_experiment(path)).trials


PATHS = sorted(field_paths(ExperimentSpec))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 600)
    | st.floats()
    | st.sampled_from(["", "x", "bf16", "auto", "a/b"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", *PATHS]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(PATHS), VALUES, max_size=5))
def test_whatever_is_written_the_answer_is_an_experiment_or_a_message(tmp_path, fields):
    path = tmp_path / "exp.yaml"
    content = {"name": "x", "data": {"train": "a", "val": "b"}}
    for field, value in fields.items():
        node = content
        *above, last = field.split(".")
        for part in above:
            node = node.setdefault(part, {}) if isinstance(node.get(part, {}), dict) else {}
        node[last] = value
    path.write_text(json.dumps(content).replace("NaN", ".nan").replace("Infinity", ".inf"))
    answer = "an experiment"
    try:
        assert expand(load_experiment(path)).trials
    except UserError as error:
        answer = str(error)
    assert answer.startswith(("an experiment", "Found "))
