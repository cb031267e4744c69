from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstcl_platform.planning.clusters import ClusterSpec, NodeGroupSpec
from lstcl_platform.planning.predict import Forecast, forecast
from lstcl_platform.planning.rates import RatesSpec, StageRateSpec
from lstcl_platform.planning.span import Span
from lstcl_platform.planning.work import DataSize
from lstcl_platform.specs import StageGraph, build_graph, expand, parse_experiment
from lstcl_platform.specs.run import CheckpointSpec

GPU = "Test GPU"
AN_EPOCH = CheckpointSpec(every_minutes=None)


def graph_of(**fields: Any) -> StageGraph:
    """The stages of a study of small models on /d/train (100 videos) and /d/val (40)."""
    values = {
        "name": "study",
        "data": {"train": "/d/train", "val": "/d/val"},
        "model": {"name": "st_swin_micro", "frames": 8, "image_size": 32},
        "pretrain": {"epochs": 10, "warmup_epochs": 1, "batch_size": 10},
        "finetune": {"epochs": 20, "batch_size": 10},
        "evaluate": {"clips": 2},
        **fields,
    }
    spec = parse_experiment(values, origin="test", folder=Path("/"))
    return build_graph(expand(spec).trials, manifests={"/d/train": "a", "/d/val": "b"})


def rate(stage: str, **fields: Any) -> StageRateSpec:
    """A rate of the study's model: 10 videos a second, no decoding, 5 s to start, 1 s to end."""
    values = {
        "stage": stage,
        "model": "st_swin_micro",
        "frames": 8,
        "image_size": 32,
        "framework": "moco_v3" if stage == "pretrain" else None,
        "views": 2 if stage in ("evaluate", "probe") else 1,
        "device": GPU,
        "samples_per_second": 10.0,
        "decode_seconds": 1e-6,
        "start_seconds": 5.0,
        "end_seconds": 1.0,
    }
    return StageRateSpec.model_validate(values | fields)


def cluster_of(count: int = 1, **fields: Any) -> ClusterSpec:
    values = {"count": count, "cpus": 8.0, "gpus": 1, "device": GPU, **fields}
    return ClusterSpec(nodes={"gpu": NodeGroupSpec.model_validate(values)})


def exact(found: Forecast) -> Forecast:
    """The same forecast without any range, so that a simulation can be done by hand."""

    def point(span: Span) -> Span:
        return Span.exactly(span.expected)

    stages = {
        key: replace(
            each,
            times=replace(
                each.times,
                **{name: point(getattr(each.times, name)) for name in ("start", "compute", "decode", "end")},
            ),
        )
        for key, each in found.stages.items()
    }
    return replace(found, stages=stages, launch=point(found.launch))


@pytest.fixture
def predict():
    def run(
        graph: StageGraph,
        cluster: ClusterSpec,
        *,
        rates: list[StageRateSpec] | None = None,
        finished: tuple[str, ...] = (),
        checkpoint: CheckpointSpec = AN_EPOCH,
    ) -> Forecast:
        measured = [rate(kind) for kind in ("pretrain", "finetune", "evaluate")] if rates is None else rates
        return forecast(
            graph,
            finished=finished,
            sizes={
                "/d/train": DataSize(videos=100, classes=5),
                "/d/val": DataSize(videos=40, classes=5),
            },
            rates=RatesSpec(stages=measured, launch_seconds=[10.0]),
            cluster=cluster,
            capacity=cluster.capacity,
            checkpoint=checkpoint,
        )

    return run
