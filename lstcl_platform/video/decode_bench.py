"""Samples a second of each way to cut clips, on the user's own files, alternating in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.decode_variants import AS_THEY_ARE, PREPARED, variants
from lstcl_platform.video.decode_ways import WAYS, Sample, Way, available_ways, one_thread
from lstcl_platform.video.layouts.listing import VIDEO_SUFFIXES
from lstcl_platform.video.probe import Probe, probe
from lstcl_platform.video.sampling import Box, Clip, random_box

Samples = Literal["pretraining", "evaluation"]

_AREA, _ASPECT = (0.2, 0.766), (0.75, 4 / 3)
"""Crops of the short and the long view (the paper's pretraining)."""
_BOX_DRAWS = 40


@dataclass(kw_only=True)
class FileRates:
    """What was measured on one file.

    Attributes:
        name: of the user's video.
        group: the file itself, or what was made of it (`decode_variants`).
        samples: what was cut out of it.
        facts: what it is.
        cpu: process CPU seconds a sample, by way, one for each round.
        equal: whether the way's pixels were those of `ours`, bit for bit.
        failed: way -> error, for ways that could not read the file.
    """

    name: str
    facts: Probe
    group: str = AS_THEY_ARE
    samples: Samples = "pretraining"
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

    @property
    def groups(self) -> list[tuple[Samples, str]]:
        """What was measured, in order: (samples, group of files)."""
        return list(dict.fromkeys((file.samples, file.group) for file in self.files))

    def of(self, samples: Samples, group: str) -> DecodeRates:
        """Those of one group."""
        files = [file for file in self.files if (file.samples, file.group) == (samples, group)]
        return replace(self, files=files)

    def of_file(self, file: FileRates) -> DecodeRates:
        """Those of one file."""
        return replace(self, files=[file])

    def ratios(self, way: str, *, to: str) -> list[float]:
        """One way's rate divided by another's, for each file that both can read."""
        pairs = [(file.rate(way), file.rate(to)) for file in self.files]
        return [a / b for a, b in pairs if a and b]

    def mean_ratio(self, way: str, *, to: str) -> float | None:
        """Geometric mean over the files of one way's rate divided by another's."""
        ratios = self.ratios(way, to=to)
        return float(np.exp(np.mean(np.log(ratios)))) if ratios else None

    def speed_up_of_preparing(self) -> float | None:
        """How many times the samples a second of the prepared copies, if they were measured; geometric mean."""
        alike = self.of("pretraining", AS_THEY_ARE), self.of("pretraining", PREPARED)
        before, after = ({file.name: file.rate("ours") for file in rates.files} for rates in alike)
        ratios = [b / a for name, b in after.items() if b and (a := before.get(name))]
        return float(np.exp(np.mean(np.log(ratios)))) if ratios else None


def bench_decode(
    paths: Sequence[Path],
    *,
    strides: Sequence[int],
    frames: int,
    size: int = 224,
    clips: int = 0,
    gops: Sequence[int] = (),
    prepared: bool = False,
    rounds: int = 5,
    progress: Callable[[int, int], None] | None = None,
) -> DecodeRates:
    """Cut the same random samples in every way that is installed; each way twice in a row, of which the second counts.

    Args:
        paths: videos, or folders of them.
        strides: one clip a sample for each, with a random start and crop: (8, 32) is a pretraining sample.
        frames: frames a clip.
        size: side of the output.
        clips: above 0, samples of this many evenly spread centre clips of the last stride too, as evaluation takes
            them.
        gops: measure x264 files made of the videos too, with a keyframe every so many frames.
        prepared: measure the copies that `data prepare` makes too.
        rounds: samples of each file.
        progress: called with (file rounds done, in all).

    Raises:
        UserError: no video, or none that can be decoded.
    """
    available = available_ways()
    one_thread()
    facts = {path: probe(path) for path in videos_in(paths)}
    usable = [path for path, found in facts.items() if not found.problem]
    if not usable:
        first, found = next(iter(facts.items()))
        raise UserError(f"{first.name}: {found.problem}; no video that can be decoded")
    results = [FileRates(name=path.name, facts=found) for path, found in facts.items() if found.problem]
    with TemporaryDirectory() as folder:
        subjects: list[tuple[Path, FileRates]] = []
        for each in variants(usable, Path(folder), gops=gops, prepared=prepared):
            for samples in ("pretraining", "evaluation") if clips else ("pretraining",):
                found = facts.get(each.path) or probe(each.path)
                rates = FileRates(name=each.name, facts=found, group=each.group, samples=samples)
                subjects.append((each.path, rates))
        done = 0
        for number in range(rounds + 1):
            for path, rates in subjects:
                rng = np.random.default_rng([number, len(rates.name), rates.facts.frames])
                evenly = clips if rates.samples == "evaluation" else 0
                sample = draw_sample(rates.facts, rng, strides=strides, frames=frames, clips=evenly)
                # The first round warms up and compares pixels; then each round begins with another way.
                _round(path, sample, rates, available.ways, size=size, shift=number, timed=number > 0)
                done += 1
                if progress is not None:
                    progress(done, (rounds + 1) * len(subjects))
    return DecodeRates(files=results + [rates for _, rates in subjects], missing=available.missing)


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
        try:
            # What ran before leaves caches warm for its like and cold for others, so each way runs after itself.
            for _ in range(1 + timed):
                began = time.process_time()
                got = ways[name](path, sample, size)
        except Exception as error:
            # Whatever a peer raises is its result on this file, not the end of the benchmark.
            result.failed[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            continue
        if timed:
            result.cpu.setdefault(name, []).append(time.process_time() - began)
        elif got is not None and expected is not None:
            result.equal[name] = all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def videos_in(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths`, and the videos in the folders among them.

    Raises:
        UserError: there is none.
    """
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
