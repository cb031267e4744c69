"""A trained model on videos: cut, decoded and averaged exactly as the stage that tested it did."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lstcl_platform.models.trained import Trained, load_trained
from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.trained import TrainedSpec
from lstcl_platform.training.evaluate import TOP, score_clips
from lstcl_platform.training.probe import clip_features
from lstcl_platform.video.indexing import manifest_of
from lstcl_platform.video.loose import loose_listing
from lstcl_platform.video.probe import probe
from lstcl_platform.video.samples import EvaluateSamples

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of one video.

    Attributes:
        path: file as it was found.
        problem: why the video could not be decoded, or None.
        top: (class, probability in [0, 1]) of the most probable classes, best first; empty with a problem.
    """

    path: str
    problem: str | None
    top: tuple[tuple[str, float], ...]


def predict(
    trained: Trained, sources: Sequence[Path], *, top: int = TOP, progress: Progress | None = None
) -> Iterator[Prediction]:
    """The most probable classes of each video, in the order named; on the GPU where there is one.

    Args:
        trained: a classifier.
        sources: video files, and folders of them.
        top: classes a video.
        progress: called with (videos done, videos in all).

    Raises:
        UserError: the model is no classifier, or a folder holds no video. A video that cannot be read is none: its
            prediction says so.
    """
    names = class_names(trained)
    device = default_device()
    score = scorer(trained, device)
    listing = loose_listing(sources)
    facts = [asdict(probe(listing.root / video.path)) for video in listing.videos]
    manifest = manifest_of(listing, facts)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "videos.parquet"
        manifest.save(file)
        samples = samples_as_tested(trained.spec, file) if len(manifest.usable) else None
        place = {int(row): position for position, row in enumerate(manifest.usable)}
        for row in range(len(manifest)):
            path, problem = str(manifest.file(row)), manifest.row(row).problem
            best: tuple[tuple[str, float], ...] = ()
            if samples is not None and row in place:
                batch = samples(np.array([place[row]]))
                problem = batch["bad"][0].removeprefix(f"{path}: ") or None
                if problem is None:
                    best = _top(score(torch.from_numpy(batch["clips"]))[0], names, top)
            if progress is not None:
                progress(row + 1, len(manifest))
            yield Prediction(path=path, problem=problem, top=best)


def scorer(trained: Trained, device: torch.device) -> Callable[[Tensor], NDArray[np.float32]]:
    """uint8 clips (B, C, T, H, W, 3) -> class probabilities of a classifier, averaged over clips, (B, K)."""
    module = trained.module.to(device).eval()
    return partial(_computed, partial(score_clips, module, precision=trained.spec.evaluate.precision), device)


def featurizer(trained: Trained, device: torch.device) -> Callable[[Tensor], NDArray[np.float32]]:
    """uint8 clips (B, C, T, H, W, 3) -> features of the backbone, averaged over clips, (B, D)."""
    backbone = trained.backbone.to(device).eval()
    return partial(
        _computed, partial(clip_features, backbone, precision=trained.spec.evaluate.precision), device
    )


def samples_as_tested(spec: TrainedSpec, manifest: Path) -> EvaluateSamples:
    """The test clips of the usable videos of a manifest, cut as the test of this model cut them."""
    data = DataSpec(
        train=f"{manifest}.unread",  # a spec wants both splits; only the one that is shown is read
        val=str(manifest),
        target_fps=spec.target_fps,
        short_videos=spec.short_videos,
        max_bad_fraction=1.0,
    )
    return EvaluateSamples(
        manifest=manifest,
        data=data,
        model=spec.model,
        evaluate=spec.evaluate,
        stride=spec.stride,
        indexing=spec.indexing,
    )


def class_names(trained: Trained) -> tuple[str, ...]:
    """Name of each class; its number where the training did not record names.

    Raises:
        UserError: the model is a backbone.
    """
    if trained.spec.kind != "finetune":
        raise UserError(
            f"stage {trained.spec.key[:10]} is a pretraining: it gives features, not classes. Name a finetuned run, or "
            "use `lstcl-platform embed`"
        )
    count = int(trained.module.get_parameter("head.weight").shape[0])
    return trained.classes or tuple(map(str, range(count)))


def default_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _computed(
    compute: Callable[[Tensor], Tensor], device: torch.device, clips: Tensor
) -> NDArray[np.float32]:
    with torch.inference_mode():
        values: NDArray[np.float32] = compute(clips.to(device)).float().cpu().numpy()
    return values


def _top(probabilities: NDArray[np.float32], names: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return tuple((names[place], float(probabilities[place])) for place in order)


class _VideoModel:
    """What MLflow's `pyfunc` loads: `predict` on paths of videos."""

    def __init__(self, trained: Trained) -> None:
        self._trained = trained

    def predict(self, model_input: Any) -> list[dict[str, Any]]:
        """Predictions as records, from a list of paths or a table whose first column holds them."""
        column = model_input.iloc[:, 0] if hasattr(model_input, "iloc") else model_input
        return [asdict(found) for found in predict(self._trained, [Path(path) for path in column])]


def _load_pyfunc(path: str) -> _VideoModel:
    """Entry point that MLflow calls with the registered file."""
    return _VideoModel(load_trained(path))
