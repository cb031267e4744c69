"""Keys of stages: what is in them, what is not, and that they do not change unnoticed."""

from types import UnionType
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstcl_platform.specs import Trial, TrialSpec, UserError, build_graph, expand, load_experiment
from lstcl_platform.specs.data import DataSpec, SyntheticSpec
from lstcl_platform.specs.fields import blocks_of, field_paths
from lstcl_platform.specs.frameworks import BYOLSpec, SimSiamSpec
from lstcl_platform.specs.run import ResourcesSpec
from lstcl_platform.specs.stages import hash_identity
from lstcl_platform.specs.training import EvaluateSpec, FinetuneSpec, PretrainSpec

MANIFESTS = {"train": "digest of train", "val": "digest of val"}
PAPER = TrialSpec(data=DataSpec(train="train", val="val"))

GOLDEN = {
    "paper": ["f6f96c43fd046738", "2982546bb246bfb4", "76e052f87c801f59"],
    "scratch": ["c69930c57127c043", "c5df0eccc1d92c54"],
    "hash": "abab9c6f3fb5d7fa7bcb396505bbaff04b45dde37a9e21fd6f4a6217fc3ca6a2",
}


def keys(spec: TrialSpec, manifests=MANIFESTS) -> list[str]:
    trial = Trial(experiment="study", name="default", cell={}, spec=spec)
    return list(build_graph([trial], manifests=manifests).stages)


def changed(spec: Any, path: str) -> Any:
    """`spec` with another value at `path`; rules between fields are not checked."""
    name, _, rest = path.partition(".")
    value = getattr(spec, name)
    if rest:
        return spec.model_copy(update={name: changed(value, rest)})
    return spec.model_copy(update={name: other(value, type(spec).model_fields[name].annotation)})


def other(value: Any, annotation: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return next(choice for choice in get_args(annotation) if choice != value)
    if isinstance(value, tuple):
        return (value[0] / 2, *value[1:])
    if get_origin(annotation) is Literal:
        return next(choice for choice in get_args(annotation) if choice != value)
    if value is None:
        kinds = get_args(annotation) if get_origin(annotation) is UnionType else ()
        return 0.125 if any("float" in str(kind) for kind in kinds) else 7
    return value + 1 if isinstance(value, int) else value / 2 + 0.01


def leaves(block: str, spec: TrialSpec = PAPER) -> list[str]:
    """Dotted paths of the fields in a block of `spec` that hold a value with more than one choice."""
    found = []
    for path in field_paths():
        if not path.startswith(f"{block}."):
            continue
        node: Any = spec
        *above, name = path.split(".")
        for part in above:
            node = getattr(node, part, None)
        if name not in getattr(type(node), "model_fields", ()):  # a null block, or another kind of framework
            continue
        annotation = type(node).model_fields[name].annotation
        single_choice = isinstance(getattr(node, name), str) and len(get_args(annotation)) == 1
        if not blocks_of(annotation) and not single_choice:
            found.append(path)
    return found


def with_framework(framework: BYOLSpec | SimSiamSpec) -> TrialSpec:
    assert PAPER.pretrain is not None
    return PAPER.model_copy(update={"pretrain": PAPER.pretrain.model_copy(update={"framework": framework})})


FRAMEWORKS = [PAPER, with_framework(BYOLSpec()), with_framework(SimSiamSpec())]


def test_keys_of_the_papers_setting_are_what_they_were():
    """A changed key makes all results so far unfindable: only a changed meaning is worth that."""
    assert [key[:16] for key in keys(PAPER)] == GOLDEN["paper"]
    assert [key[:16] for key in keys(PAPER.model_copy(update={"pretrain": None}))] == GOLDEN["scratch"]
    assert hash_identity({"b": [1, 0.1, None], "a": "é"}) == GOLDEN["hash"]


def test_the_chain_runs_from_pretraining_to_evaluation():
    graph = build_graph([Trial(experiment="e", name="t", cell={}, spec=PAPER)], manifests=MANIFESTS)
    pretrain, finetune, evaluate = graph.stages.values()
    assert [stage.kind for stage in graph.stages.values()] == ["pretrain", "finetune", "evaluate"]
    assert (pretrain.parent, finetune.parent, evaluate.parent) == (None, pretrain.key, finetune.key)
    assert graph.chains == {"e/t": (pretrain.key, finetune.key, evaluate.key)}
    assert all(
        len(stage.key) == 64 and hash_identity(stage.identity) == stage.key for stage in graph.stages.values()
    )


@pytest.mark.parametrize(
    ("spec", "path"), [(spec, path) for spec in FRAMEWORKS for path in leaves("pretrain", spec)]
)
def test_every_field_of_the_pretraining_is_in_its_key_and_in_all_below(spec, path):
    assert not set(keys(changed(spec, path))) & set(keys(spec))


def test_frameworks_have_keys_of_their_own():
    assert len({keys(spec)[0] for spec in FRAMEWORKS}) == len(FRAMEWORKS) == 3


@pytest.mark.parametrize("path", leaves("finetune"))
def test_every_field_of_the_finetuning_is_in_its_key_and_not_in_its_parents(path):
    before, after = keys(PAPER), keys(changed(PAPER, path))
    assert after[0] == before[0]
    assert not set(after[1:]) & set(before[1:])


def test_what_does_not_matter_to_a_finetuning_from_scratch_is_not_in_its_key():
    scratch = PAPER.model_copy(update={"pretrain": None})
    assert keys(changed(scratch, "finetune.layer_decay")) == keys(scratch)
    spelled = scratch.model_copy(update={"finetune": FinetuneSpec(drop_path=0.2)})
    assert keys(spelled) == keys(scratch)


FROZEN = {"evaluate.protocols", "evaluate.probe_epochs", *leaves("evaluate.knn"), *leaves("evaluate.linear")}


@pytest.mark.parametrize("path", sorted({*leaves("evaluate")} - FROZEN))
def test_every_field_of_the_evaluation_is_in_its_key_only(path):
    before, after = keys(PAPER), keys(changed(PAPER, path))
    assert after[:2] == before[:2]
    assert after[2] != before[2]


def probed(*protocols: str, **fields: Any) -> TrialSpec:
    return PAPER.model_copy(update={"evaluate": EvaluateSpec(protocols=protocols, **fields)})


def probe_key(spec: TrialSpec, manifests=MANIFESTS) -> str:
    trial = Trial(experiment="study", name="default", cell={}, spec=spec)
    (stage,) = (s for s in build_graph([trial], manifests=manifests).stages.values() if s.kind == "probe")
    return stage.key


def test_frozen_protocols_are_one_stage_on_the_pretraining():
    spec = probed("knn", "finetuned", "linear")
    graph = build_graph([Trial(experiment="e", name="t", cell={}, spec=spec)], manifests=MANIFESTS)
    pretrain, probe, finetune, evaluate = graph.stages.values()
    assert [stage.kind for stage in graph.stages.values()] == ["pretrain", "probe", "finetune", "evaluate"]
    assert (probe.parent, finetune.parent) == (pretrain.key, pretrain.key)
    assert graph.chains == {"e/t": (pretrain.key, probe.key, finetune.key, evaluate.key)}
    assert [pretrain.key, finetune.key, evaluate.key] == keys(PAPER)
    assert keys(probed("knn", "linear")) == [pretrain.key, probe.key]


def test_the_key_of_a_probe_has_what_it_computes_and_nothing_of_a_finetuning():
    both, knn = probe_key(probed("knn", "linear")), probe_key(probed("knn"))
    assert both != knn
    assert probe_key(probed("linear", "knn", "finetuned")) == both
    for path in leaves("evaluate.knn"):
        assert probe_key(changed(probed("knn"), path)) != knn
    for path in leaves("evaluate.linear"):
        assert probe_key(changed(probed("knn"), path)) == knn
        assert probe_key(changed(probed("knn", "linear"), path)) != both
    for path in sorted({*leaves("evaluate")} - FROZEN):
        assert probe_key(changed(probed("knn"), path)) != knn
    for path in ("finetune.lr_base", "finetune.seed", "finetune.mixup"):
        assert probe_key(changed(probed("knn"), path)) == knn
    other_stride = probed("knn").model_copy(update={"finetune": FinetuneSpec(stride=4)})
    assert probe_key(other_stride) != knn  # evaluate.stride takes it over
    for name in MANIFESTS:
        assert probe_key(probed("knn"), {**MANIFESTS, name: "other"}) != knn


def test_a_probe_of_a_random_backbone_has_the_seed_of_its_weights():
    scratch = probed("knn").model_copy(update={"pretrain": None})
    (key,) = keys(scratch)
    assert probe_key(changed(scratch, "finetune.seed")) != key


@pytest.mark.parametrize("path", [*leaves("model"), "data.target_fps", "data.short_videos"])
def test_model_time_grid_and_what_is_beyond_its_end_are_in_every_key(path):
    assert not set(keys(changed(PAPER, path))) & set(keys(PAPER))


def test_the_digest_of_the_data_counts_and_its_place_does_not():
    moved = PAPER.model_copy(update={"data": DataSpec(train="/x/train", val="s3://y/val")})
    assert keys(moved, {"/x/train": MANIFESTS["train"], "s3://y/val": MANIFESTS["val"]}) == keys(PAPER)
    before, after = keys(PAPER), keys(PAPER, {**MANIFESTS, "val": "other"})
    assert before[:2] == after[:2]
    assert before[2] != after[2]
    assert not set(keys(PAPER, {**MANIFESTS, "train": "other"})) & set(before)


def test_the_data_of_a_pretraining_is_in_its_key_and_in_all_below():
    elsewhere = PAPER.model_copy(update={"data": DataSpec(train="train", val="val", pretrain="more")})
    assert keys(elsewhere, {**MANIFESTS, "more": MANIFESTS["train"]}) == keys(PAPER)
    assert not set(keys(elsewhere, {**MANIFESTS, "more": "other"})) & set(keys(PAPER))
    # One pretraining serves finetunings on several datasets.
    moved = {"train": "other train", "val": "other val", "more": MANIFESTS["train"]}
    assert keys(elsewhere, moved)[0] == keys(PAPER)[0]
    assert not set(keys(elsewhere, moved)[1:]) & set(keys(PAPER))


RESOURCES = {
    "workers": st.sampled_from([1, 2, 4, 8, 64]),
    "gpus_per_worker": st.just("auto") | st.floats(0, 4),
    "cpus_per_worker": st.just("auto") | st.floats(0, 16),
    "threads_per_worker": st.integers(1, 32),
    "compile": st.booleans(),
    "checkpoint_activations": st.booleans(),
    "peak_tflops": st.none() | st.floats(1, 1e4),
    "evaluate_batch_size": st.integers(1, 512),
    "max_concurrent_stages": st.just("auto") | st.integers(1, 100),
    "max_failures": st.integers(0, 100),
    "collective_timeout_minutes": st.floats(0.1, 1e3),
}


def test_the_property_below_varies_every_resource():
    assert set(RESOURCES) == set(ResourcesSpec.model_fields)


@settings(deadline=None)  # on a busy machine the first example alone takes longer than the default
@given(
    st.builds(ResourcesSpec, **RESOURCES),
    st.floats(0, 1),
    st.none() | st.builds(SyntheticSpec, seconds=st.just(60.0)),
)
def test_how_and_where_a_stage_runs_is_not_in_its_key(resources, max_bad_fraction, synthesize):
    data = DataSpec(train="train", val="val", max_bad_fraction=max_bad_fraction, synthesize=synthesize)
    assert keys(TrialSpec(data=data, resources=resources)) == keys(PAPER)


def test_the_same_meaning_written_differently_has_one_key():
    spelled = PAPER.model_copy(
        update={
            "pretrain": PretrainSpec(contrast_batch=512, warmup_epochs=40),
            "evaluate": EvaluateSpec(stride=8),
        }
    )
    assert keys(spelled) == keys(PAPER)
    other_stride = PAPER.model_copy(
        update={"finetune": FinetuneSpec(stride=4), "evaluate": EvaluateSpec(stride=8)}
    )
    assert keys(other_stride)[2] != keys(PAPER.model_copy(update={"finetune": FinetuneSpec(stride=4)}))[2]


def test_stages_merge_across_trials_and_files(write):
    sweep = """\
        sweep:
          grid: {pretrain.clips.long_stride: [8, 32], finetune.seed: [0, 1]}
          cases: [{name: scratch, pretrain: null}]
        """
    first = load_experiment(write(sweep))
    second = load_experiment(
        write("resources: {workers: 8}\n", base="name: other\ndata: {train: clips/train, val: clips/val}\n")
    )
    manifests = {first.data.train: "a", first.data.val: "b"}
    graph = build_graph([*expand(first).trials, *expand(second).trials], manifests=manifests)
    kinds = [stage.kind for stage in graph.stages.values()]
    assert [kinds.count(kind) for kind in ("pretrain", "finetune", "evaluate")] == [2, 5, 5]
    assert len(graph.chains) == 6
    shared = graph.stages[graph.chains["other/default"][0]]
    assert shared.trials == ("study/long=32 seed=0", "study/long=32 seed=1", "other/default")
    order = list(graph.stages)
    assert all(
        stage.parent is None or order.index(stage.parent) < order.index(key)
        for key, stage in graph.stages.items()
    )


def test_two_experiments_of_one_name_are_refused():
    trial = Trial(experiment="study", name="default", cell={}, spec=PAPER)
    with pytest.raises(UserError, match="trial 'study/default' is there twice"):
        build_graph([trial, trial], manifests=MANIFESTS)


def test_data_without_a_digest_is_refused():
    with pytest.raises(KeyError, match="val"):
        keys(PAPER, {"train": "x"})
