"""Does a worker that decodes for hours keep its memory and its files? Run by hand; exit code 1 if not.

    python benchmarks/decode_memory.py FOLDER|FILE... [--samples 20000]

The videos are prepared as by `data prepare` into a temporary folder; then one process decodes pretraining samples of
them, as a decode task does, and prints its resident memory and open files as it goes.
"""

import argparse
import gc
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil

from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import PretrainSpec
from lstcl_platform.video.decode_bench import videos_in
from lstcl_platform.video.indexing import index_videos
from lstcl_platform.video.samples import PretrainSamples
from lstcl_platform.video.transcoding import TranscodeSettings, transcode

CHUNK = 8
WARM_UP = 0.1
"""Share of the samples after which memory may not grow."""
POINTS = 20
GROWTH = 0.05


@dataclass(frozen=True)
class Point:
    """The process after some samples."""

    samples: int
    mebibytes: float
    files: int


def prepared_samples(videos: list[Path], folder: Path, *, size: int) -> PretrainSamples:
    """Samples of the paper's pretraining over prepared copies of those `videos` that can be decoded."""
    (folder / "videos").mkdir()
    for number, video in enumerate(videos):
        made = transcode(video, folder / "videos" / f"{number}.mp4", TranscodeSettings())
        if made.problem:
            print(f"{video.name} is left out: {made.problem}")
    copies = sorted((folder / "videos").iterdir())
    (folder / "list.csv").write_text("".join(f"{copy},0\n" for copy in copies))
    index_videos(folder / "list.csv").save(folder / "manifest.parquet")
    return PretrainSamples(
        manifest=folder / "manifest.parquet",
        data=DataSpec(train="train", val="val"),
        model=ModelSpec(image_size=size),
        pretrain=PretrainSpec(batch_size=len(copies)),
    )


def decode(samples: PretrainSamples, *, count: int) -> list[Point]:
    """Decode `count` samples; the curve begins after the warm-up."""
    process = psutil.Process()
    warm_up = int(count * WARM_UP)
    marks = np.linspace(warm_up, count, POINTS + 1).astype(int).tolist()
    curve: list[Point] = []
    for first in range(0, count, CHUNK):
        batch = samples(np.arange(first, first + CHUNK))
        assert not any(batch["bad"]), batch["bad"]
        if first + CHUNK >= marks[0]:
            del batch
            gc.collect()
            rss = process.memory_info().rss / 2**20
            curve.append(Point(first + CHUNK, rss, len(process.open_files())))
            print(f"{curve[-1].samples:7} samples {rss:8.1f} MiB {curve[-1].files:3} open files", flush=True)
            marks = [mark for mark in marks if mark > first + CHUNK] or [sys.maxsize]
    return curve


def main() -> None:
    """Decode, print the curve, and judge it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=224, help="pixels of a clip")
    arguments = parser.parse_args()
    before = len(psutil.Process().open_files())
    with TemporaryDirectory() as folder:
        samples = prepared_samples(videos_in(arguments.paths), Path(folder), size=arguments.size)
        curve = decode(samples, count=arguments.samples)
    growth = max(point.mebibytes for point in curve) / curve[0].mebibytes - 1
    left = max(point.files for point in curve) - before
    print(f"largest growth after {curve[0].samples} samples: {growth:.1%}; files left open: {left}")
    sys.exit(1 if growth >= GROWTH or left > 0 else 0)


if __name__ == "__main__":
    main()
