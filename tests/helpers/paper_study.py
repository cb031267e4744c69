"""Made-up results of the paper's studies in a real store: nothing is trained, everything is recorded as it would be."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from lstcl_platform.results.published import printed_for
from lstcl_platform.specs import build_graph, expand, parse_experiment
from lstcl_platform.specs.stages import StageGraph, Trial
from lstcl_platform.tracking.records import LaunchRun
from lstcl_platform.tracking.tracker import Tracker

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
STUDIES = {path.stem.partition("_")[0]: path for path in EXPERIMENTS.glob("*_*.yaml")}
"""``fig2`` -> its file, and so on."""
OFF = 0.011
"""Every made-up top-1 is the printed value plus this, where the paper prints one."""
CLASSES = ("archery", "bowling", "cartwheeling")
VIDEOS = 60


def open_tracker(folder: Path) -> Tracker:
    return Tracker(f"sqlite:///{folder / 'mlflow.db'}", artifact_location=str(folder / "artifacts"))


def fields_of(study: str, *, seeds: Sequence[int] = (), **changes: Any) -> dict[str, Any]:
    """The YAML of a study; with `seeds`, each cell of its grid once a seed of finetuning."""
    fields: dict[str, Any] = yaml.safe_load(STUDIES[study].read_text())
    if seeds:
        fields["sweep"]["grid"]["finetune.seed"] = list(seeds)
    return fields | changes


def made_up_top1(trial: Trial, published: Any) -> float:
    """The printed value and `OFF`; where nothing is printed, a number that rises with the long stride."""
    printed = None if published is None else printed_for(published, trial.spec)
    seed = 0.002 * trial.spec.finetune.seed
    if printed is not None:
        return printed.values["top1"] + OFF + seed
    clips = trial.spec.pretrain.clips
    gap = np.log2(clips.long_strides[-1] / clips.short_strides[0])
    stride = trial.spec.finetune.stride
    off_eight = 0 if not isinstance(stride, int) else abs(np.log2(stride / 8))
    base = 0.74 if clips.short_strides == (8,) else 0.70
    return float(base + 0.01 * gap - 0.01 * off_eight + seed)


def record(
    tracker: Tracker, fields: Mapping[str, Any], *, folder: Path | None = None, finished: int | None = None
) -> LaunchRun:
    """Record a launch of `fields` with made-up metrics of its first `finished` trials (all, if None).

    With `folder` its stages are recorded too: curves, predictions there, a preemption and a bad video.
    """
    spec = parse_experiment(fields, origin="test")
    trials = expand(spec).trials
    manifests = {
        source: hashlib.sha256(source.encode()).hexdigest() for t in trials for source in t.spec.sources()
    }
    graph = build_graph(trials, manifests=manifests)
    launch = tracker.begin_launch(spec, requested=fields, trials=trials, graph=graph)
    done: set[str] = set()
    for number, trial in enumerate(trials[:finished]):
        top1 = made_up_top1(trial, spec.published)
        if folder is not None:
            _record_stages(tracker, graph, trial, folder, manifests, done, top1=top1, number=number)
        metrics = {"top1": top1, "top5": min(top1 + 0.15, 1.0), "videos": float(VIDEOS), "bad_videos": 1.0}
        tracker.finish_trial(launch, trial.name, status="finished", metrics=metrics)
    if finished is None:
        tracker.log_launch_metrics(launch, {"baseline_majority": 0.25})
        tracker.finish_launch(launch, status="finished")
    return launch


def _record_stages(
    tracker: Tracker,
    graph: StageGraph,
    trial: Trial,
    folder: Path,
    manifests: Mapping[str, str],
    done: set[str],
    *,
    top1: float,
    number: int,
) -> None:
    """Finish the stages of `trial` that are not `done`."""
    table, scored = _predictions(top1, number)
    for key in graph.chains[f"{trial.experiment}/{trial.name}"]:
        if key in done:
            continue
        done.add(key)
        stage = graph.stages[key]
        run = tracker.begin_stage(
            stage,
            attempt=1,
            attempt_dir=f"{key}/a1",
            fingerprint={"torch": "2.14.1", "threads": 1},
            total_steps=40,
        )
        source = trial.spec.data.val if stage.kind == "evaluate" else trial.spec.data.train
        tracker.log_dataset(run, name="videos", digest=manifests[source], source=source, context="training")
        predictions, metrics = None, {"loss": 1.0}
        if stage.kind == "evaluate":
            predictions = str(folder / "train" / key / "predictions.parquet")
            Path(predictions).parent.mkdir(parents=True)
            pq.write_table(table, predictions)
            metrics = {"top1": scored, "videos": float(VIDEOS), "bad_videos": 1.0}
            tracker.note_bad_videos(run, {"archery/000.mp4: no frames": 1}, attempt=1)
        else:
            tracker.log_rows(run, [_row(step, number) for step in range(4, 41, 4)])
        if len(done) == 1:
            tracker.note_preemption(run)
        tracker.finish_stage(run, metrics=metrics, weights_digest=key[::-1], predictions=predictions)


def _row(step: int, number: int) -> dict[str, float]:
    return {
        "step": step,
        "epoch": step / 4,
        "loss": 3 / (1 + 0.1 * step) + 0.05 * number,
        "retrieval_top1": 0.02 * step,
        "train_top1": 0.02 * step,
        "feature_std": 0.5 - 0.005 * step,
        "effective_rank": 12.0,
        "embedding_std": 0.6,
        "embedding_rank": 9.0,
        "collapsed": float(number == 2 and step > 36),
    }


def _predictions(top1: float, seed: int) -> tuple[pa.Table, float]:
    """As an evaluation stores them, with about `top1` of them right; the first video could not be decoded."""
    rng = np.random.default_rng(seed)
    label = np.arange(VIDEOS) % len(CLASSES)
    right = rng.permutation(VIDEOS) < round(top1 * VIDEOS)
    predicted = np.where(right, label, (label + 1) % len(CLASSES))
    predicted[0] = -1
    paths = [f"{CLASSES[number]}/{video:03d}.mp4" for video, number in enumerate(label)]
    table = pa.table({"video": np.arange(VIDEOS), "path": paths, "label": label, "predicted": predicted})
    return table, float((predicted == label).mean())
