"""Small stages for the tests of the loops: batches as the data plane makes them, a recording reporter."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.frameworks import MoCoV3Spec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.run import CheckpointSpec
from lstcl_platform.specs.training import EvaluateSpec, FinetuneSpec, PretrainSpec
from lstcl_platform.training.context import StageContext, StageResult
from lstcl_platform.training.finetune import finetune
from lstcl_platform.training.pretrain import pretrain

FRAMES, SIDE, CLASSES = 2, 16, 3
STEPS_PER_EPOCH, EPOCHS = 3, 2
TOTAL = STEPS_PER_EPOCH * EPOCHS
DECODE_SECONDS = 0.25

HostBatch = dict[str, np.ndarray]


@dataclass
class Recorder:
    """Keeps what a loop reports; asks it to stop after `stop_after` steps."""

    stop_after: int | None = None
    rows: list[Mapping[str, float]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def log(self, rows: Sequence[Mapping[str, float]]) -> None:
        self.rows.extend(rows)

    def progress(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self.steps.append(step)

    def bad_video(self, problem: str) -> None:
        self.problems.append(problem)

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def file(self, location: str) -> None:
        self.files.append(location)

    def should_stop(self, step: int) -> bool:
        return step == self.stop_after


def trial(
    *, pretraining: Mapping[str, Any] | None = None, finetuning: Mapping[str, Any] | None = None
) -> TrialSpec:
    """A trial of the smallest backbone, with every random layer of the recipes switched on."""
    framework = MoCoV3Spec(projector_hidden=16, predictor_hidden=16, output_dim=8)
    pretrain_fields = {
        "framework": framework,
        "epochs": EPOCHS,
        "warmup_epochs": 1.0,
        "batch_size": 8,
        "lr_base": 0.05,
        "drop_path": 0.3,
        "precision": "fp32",
        **(pretraining or {}),
    }
    finetune_fields = {
        "epochs": EPOCHS,
        "warmup_epochs": 1.0,
        "batch_size": 4,
        "lr_base": 0.5,
        "drop_path": 0.3,
        "head_dropout": 0.3,
        "precision": "fp32",
        **(finetuning or {}),
    }
    return TrialSpec(
        data=DataSpec(train="train", val="val"),
        model=ModelSpec(name="st_swin_micro", frames=FRAMES, image_size=SIDE),
        pretrain=PretrainSpec(**pretrain_fields),
        finetune=FinetuneSpec(**finetune_fields),
        evaluate=EvaluateSpec(clips=2),
    )


def stage_context(attempt_dir: Path, reporter: Recorder, **fields: Any) -> StageContext:
    """Context of one CPU rank that logs every step."""
    given = {
        "device": torch.device("cpu"),
        "rank": 0,
        "world_size": 1,
        "steps_per_epoch": STEPS_PER_EPOCH,
        "attempt_dir": str(attempt_dir),
        "resume_from": None,
        "parent_weights": None,
        "checkpoint": CheckpointSpec(every_steps=1, keep=2),
        "log_every_steps": 1,
        "reporter": reporter,
        **fields,
    }
    return StageContext(**given)


def rank_slots(batch_size: int, *, rank: int, world_size: int, parts: int) -> np.ndarray:
    """Slots of a global batch that go to a rank: its share of each micro-batch in turn."""
    return np.arange(batch_size).reshape(parts, world_size, -1)[:, rank].ravel()


def pretrain_batches(
    start: int = 0, *, batch_size: int = 8, rank: int = 0, world_size: int = 1, parts: int = 1
) -> Iterator[HostBatch]:
    """Pairs of clips, each video with a colour and noise of its own; read-only, as Ray hands them over."""
    slots = rank_slots(batch_size, rank=rank, world_size=world_size, parts=parts)
    for step in range(start, TOTAL):
        rng = np.random.default_rng([1, step])
        colour = rng.integers(0, 200, (batch_size, 1, 1, 1, 1, 3))
        noise = rng.integers(0, 56, (batch_size, 2, FRAMES, SIDE, SIDE, 3))
        clips = (colour + noise).astype(np.uint8)
        augment = np.tile(np.array([1, 1, 1, 0, 0, 0, 0], np.float32), (batch_size, 2, 1))
        augment[:, :, :3] = rng.uniform(0.5, 1.5, (batch_size, 2, 3))
        batch = {
            "position": np.arange(step * batch_size, (step + 1) * batch_size),
            "short": clips[:, 0],
            "long": clips[:, 1],
            "augment": augment,
            "bad": np.full(batch_size, "", dtype=object),
            "clips_padded": rng.integers(0, 3, batch_size),
            "seconds": np.full(batch_size, DECODE_SECONDS, dtype=np.float32),
            "frames_decoded": np.full(batch_size, 30 + step),
            "frames_used": np.full(batch_size, 4),
        }
        yield _share(batch, slots)


def finetune_batches(
    start: int = 0, *, batch_size: int = 4, rank: int = 0, world_size: int = 1
) -> Iterator[HostBatch]:
    """Clips whose brightness is their class."""
    slots = rank_slots(batch_size, rank=rank, world_size=world_size, parts=1)
    for step in range(start, TOTAL):
        rng = np.random.default_rng([2, step])
        label = rng.integers(0, CLASSES, batch_size)
        noise = rng.integers(0, 56, (batch_size, FRAMES, SIDE, SIDE, 3))
        batch = {
            "position": np.arange(step * batch_size, (step + 1) * batch_size),
            "clip": (label[:, None, None, None, None] * 90 + noise).astype(np.uint8),
            "label": label,
            "bad": np.full(batch_size, "", dtype=object),
            "clips_padded": rng.integers(0, 3, batch_size),
            "seconds": np.full(batch_size, DECODE_SECONDS, dtype=np.float32),
            "frames_decoded": np.full(batch_size, 30 + step),
            "frames_used": np.full(batch_size, 4),
        }
        yield _share(batch, slots)


def _share(batch: HostBatch, slots: np.ndarray) -> HostBatch:
    shares = {name: column[slots] for name, column in batch.items()}
    for column in shares.values():
        column.flags.writeable = False
    return shares


@dataclass(frozen=True)
class StageUnderTest:
    """One of the two training stages, run the same way."""

    name: str

    def run(self, context: StageContext, *, start: int = 0, spec: TrialSpec | None = None) -> StageResult:
        spec = spec or trial()
        ranks = {"rank": context.rank, "world_size": context.world_size}
        if self.name == "pretrain":
            assert spec.pretrain is not None
            parts = spec.pretrain.accumulation_steps
            return pretrain(spec, context, pretrain_batches(start, parts=parts, **ranks))
        return finetune(spec, context, finetune_batches(start, **ranks), num_classes=CLASSES)
