"""From plan positions to batches of pixels: the callables that run on every decoding process.

Each is a pure function of its arguments and the positions, small to pickle (paths and specs), and opens the
manifest once a process. None of them changes global state: the caller decides on `torch.set_num_threads`.
"""

import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import EvaluateSpec, FinetuneSpec, Indexing, PretrainSpec, Timing
from lstcl_platform.storage.places import Place
from lstcl_platform.video.decoding import DecodeError, Frames, decode_clips
from lstcl_platform.video.few_labels import labelled_subset
from lstcl_platform.video.manifest import Manifest, VideoRow, check_usable
from lstcl_platform.video.plan import EpochPlan
from lstcl_platform.video.sample_reads import Read, Sample, SampleRef, read_checked
from lstcl_platform.video.sampling import Clip, sample_clips, sample_labelled_clip, uniform_clips

Batch = dict[str, npt.NDArray[Any]]


class _OfManifest:
    """What samples of one manifest tell of its videos."""

    manifest: str
    data: DataSpec

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return _manifest(self.manifest).digest

    def video(self, row: int) -> VideoRow:
        """What the manifest says of a video."""
        return _manifest(self.manifest).row(row)

    def file(self, row: int) -> Place:
        """Where a video is."""
        return _manifest(self.manifest).file(row)

    def check_found(self, problems: Mapping[tuple[int, str], str]) -> None:
        """Refuse to go on when videos that turned out bad, with those bad before, are too many.

        Args:
            problems: (row, digest of the video) -> problem; those of another manifest do not count.

        Raises:
            UserError: They are more than `max_bad_fraction`; names three.
        """
        manifest = _manifest(self.manifest)
        mine = {
            manifest.row(row).path: problem
            for (row, digest), problem in problems.items()
            if row < len(manifest) and manifest.row(row).digest == digest
        }
        check_usable(manifest, max_bad_fraction=self.data.max_bad_fraction, found=mine)


class PretrainSamples(_OfManifest):
    """Pairs of views for pretraining, by position of the `EpochPlan` over the usable videos.

    A video that cannot be decoded is replaced by the one at the same slot of the next step of its epoch, and
    so on: the same stand-in on every machine, and never one of its own global batch.
    """

    def __init__(
        self, *, manifest: str | Path, data: DataSpec, model: ModelSpec, pretrain: PretrainSpec
    ) -> None:
        """Check the manifest (a Parquet) and lay out the plan.

        Raises:
            UserError: No manifest, too many unusable videos, or fewer usable videos than a global batch.
        """
        self.manifest = str(manifest)
        self.data = data
        self.model = model
        self.pretrain = pretrain
        videos = _manifest(self.manifest)
        check_usable(videos, max_bad_fraction=data.max_bad_fraction)
        self.videos = len(videos.usable)
        self.plan = _plan(self.manifest, self.videos, batch_size=pretrain.batch_size, seed=pretrain.seed)

    def __call__(self, positions: npt.NDArray[np.int64], *, read: Read = read_checked) -> Batch:
        """Decode the samples at `positions`.

        Returns:
            position int64 (B,); video int64 (B,) manifest row shown; short and long uint8 (B, T, H, W, 3);
            augment float32 (B, 2, P), `AUGMENT_FIELDS` of the short and the long view; bad object (B,), "" or
            "<path>: <error>" of the video that a stand-in replaces; seconds float32 (B,) spent decoding;
            frames_decoded and frames_used int64 (B,), what the decoder put out and how many of them are shown;
            clips_padded int64 (B,), views longer than the video (0 to 2); and with `random_disjoint`
            pairs_not_disjoint int64 (B,), 1 where the video is too short for both.

        Raises:
            DecodeError: A video and all its stand-ins are damaged.
            StorageError: A video cannot be read; nothing is replaced for that.
            UserError: A video has changed since it was indexed.
        """
        rows = _manifest(self.manifest).usable
        return _stack([_planned(self, self.plan, rows, int(position), read) for position in positions])

    def draw(self, row: int, epoch: int) -> Sample:
        """The sample of the video of a row in an epoch, without `position`, `video`, `bad` and `seconds`.

        Raises:
            DecodeError: It cannot be decoded.
        """
        manifest = _manifest(self.manifest)
        video = manifest.row(row)
        fps = self.data.target_fps
        views = sample_clips(
            video,
            self.pretrain,
            frames=self.model.frames,
            target_fps=fps,
            epoch=epoch,
            short_videos=self.data.short_videos,
        )
        (short, long), frames = _cut(manifest, video, list(views), model=self.model, target_fps=fps)
        sample = {
            **frames,
            "short": short,
            "long": long,
            "augment": np.stack([view.augment for view in views]),
            "clips_padded": sum(view.padded for view in views),
        }
        if self.pretrain.clips.sampling == "random_disjoint":
            sample["pairs_not_disjoint"] = int(views[0].overlaps)
        return sample


class FinetuneSamples(_OfManifest):
    """Labelled clips for finetuning, by position of the `EpochPlan` over the labelled videos."""

    def __init__(
        self, *, manifest: str | Path, data: DataSpec, model: ModelSpec, finetune: FinetuneSpec
    ) -> None:
        """Check the manifest (a Parquet), draw the labelled subset and lay out the plan.

        Raises:
            UserError: As `PretrainSamples`, or a class has fewer usable videos than `labels_per_class`.
        """
        self.manifest = str(manifest)
        self.data = data
        self.model = model
        self.finetune = finetune
        videos = _manifest(self.manifest)
        check_usable(videos, max_bad_fraction=data.max_bad_fraction)
        self.videos = len(self._rows())
        self.num_classes = len(videos.classes)
        self.plan = _plan(self.manifest, self.videos, batch_size=finetune.batch_size, seed=finetune.seed)

    def __call__(self, positions: npt.NDArray[np.int64], *, read: Read = read_checked) -> Batch:
        """Decode the samples at `positions`.

        Returns:
            position, video, bad, seconds, frames_decoded, frames_used and clips_padded as `PretrainSamples`; clip
            uint8 (B, T, H, W, 3); label int64 (B,) of the video shown.

        Raises:
            DecodeError, StorageError, UserError: As `PretrainSamples`.
        """
        rows = self._rows()
        return _stack([_planned(self, self.plan, rows, int(position), read) for position in positions])

    def _rows(self) -> npt.NDArray[np.int64]:
        return _labelled_rows(self.manifest, self.finetune.labels_per_class, self.finetune.seed)

    def draw(self, row: int, epoch: int) -> Sample:
        """As `PretrainSamples.draw`."""
        manifest = _manifest(self.manifest)
        video = manifest.row(row)
        fps = self.data.target_fps
        clip = sample_labelled_clip(
            video,
            self.finetune,
            frames=self.model.frames,
            target_fps=fps,
            epoch=epoch,
            short_videos=self.data.short_videos,
        )
        (pixels,), frames = _cut(manifest, video, [clip], model=self.model, target_fps=fps)
        augment, seed = self.finetune.augment, self.finetune.seed
        if augment.randaugment_ops or augment.erasing:
            # Brings in torch and timm, seconds of start-up for every process that only plans or decodes.
            from lstcl_platform.video.rand_augment import augment_labelled_clip

            pixels = augment_labelled_clip(pixels, augment, seed=seed, epoch=epoch, video=row)
        return {"clip": pixels, "label": np.int64(video.label), "clips_padded": int(clip.padded), **frames}


class EvaluateSamples(_OfManifest):
    """Uniform test clips of every usable video; position p is the p-th of them, beyond is padding."""

    def __init__(
        self,
        *,
        manifest: str | Path,
        data: DataSpec,
        model: ModelSpec,
        evaluate: EvaluateSpec,
        stride: Timing,
        indexing: Indexing = "exact",
    ) -> None:
        """Check the manifest (a Parquet).

        Args:
            stride: Grid positions between two frames of a clip, or `segments`; resolved: `evaluate.stride` is
                not read.
            indexing: As the finetuning that is evaluated.

        Raises:
            UserError: No manifest, too many unusable videos, or none usable.
        """
        self.manifest = str(manifest)
        self.data = data
        self.model = model
        self.evaluate = evaluate
        self.stride: Timing = stride
        self.indexing: Indexing = indexing
        videos = _manifest(self.manifest)
        check_usable(videos, max_bad_fraction=data.max_bad_fraction)
        self.videos = len(videos.usable)
        self.num_classes = len(videos.classes)
        if not self.videos:
            raise UserError(f"{self.manifest}: no usable video")

    def __call__(self, positions: npt.NDArray[np.int64], *, read: Read = read_checked) -> Batch:
        """Decode the test clips of the videos at `positions`.

        Returns:
            position, video, bad, seconds, frames_decoded, frames_used and clips_padded (0 to C) as
            `PretrainSamples`; clips uint8 (B, C, T, H, W, 3), C = clips x crops, the crops of a clip in turn; label
            int64 (B,); path object (B,), as the manifest has it. Padding: video and label -1, no path, black clips.
            A video that cannot be decoded keeps its label, has black clips and `bad` set, and is to be counted as
            wrong: a test video is never replaced.

        Raises:
            StorageError, UserError: As `PretrainSamples`.
        """
        return _stack([self._test(int(position), read) for position in positions])

    def draw(self, row: int, epoch: int) -> Sample:
        """As `PretrainSamples.draw`; every epoch shows the same."""
        manifest = _manifest(self.manifest)
        video = manifest.row(row)
        clips, fps = self._clips(video), self.data.target_fps
        pixels, frames = _cut(manifest, video, clips, model=self.model, target_fps=fps)
        return {"clips": np.stack(pixels), **frames}

    def _clips(self, video: VideoRow) -> list[Clip]:
        return uniform_clips(
            video,
            self.evaluate,
            frames=self.model.frames,
            stride=self.stride,
            indexing=self.indexing,
            target_fps=self.data.target_fps,
            short_videos=self.data.short_videos,
        )

    def _test(self, position: int, read: Read) -> Sample:
        started = time.perf_counter()
        size, frames = self.model.image_size, self.model.frames
        black = np.zeros((self.evaluate.clips * self.evaluate.crops, frames, size, size, 3), dtype=np.uint8)
        sample: Sample = {
            "position": position,
            "video": -1,
            "path": "",
            "label": -1,
            "clips": black,
            "bad": "",
        }
        sample |= {"clips_padded": 0, "frames_decoded": 0, "frames_used": 0}
        if position < self.videos:
            video = self.video(int(_manifest(self.manifest).usable[position]))
            sample |= {"video": video.row, "path": video.path, "label": video.label}
            sample["clips_padded"] = sum(clip.padded for clip in self._clips(video))
            try:
                sample |= read(SampleRef(self, video.row, 0))
            except DecodeError as error:
                sample["bad"] = str(error)
        return sample | {"seconds": time.perf_counter() - started}


def _manifest(path: str) -> Manifest:
    """The manifest at `path`, read once a process and again only if a local file has changed."""
    if "://" in path:
        return _load(
            path, 0
        )  # a launch names its manifests by their digests: asking for each sample would be dear
    file = Path(path)
    stamp = file.stat().st_mtime_ns if file.is_file() else 0
    return _load(path, stamp)


@lru_cache(maxsize=4)
def _load(path: str, stamp: int) -> Manifest:
    return Manifest.load(path)


@lru_cache(maxsize=4)
def _labelled_rows(path: str, labels_per_class: int | None, seed: int) -> npt.NDArray[np.int64]:
    return labelled_subset(_manifest(path), labels_per_class=labels_per_class, seed=seed)


def _plan(manifest: str, videos: int, *, batch_size: int, seed: int) -> EpochPlan:
    try:
        return EpochPlan(videos=videos, global_batch=batch_size, seed=seed)
    except UserError as error:
        raise UserError(f"{manifest}: {error}") from None


def _cut(
    manifest: Manifest, video: VideoRow, clips: list[Clip], *, model: ModelSpec, target_fps: float | None
) -> tuple[list[Frames], dict[str, int]]:
    """The clips, and how many frames were decoded and used for them."""
    decoded: list[int] = []
    cut = decode_clips(
        manifest.file(video.row),
        clips,
        size=model.image_size,
        target_fps=target_fps,
        expected_frames=video.frames,
        count=decoded.append,
    )
    return cut, {"frames_decoded": sum(decoded), "frames_used": sum(len(pixels) for pixels in cut)}


def _planned(
    drawer: PretrainSamples | FinetuneSamples,
    plan: EpochPlan,
    rows: npt.NDArray[np.int64],
    position: int,
    read: Read,
) -> Sample:
    """The sample at a position, or that of the first stand-in that can be decoded; says which was bad."""
    started = time.perf_counter()
    bad: list[str] = []
    for candidate in [position, *plan.stand_ins(position)]:
        epochs, ordinals = plan.locate(np.array([candidate]))
        row = int(rows[ordinals[0]])
        try:
            content = read(SampleRef(drawer, row, int(epochs[0])))
        except DecodeError as error:
            bad.append(str(error))
            continue
        seconds = time.perf_counter() - started
        return {"position": position, "video": row, **content, "bad": "; ".join(bad), "seconds": seconds}
    raise DecodeError(bad[0].rpartition(": ")[0], f"and all its stand-ins are damaged: {'; '.join(bad)}")


_TYPES = {
    "position": np.int64,
    "video": np.int64,
    "label": np.int64,
    "bad": object,
    "path": object,
    "seconds": np.float32,
    "frames_decoded": np.int64,
    "frames_used": np.int64,
    "clips_padded": np.int64,
    "pairs_not_disjoint": np.int64,
}


def _stack(samples: list[Sample]) -> Batch:
    """One array a field; `bad` holds Python strings."""
    if not samples:
        raise ValueError("a batch needs at least one position")
    return {name: np.array([s[name] for s in samples], dtype=_TYPES.get(name)) for name in samples[0]}
