"""Samples a second of each way to cut clips, on the user's own files, alternating in one run."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.decode_ways import WAYS, Sample, Way, available_ways, one_thread
from lstcl_platform.video.layouts.listing import VIDEO_SUFFIXES
from lstcl_platform.video.probe import Probe, probe
from lstcl_platform.video.sampling import Box, Clip, random_box

_AREA, _ASPECT = (0.2, 0.766), (0.75, 4 / 3)
"""Crops of the short and the long view (the paper's pretraining)."""
_BOX_DRAWS = 40


@dataclass(kw_only=True)
class FileRates:
    """What was measured on one file.

    Attributes:
        name: of the file.
        facts: what it is.
        cpu: process CPU seconds a sample, by way, one for each round.
        equal: whether the way's pixels were those of `ours`, bit for bit.
        failed: way -> error, for ways that could not read the file.
    """

    name: str
    facts: Probe
    cpu: dict[str, list[float]] = field(default_factory=dict)
    equal: dict[str, bool] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def rate(self, way: str) -> float | None:
        """Samples a CPU second, or None where it failed."""
        seconds = self.cpu.get(way)
        return None if not seconds or way in self.failed else len(seconds) / sum(seconds)


@dataclass(frozen=True, kw_only=True)
class DecodeRates:
    """What `bench_decode` measured.

    Attributes:
        files: one for each video.
        missing: peers that are not installed, and why.
    """

    files: list[FileRates]
    missing: dict[str, str]

    def mean_ratio(self, way: str, *, to: str) -> float | None:
        """Geometric mean over the files of one way's rate divided by another's."""
        pairs = [(file.rate(way), file.rate(to)) for file in self.files]
        logs = [np.log(a / b) for a, b in pairs if a and b]
        return float(np.exp(np.mean(logs))) if logs else None


def bench_decode(
    paths: Sequence[Path],
    *,
    strides: Sequence[int],
    frames: int,
    size: int = 224,
    clips: int = 0,
    rounds: int = 5,
    progress: Callable[[int, int], None] | None = None,
) -> DecodeRates:
    """Cut the same random samples in every way that is installed.

    Args:
        paths: videos, or folders of them.
        strides: one clip a sample for each, with a random start and crop: (8, 32) is a pretraining sample.
        frames: frames a clip.
        size: side of the output.
        clips: above 0, samples are this many evenly spread centre clips of the last stride instead, as evaluation
            takes them.
        rounds: samples of each file.
        progress: called with (file rounds done, in all).

    Raises:
        UserError: no video, or none that can be decoded.
    """
    available = available_ways()
    one_thread()
    files = _videos(paths)
    results = [FileRates(name=path.name, facts=probe(path)) for path in files]
    usable = [(path, result) for path, result in zip(files, results, strict=True) if not result.facts.problem]
    if not usable:
        raise UserError(f"{results[0].name}: {results[0].facts.problem}; no video that can be decoded")
    done = 0
    for number in range(rounds + 1):
        for path, result in usable:
            rng = np.random.default_rng([number, len(result.name), result.facts.frames])
            sample = draw_sample(result.facts, rng, strides=strides, frames=frames, clips=clips)
            # The first round warms up and compares pixels; then each round begins with another way.
            _round(path, sample, result, available.ways, size=size, shift=number, timed=number > 0)
            done += 1
            if progress is not None:
                progress(done, (rounds + 1) * len(usable))
    return DecodeRates(files=results, missing=available.missing)


def _round(
    path: Path,
    sample: Sample,
    result: FileRates,
    ways: dict[str, Way],
    *,
    size: int,
    shift: int,
    timed: bool,
) -> None:
    names = [name for name in ways if name not in result.failed]
    expected = None if timed else WAYS["ours"](path, sample, size)
    for name in names[shift % len(names) :] + names[: shift % len(names)]:
        began = time.process_time()
        try:
            got = ways[name](path, sample, size)
        except Exception as error:
            # Whatever a peer raises is its result on this file, not the end of the benchmark.
            result.failed[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            continue
        if timed:
            result.cpu.setdefault(name, []).append(time.process_time() - began)
        elif got is not None and expected is not None:
            result.equal[name] = all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def _videos(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [p for p in inside if p == path or (p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES)]
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: no video found")
    return found


def draw_sample(
    facts: Probe, rng: np.random.Generator, *, strides: Sequence[int], frames: int, clips: int
) -> Sample:
    """A random sample as pretraining takes them, or the even clips of an evaluation; see `bench_decode`."""

    def positions(start: int, stride: int) -> Clip:
        indices = np.minimum(start + stride * np.arange(frames), facts.frames - 1)
        return Clip(indices.astype(np.int64), box, False)

    if clips:
        side = min(facts.width, facts.height) // 2 * 2
        box = _even(Box((facts.width - side) // 2, (facts.height - side) // 2, side, side))
        room = max(0, facts.frames - (frames - 1) * strides[-1] - 1)
        return [positions(int(start), strides[-1]) for start in np.linspace(0, room, clips)]
    sample = []
    for stride in strides:
        draws = rng.random(_BOX_DRAWS)
        box = _even(random_box(draws, width=facts.width, height=facts.height, area=_AREA, aspect=_ASPECT))
        room = max(0, facts.frames - (frames - 1) * stride - 1)
        sample.append(positions(int(rng.integers(0, room + 1)), stride))
    return sample


def _even(box: Box) -> Box:
    """Even edges inside the box, so that every way crops the same pixels."""
    x, y = -(-box.x // 2) * 2, -(-box.y // 2) * 2
    return Box(x, y, max(2, (box.x + box.width - x) // 2 * 2), max(2, (box.y + box.height - y) // 2 * 2))
