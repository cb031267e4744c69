"""What a stage has to do: videos, steps and bytes, as far as its data is known."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lstcl_platform.planning.arithmetic import recomputed, sample_flops, trained_bytes
from lstcl_platform.planning.rates import views_of
from lstcl_platform.specs.batches import check_batches
from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.run import CheckpointSpec
from lstcl_platform.specs.stages import TESTS, Stage


@dataclass(frozen=True, kw_only=True)
class DataSize:
    """Size of a split.

    Attributes:
        videos: usable ones.
        classes: labels.
        source: where that is known from.
    """

    videos: int
    classes: int
    source: str = "its manifest"


def _published(train: int, val: int, classes: int) -> tuple[DataSize, DataSize]:
    source = "the size that the paper states"
    return (
        DataSize(videos=train, classes=classes, source=source),
        DataSize(videos=val, classes=classes, source=source),
    )


PUBLISHED: Mapping[str, tuple[DataSize, DataSize]] = {
    "kinetics400": _published(240_000, 20_000, 400),
    "kinetics600": _published(392_000, 30_000, 600),
    "something_something_v2": _published(169_000, 25_000, 174),
}
"""Part of a path -> sizes of the training and the validation split of a dataset that is not here yet."""
SYNTHETIC_CLASSES = 6


def size_of(path: str, data: DataSpec, known: Mapping[str, DataSize]) -> DataSize | None:
    """Size of the videos at a resolved path of `data`; None if nobody knows.

    A manifest or what the user says comes first, then what will be rendered, then the published size of a dataset
    that a part of the path names.
    """
    if path in known:
        return known[path]
    testing = path == data.val
    if data.synthesize is not None:
        rendered = data.synthesize.val_videos if testing else data.synthesize.train_videos
        return DataSize(videos=rendered, classes=SYNTHETIC_CLASSES, source="data.synthesize")
    parts = path.replace("\\", "/").split("/")
    found = next((PUBLISHED[part] for part in reversed(parts) if part in PUBLISHED), None)
    return None if found is None else found[testing]


def parse_sizes(texts: Iterable[str], paths: Iterable[str]) -> dict[str, DataSize]:
    """Values of `--videos PATH=VIDEOS[/CLASSES]` by resolved path; PATH is the end of one.

    Raises:
        UserError: not of that form, or PATH fits none of `paths`.
    """
    known, found = sorted(set(paths)), {}
    for text in texts:
        end, _, numbers = text.partition("=")
        videos, _, classes = numbers.partition("/")
        if not videos.isdigit() or not (classes or "1").isdigit() or not int(videos):
            raise UserError(
                f"--videos {text}: expected PATH=VIDEOS or PATH=VIDEOS/CLASSES, as in data/train=5000/12"
            )
        fitting = [path for path in known if path == end or path.endswith(f"/{end.lstrip('/')}")]
        if not fitting:
            raise UserError(f"--videos {text}: no study reads {end}; they read {', '.join(known)}")
        for path in fitting:
            found[path] = DataSize(videos=int(videos), classes=int(classes or 100), source="--videos")
    return found


def check_sizes(trials: Iterable[TrialSpec], sizes: Mapping[str, DataSize]) -> None:
    """Refuse what a launch would refuse of `trials` for the number of videos, as far as that is known.

    Raises:
        UserError: as `specs.batches.check_batches`.
    """
    for spec in trials:
        pretraining = size_of(spec.data.pretraining, spec.data, sizes)
        train = size_of(spec.data.train, spec.data, sizes)
        check_batches(
            spec,
            pretraining=None if pretraining is None else pretraining.videos,
            labelled=None if train is None else _labelled(spec, train),
        )


def _labelled(spec: TrialSpec, train: DataSize) -> int:
    """Videos that finetuning uses."""
    few = spec.finetune.labels_per_class
    return train.videos if few is None else min(train.videos, few * train.classes)


@dataclass(frozen=True, kw_only=True)
class StageWork:
    """Work of one stage.

    Attributes:
        stage: the stage.
        steps: optimizer steps, or batches of a test.
        samples: videos in all, each as often as it is read.
        tested: videos that a test scores, else 0.
        classes: labels of the training videos.
        checkpoint_steps: steps between two checkpoints, or None where nothing is kept.
        checkpoint_minutes: the same by time, or None.
    """

    stage: Stage
    steps: int
    samples: int
    tested: int
    classes: int
    checkpoint_steps: int | None
    checkpoint_minutes: float | None

    @property
    def clips(self) -> int:
        """Clips decoded a video."""
        return 2 if self.stage.kind == "pretrain" else views_of(self.stage)

    @property
    def flops(self) -> float:
        """Operations in all, with what is computed twice to save memory."""
        return self.samples * sample_flops(self.stage) * recomputed(self.stage)

    @property
    def stored_bytes(self) -> float:
        """What stays in storage: a checkpoint, the weights, predictions."""
        return sum(trained_bytes(self.stage)) + self.tested * (4.0 * self.classes + 80)


def work_of(
    stage: Stage, sizes: Mapping[str, DataSize], checkpoint: CheckpointSpec, *, epochs_done: int = 0
) -> StageWork | None:
    """Work of `stage`, of which an earlier part has done some epochs; None if the size of its data is not known.

    Its videos fill its batches (`check_sizes`).
    """
    data, testing = stage.spec.data, stage.kind in TESTS
    train = size_of(data.pretraining if stage.kind == "pretrain" else data.train, data, sizes)
    val = size_of(data.val, data, sizes)
    if train is None or (val is None and testing):
        return None
    steps, batch, an_epoch = _steps(stage, train, val, epochs_done=epochs_done)
    videos = (val.videos if val else 0) + (train.videos if stage.kind == "probe" else 0)
    return StageWork(
        stage=stage,
        steps=steps,
        samples=videos if testing else steps * batch,
        tested=val.videos if testing and val is not None else 0,
        classes=train.classes,
        checkpoint_steps=None if testing else checkpoint.every_steps or an_epoch,
        checkpoint_minutes=None if testing else checkpoint.every_minutes,
    )


def _steps(stage: Stage, train: DataSize, val: DataSize | None, *, epochs_done: int) -> tuple[int, int, int]:
    """Steps, videos a step, and steps an epoch."""
    spec = stage.spec
    if stage.kind == "pretrain":
        assert spec.pretrain is not None
        epoch = train.videos // spec.pretrain.batch_size
        epochs = (stage.until or spec.pretrain.epochs) - epochs_done
        return epoch * epochs, spec.pretrain.batch_size, epoch
    if stage.kind == "finetune":
        epoch = _labelled(spec, train) // spec.finetune.batch_size
        epochs = (stage.until or spec.finetune.epochs) - epochs_done
        return epoch * epochs, spec.finetune.batch_size, epoch
    assert val is not None
    videos = val.videos + (train.videos if stage.kind == "probe" else 0)
    batch = min(spec.resources.evaluate_batch_size * spec.resources.workers, videos)
    return -(-videos // batch), batch, -(-videos // batch)
