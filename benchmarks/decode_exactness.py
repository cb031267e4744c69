"""Is every frame that the decoder hands out the one a full decode gives? Run by hand; exit code 1 if not.

    python benchmarks/decode_exactness.py FOLDER|FILE... [--sets 200] [--seed 0]

For each file: decode all of it with plain PyAV and apply the display rotation, then ask `read_frames` for random sets
of frames and `decode_clips` for random clips, and compare bit for bit. Every file has its own process with a time
limit, so that a crash or a hang of native code is reported as such.
"""

import argparse
import multiprocessing
import sys
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional

from lstcl_platform.video.decoding import DecodeError, decode_clips, read_frames
from lstcl_platform.video.orientation import Orientation
from lstcl_platform.video.probe import probe
from lstcl_platform.video.reading import main_stream
from lstcl_platform.video.sampling import Box, Clip

Frame = npt.NDArray[np.uint8]
LIMIT_SECONDS = 600
CLIP_SIDE = 32


@dataclass
class Naive:
    """A full decode.

    Attributes:
        frames: upright RGB in the order of output.
        error: what ended the decode before the end of the file, if anything did.
    """

    frames: list[Frame] = field(default_factory=list)
    error: str = ""


def decode_all(path: Path) -> Naive:
    """Every frame that plain PyAV yields, turned upright."""
    found = Naive()
    try:
        with av.open(str(path)) as container:
            stream = main_stream(container)
            if stream is None:
                found.error = "no video stream"
                return found
            for frame in container.decode(stream):
                pixels = frame.to_ndarray(format="rgb24")
                found.frames.append(Orientation.of(frame).upright(pixels))
                found.error = found.error or ("damaged frames" if frame.is_corrupt else "")
    except (av.FFmpegError, OSError, ValueError) as error:
        found.error = str(error)
    return found


def random_sets(rng: np.random.Generator, *, count: int, frames: int) -> list[npt.NDArray[np.int64]]:
    """Index sets: scattered, in a row, or with a stride; some with repetitions, some not ascending."""
    sets = []
    for number in range(count):
        size = int(rng.integers(1, 17))
        if number % 3 == 0:
            sets.append(rng.integers(0, frames, size))
        else:
            stride = 1 if number % 3 == 1 else int(rng.integers(2, 33))
            start = int(rng.integers(0, frames))
            sets.append(np.minimum(start + stride * np.arange(size), frames - 1))
    return sets


def random_clip(rng: np.random.Generator, indices: npt.NDArray[np.int64], frame: Frame) -> Clip:
    """A clip of these frames with an even box anywhere in the picture."""
    height, width = (side // 2 * 2 if side > 1 else side for side in frame.shape[:2])
    x, y = int(rng.integers(0, width // 4 + 1)) * 2, int(rng.integers(0, height // 4 + 1)) * 2
    box = Box(x, y, (width - x) // 4 * 2 or width - x, (height - y) // 4 * 2 or height - y)
    return Clip(np.sort(indices), box, bool(rng.integers(2)))


def expected_clip(frames: list[Frame], clip: Clip) -> Frame:
    """What `decode_clips` promises, made the plain way."""
    box = clip.box
    rows, columns = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
    cut = np.stack([frames[int(i)][rows, columns] for i in clip.positions])
    pixels = functional.resize(
        torch.from_numpy(cut).permute(0, 3, 1, 2), [CLIP_SIDE, CLIP_SIDE], antialias=True
    )
    return (pixels.flip(-1) if clip.flip else pixels).permute(0, 2, 3, 1).numpy()


def check(path: Path, *, sets: int, seed: int) -> tuple[str, str]:
    """(verdict, detail) of one file: `exact`, `named` (unusable, with its reason) or `WRONG`."""
    facts, naive = probe(path), decode_all(path)
    problem = facts.problem or probe(path, thorough=True).problem
    count = len(naive.frames)
    rng = np.random.default_rng(seed)
    verdicts: Counter[str] = Counter()
    for indices in random_sets(rng, count=sets, frames=max(count, 1)):
        try:
            got = read_frames(path, indices)
        except (DecodeError, IndexError) as error:
            verdicts[f"refused: {str(error).removeprefix(f'{path}: ')}"] += 1
            continue
        same = all(np.array_equal(frame, naive.frames[i]) for frame, i in zip(got, indices, strict=True))
        verdicts["same" if same else "differs"] += 1
    for indices in random_sets(rng, count=sets // 4, frames=max(count, 1)) if count else []:
        clips = [random_clip(rng, part, naive.frames[0]) for part in (indices, indices[::-2])]
        try:
            cut = decode_clips(path, clips, size=CLIP_SIDE, target_fps=None, expected_frames=count)
        except DecodeError as error:
            verdicts[f"refused: {error.reason}"] += 1
            continue
        wanted = [expected_clip(naive.frames, clip) for clip in clips]
        same = all(np.array_equal(a, b) for a, b in zip(cut, wanted, strict=True))
        verdicts["same clips" if same else "clips differ"] += 1
    detail = "; ".join(f"{number} {what}" for what, number in sorted(verdicts.items()))
    detail += f" | probe: {facts.frames} frames, {problem} | naive: {count} frames {naive.error}"
    if verdicts["differs"] or verdicts["clips differ"]:
        return "WRONG", detail
    sound = not naive.error and count > 0 and "truncated" not in (facts.problem or "")
    if sound and len({frame.shape for frame in naive.frames}) == 1:
        fine = facts.problem is None and not any(key.startswith("refused") for key in verdicts)
        return ("exact" if fine and facts.frames == count else "WRONG"), detail
    return ("named" if problem else "WRONG"), detail


def work(path: Path, sets: int, seed: int, reply: Connection) -> None:
    """Body of a child process."""
    try:
        reply.send(check(path, sets=sets, seed=seed))
    except BaseException:
        reply.send(("WRONG", traceback.format_exc()))


def check_apart(path: Path, *, sets: int, seed: int) -> tuple[str, str]:
    """`check` in a process of its own."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.Process(target=work, args=(path, sets, seed, theirs))
    child.start()
    theirs.close()
    try:
        if not ours.poll(LIMIT_SECONDS):
            return "WRONG", f"hangs: no answer in {LIMIT_SECONDS} s"
        verdict: tuple[str, str] = ours.recv()
        return verdict
    except EOFError:
        child.join()
        return "WRONG", f"crash: the process ended with {child.exitcode}"
    finally:
        child.kill()
        child.join()


def main() -> None:
    """Check every file and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    av.logging.set_level(None)
    torch.set_num_threads(1)
    files = [f for path in arguments.paths for f in (sorted(path.iterdir()) if path.is_dir() else [path])]
    verdicts: Counter[str] = Counter()
    for path in files:
        if path.suffix == ".md" or not path.is_file():
            continue
        verdict, detail = check_apart(path, sets=arguments.sets, seed=arguments.seed)
        verdicts[verdict] += 1
        print(f"{verdict:6} {path.name}: {detail}", flush=True)
    print("  ".join(f"{name}: {number}" for name, number in sorted(verdicts.items())))
    sys.exit(1 if verdicts["WRONG"] else 0)


if __name__ == "__main__":
    main()
