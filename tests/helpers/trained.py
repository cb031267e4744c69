"""A study as a launch leaves it, with real weights and without the minutes of training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lstcl_platform.models import Classifier, backbone_of
from lstcl_platform.specs import Trial, build_graph
from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.experiment import ExperimentSpec, TrialSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import EvaluateSpec, FinetuneSpec
from lstcl_platform.tracking.records import StageRun
from lstcl_platform.tracking.tracker import Tracker
from lstcl_platform.training.trainee import store_weights

MODEL = ModelSpec(name="swin_micro", image_size=32)
CLASSES = ("jump", "run", "walk")


@dataclass(frozen=True, kw_only=True)
class TrainedStudy:
    """Experiment `study`: trial `one` is finished, `other` too but worse, `two` has begun.

    Attributes:
        folder: storage of the study.
        spec: settings of trial `one`.
        stages: kind -> run of trial `one`.
        modules: kind -> what the stage left.
    """

    folder: Path
    spec: TrialSpec
    stages: dict[str, StageRun]
    modules: dict[str, nn.Module]


def make_trained_study(folder: Path, *, name: str = "study") -> TrainedStudy:
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}", artifact_location=str(folder / "artifacts"))
    data = DataSpec(train="/train", val="/val", target_fps=15.0, short_videos="loop")
    tested = EvaluateSpec(clips=2, crops=3, crop_ratio=1.0)
    one = TrialSpec(data=data, model=MODEL, finetune=FinetuneSpec(stride=3), evaluate=tested)
    specs = {
        "one": one,
        "other": one.model_copy(update={"finetune": FinetuneSpec(stride=3, seed=1)}),
        "two": one.model_copy(update={"pretrain": None}),
    }
    trials = [Trial(experiment=name, name=trial, cell={}, spec=spec) for trial, spec in specs.items()]
    graph = build_graph(trials, manifests={"/train": "a", "/val": "b"})
    launch = tracker.begin_launch(
        ExperimentSpec(name=name, data=data, model=MODEL), requested={}, trials=trials, graph=graph
    )
    torch.manual_seed(5)
    backbone = backbone_of(MODEL)
    modules = {"pretrain": backbone, "finetune": Classifier(backbone, len(CLASSES)).eval()}
    with torch.no_grad():
        modules["finetune"].head.weight.normal_()  # as it is drawn, all classes are nearly equally probable
    stages = {}
    for trial, top1 in (("one", 0.75), ("other", 0.5)):
        for key in launch.chains[trial]:
            if (kind := graph.stages[key].kind) == "pretrain" and trial == "other":
                continue
            run = tracker.begin_stage(graph.stages[key], attempt=1, attempt_dir="a1", fingerprint={})
            what: dict[str, Any] = {"name": "set", "digest": "a", "source": "/train", "context": "training"}
            tracker.log_dataset(run, **what, classes=CLASSES if kind == "finetune" else ())
            location, digest = str(folder / f"{trial}-{kind}.safetensors"), None
            if kind in modules:
                digest = store_weights(modules[kind], location)
            metrics = {"top1": top1} if kind == "evaluate" else {}
            tracker.finish_stage(
                run, metrics=metrics, weights=location if digest else None, weights_digest=digest
            )
            if trial == "one":
                stages[kind] = run
        tracker.finish_trial(launch, trial, status="finished", metrics={"top1": top1})
    tracker.begin_stage(graph.stages[launch.chains["two"][0]], attempt=1, attempt_dir="a1", fingerprint={})
    return TrainedStudy(folder=folder, spec=one, stages=stages, modules=modules)
