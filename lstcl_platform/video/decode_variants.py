"""The same video in other forms: x264 files of several group lengths, and the copy that `data prepare` makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import PictureType

from lstcl_platform.specs.errors import UserError
from lstcl_platform.video.reading import main_stream
from lstcl_platform.video.transcoding import TranscodeSettings, transcode

AS_THEY_ARE = "as they are"
PREPARED = "prepared"
_PRESET = "faster"


@dataclass(frozen=True)
class Variant:
    """A file to measure.

    Attributes:
        group: what was done to the user's video.
        name: of the user's video.
        path: of this file.
    """

    group: str
    name: str
    path: Path


def variants(
    paths: Sequence[Path], folder: Path, *, gops: Sequence[int] = (), prepared: bool = False
) -> Iterator[Variant]:
    """The videos themselves, then what is made of them in `folder`.

    Args:
        paths: videos that can be decoded.
        folder: empty.
        gops: frames from one keyframe to the next; for each, x264 files with its other defaults (B-frames among them).
        prepared: also the copies that `data prepare` makes by default.

    Raises:
        UserError: a video cannot be encoded.
    """
    yield from (Variant(AS_THEY_ARE, path.name, path) for path in paths)
    for gop in gops:
        for number, path in enumerate(paths):
            target = folder / f"{number}-gop-{gop}.mp4"
            encode(path, target, gop=gop)
            yield Variant(f"x264, keyframe every {gop}", path.name, target)
    for number, path in enumerate(paths if prepared else ()):
        target = folder / f"{number}-prepared.mp4"
        made = transcode(path, target, TranscodeSettings())
        if made.problem:
            raise UserError(f"{path.name}: cannot be prepared: {made.problem}")
        yield Variant(PREPARED, path.name, target)


def encode(source: Path, target: Path, *, gop: int) -> None:
    """Encode a video of constant rate with x264, a keyframe every `gop` frames; for measurements only."""
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        video = main_stream(read)
        assert video is not None
        rate = Fraction(video.average_rate or video.guessed_rate or 30)
        stream = write.add_stream("libx264", rate=rate)
        context = stream.codec_context
        stream.pix_fmt, context.gop_size = "yuv420p", gop
        context.options = {"preset": _PRESET, "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0"}
        for number, frame in enumerate(read.decode(video)):
            if not number:
                stream.width, stream.height = (side // 2 * 2 for side in (frame.width, frame.height))
            picture = frame.reformat(width=stream.width, height=stream.height, format="yuv420p")
            picture.pts, picture.time_base, picture.pict_type = number, 1 / rate, PictureType.NONE
            write.mux(stream.encode(picture))
        write.mux(stream.encode(None))
