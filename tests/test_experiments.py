"""The studies of the paper in `experiments/`: what they share, and that each runs, at toy size on a CPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstcl_platform.cli.plan import Plan, build_plan, plan_as_json
from lstcl_platform.specs import Stage, expand, load_experiment
from lstcl_platform.specs.base import Spec
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.training import PretrainSpec
from lstcl_platform.training.context import StageResult
from lstcl_platform.training.evaluate import evaluate
from lstcl_platform.training.finetune import finetune
from lstcl_platform.training.pretrain import pretrain
from lstcl_platform.video.indexing import index_videos
from lstcl_platform.video.samples import EvaluateSamples, FinetuneSamples, PretrainSamples
from lstcl_platform.video.synthetic import synthesize
from tests.helpers.study import run_cli
from tests.training.stages import Recorder, stage_context

FOLDER = Path(__file__).parents[1] / "experiments"
TOY = FOLDER / "overrides" / "toy.yaml"
STUDIES = sorted({*FOLDER.glob("*.yaml")} - {FOLDER / "quickstart.yaml"})
NAMES = [path.stem for path in STUDIES]
STEPS = 2


@pytest.fixture(scope="module")
def planned() -> Plan:
    return build_plan(sorted(FOLDER.glob("*.yaml")))


def test_there_is_a_study_for_each_figure_and_table_of_results():
    names = ["fig2", "fig3", "fig4", "table1", "table2", "table3", "table4", "table5", "table6"]
    assert [name.split("_")[0] for name in NAMES] == names
    assert [load_experiment(path).name for path in STUDIES] == NAMES


def test_the_paper_needs_22_pretrainings(planned):
    """Figure 2 has 10; Table 1 adds 3, Table 2 adds 2, Figure 3 adds 4, Table 3 adds 2, Table 4 adds 1."""
    shown = plan_as_json(planned)
    counts = {experiment["name"]: experiment["counts"] for experiment in shown["experiments"]}
    assert {name.split("_")[0]: count["pretrain"]["unique"] for name, count in counts.items()} == {
        "fig2": 10,
        "fig3": 6,
        "fig4": 7,
        "table1": 4,
        "table2": 3,
        "table3": 3,
        "table4": 2,
        "table5": 2,
        "table6": 2,
        "quickstart": 2,
    }
    assert shown["summary"]["real_data"]["pretrain"] == {
        "needed": 60,
        "unique": 22,
        "shared": 9,
        "shared_between_experiments": 9,
    }
    assert shown["summary"]["synthesized_data"]["pretrain"]["unique"] == 2


def test_the_setting_of_the_paper_is_one_pretraining_in_every_ablation(planned):
    """TimeSformer, MoCo v3, strides (8, 32), drawn independently: six studies have it, and 16 frames three."""
    uses = {
        stage.trials[0]: {name.split("_")[0] for name in stage.trials}
        for stage in planned.graph.stages.values()
        if stage.kind == "pretrain"
    }
    assert uses["fig2_stride_grid/short=8 long=32"] == {"fig2", "fig3", "fig4", "table1", "table2", "table3"}
    assert uses["table4_kinetics400/lstcl_16"] == {"table4", "table5", "table6"}


def leaves(values: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*prefix, name))
        else:
            yield (*prefix, name), value


def test_what_figure_2_spells_out_is_the_default():
    """The other studies leave it out, and say that it is the default."""
    plan = build_plan([FOLDER / "fig2_stride_grid.yaml"])
    written = plan.experiments[0].requested
    default = TrialSpec(data=plan.experiments[0].resolved.data)
    blocks = {name: written[name] for name in ("model", "pretrain", "finetune", "evaluate")}
    checked = {path: value for path, value in leaves(blocks) if path != ("model", "name")}
    assert len(checked) > 30
    for path, value in checked.items():
        node: Any = default
        for name in path:
            node = getattr(node, name)
        assert (list(node) if isinstance(node, tuple) else node) == value, path


def test_pretraining_fields_that_figure_2_leaves_out_are_known():
    """A field that is new since then has to be thought about: is its default the paper's?"""
    written = build_plan([FOLDER / "fig2_stride_grid.yaml"]).experiments[0].requested["pretrain"]
    left_out = {
        ".".join(path)
        for path, value in leaves(PretrainSpec().model_dump())
        if path not in dict(leaves(written)) and not isinstance(value, Spec)
    }
    assert left_out == {
        "framework.loss_scale",  # the public code's
        "clips.short_stride",  # swept
        "clips.long_stride",  # swept
        "clips.if_not_disjoint",  # not read
        "augment.jitter_order",  # torchvision's, which reference [19] uses
        "contrast_batch",
        "accumulation_steps",
        "precision",
        "seed",
    }


@pytest.fixture(scope="module")
def manifests(tmp_path_factory) -> dict[str, Path]:
    """The videos of the toy set, rendered as a launch would."""
    folder = tmp_path_factory.mktemp("toy")
    spec = load_experiment(STUDIES[0], override_files=[TOY]).data.synthesize
    assert spec is not None
    synthesize(spec, train=folder / "train", val=folder / "val", processes=1)
    for split in ("train", "val"):
        index_videos(folder / split).save(folder / f"{split}.parquet")
    return {split: folder / f"{split}.parquet" for split in ("train", "val")}


def sort_of(stage: Stage) -> tuple[Any, ...]:
    """What makes a stage run other code than another: how long and on which videos does not."""
    spec = stage.spec
    sort: tuple[Any, ...] = (stage.kind, spec.model.name, spec.model.frames)
    if stage.kind != "pretrain":
        return (*sort, isinstance(spec.finetune.stride, int), stage.parent is None)
    assert spec.pretrain is not None
    clips = spec.pretrain.clips
    drawn = len(clips.short_strides) > 1, len(clips.long_strides) > 1
    return (*sort, spec.pretrain.framework.kind, clips.sampling, drawn)


SORTS_RUN: set[tuple[Any, ...]] = set()
"""Sorts of stages that a study before this one has run: a study's own are then what is new in it."""


@pytest.mark.parametrize("path", STUDIES, ids=NAMES)
def test_every_sort_of_stage_runs_at_toy_size(path, manifests, tmp_path):
    plan = build_plan([path], override_files=[TOY])
    weights: dict[str | None, str | None] = {None: None}
    sorts = {
        sort_of(stage): chain for chain in plan.graph.chains.values() for stage in stages_of(plan, chain)
    }
    for chain in dict.fromkeys(sorts.values()):
        stages = stages_of(plan, chain)
        if {sort_of(stage) for stage in stages} <= SORTS_RUN:
            continue
        for stage in stages:
            if stage.key not in weights:
                result = run_stage(stage, manifests, tmp_path / stage.short_key, weights[stage.parent])
                assert result.status == "finished"
                assert all(np.isfinite(value) for value in result.metrics.values())
                assert result.metrics["clips_padded"] == 0, "clips that do not fit the toy videos"
                weights[stage.key] = result.weights
        SORTS_RUN.update(sort_of(stage) for stage in stages)


def stages_of(plan: Plan, chain: tuple[str, ...]) -> list[Stage]:
    return [plan.graph.stages[key] for key in chain]


def run_stage(stage: Stage, manifests: dict[str, Path], folder: Path, parent: str | None) -> StageResult:
    """Run `STEPS` steps of a stage, or test it on every video, with the loops alone."""
    spec = stage.spec
    context = stage_context(folder / "a1", Recorder(), steps_per_epoch=1, parent_weights=parent)
    common = {"data": spec.data, "model": spec.model}
    if stage.kind == "evaluate":
        test = EvaluateSamples(
            manifest=manifests["val"],
            **common,
            evaluate=spec.evaluate,
            stride=spec.evaluate.stride or spec.finetune.stride,
        )
        return evaluate(
            spec, context, iter([test(np.arange(test.videos))]), num_classes=6, videos=test.videos
        )
    samples: PretrainSamples | FinetuneSamples
    if stage.kind == "pretrain":
        assert spec.pretrain is not None
        samples = PretrainSamples(manifest=manifests["train"], **common, pretrain=spec.pretrain)
        return pretrain(spec, context, batches_of(samples, spec.pretrain.batch_size))
    samples = FinetuneSamples(manifest=manifests["train"], **common, finetune=spec.finetune)
    return finetune(spec, context, batches_of(samples, spec.finetune.batch_size), num_classes=6)


def batches_of(samples: PretrainSamples | FinetuneSamples, batch_size: int) -> Iterator[dict[str, Any]]:
    for step in range(STEPS):
        yield samples(np.arange(batch_size) + step * batch_size)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_study_is_launched_at_toy_size_on_ray(tmp_path):
    arguments = ["launch", FOLDER / "table2_sampling.yaml", "--override", TOY]
    changes = {"storage.path": "runs", "data.train": "train", "data.val": "val"}
    for field, name in changes.items():
        arguments += ["--set", f"{field}={tmp_path / name}"]
    done = run_cli(*arguments, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "9 stages ran, 0 were done before, 0 failed." in done.stderr
    assert "sampling=random_disjoint" in done.stdout


@pytest.mark.parametrize(
    ("name", "folds", "seeds", "strides"), [("yoga", 5, 2, (8, 32)), ("tennis", 1, 3, (2, 8))]
)
def test_evidence_compares_three_ways_on_the_same_videos_seeds_and_finetuning(name, folds, seeds, strides):
    trials = expand(load_experiment(FOLDER / "evidence" / f"{name}.yaml")).trials
    ways: dict[tuple[str, str, int], list[int | None]] = {}
    for trial in trials:
        spec = trial.spec
        assert spec.pretrain is None or spec.pretrain.seed == spec.finetune.seed
        way = None if spec.pretrain is None else spec.pretrain.clips.long_strides[0]
        ways.setdefault((spec.data.train, spec.data.val, spec.finetune.seed), []).append(way)
    assert list(map(len, ({key[:2] for key in ways}, {key[2] for key in ways}))) == [folds, seeds]
    assert len(ways) == folds * seeds
    assert all(sorted(found, key=str) == sorted([*strides, None], key=str) for found in ways.values())
    recipes = {trial.spec.finetune.model_copy(update={"seed": 0}) for trial in trials}
    assert len(recipes) == 1
