"""Does a whole video decode, and to as many frames as it promises? What `data check` asks of every file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import av

from lstcl_platform.video.complaints import Log
from lstcl_platform.video.reading import OpenVideo, reason

KINDS = (
    "missing",
    "empty file",
    "unreadable",
    "no video stream",
    "no frames",
    "truncated",
    "decode errors",
    "fewer frames than declared",
    "picture size changes",
    "hangs the decoder",
    "crashes the decoder",
)
"""How problems begin: what they are counted by."""

_CUT_SHORT = "File ended prematurely"
"""What FFmpeg's Matroska reader says."""


def kind_of(problem: str) -> str:
    """The one of `KINDS` that a problem belongs to, or `other`."""
    return next((kind for kind in KINDS if problem.startswith(kind)), "other")


def promised_frames(video: OpenVideo) -> int | None:
    """Packets that the container promises; None if it makes no promise that can be trusted."""
    stream = video.stream
    if video.container_format == "avi":
        return stream.frames or None
    indexed = stream.frames > 0 and len(stream.index_entries) > 1
    # An edit list can drop whole leading GOPs from the index, so `frames` alone may promise too much.
    return min(stream.frames, len(stream.index_entries)) if indexed else None


def truncation(video: OpenVideo) -> str | None:
    """Where the file ends, if that is before the end that its index promises."""
    promised, present = promised_frames(video), len(video.index.table)
    return f"truncated at frame {present} of {promised}" if promised and present < promised else None


def decoding_problem(
    video: OpenVideo, *, log: Log = (), take: Callable[[int, av.VideoFrame], None] | None = None
) -> str | None:
    """Decode all of a video, past every error, and say what is wrong with it; None if nothing is.

    Args:
        video: freshly opened.
        log: FFmpeg's errors, growing while they are captured: damage that a decoder painted over shows only there.
        take: given each frame and its place in display order, as far as the video is sound until there.
    """
    expected = len(video.index)
    if any(_CUT_SHORT in message for _, _, message in log):
        return f"truncated at frame {expected} of an unknown number"
    errors: list[str] = []
    decoded = first = 0
    heard = demuxed = len(log)
    size: tuple[int, int] | None = None
    for frames, error in _all_frames(video):
        if decoded == 0 and video.index.hides_some:
            # Not a complaint about the video: hidden pictures may lack what they refer to.
            heard = len(log)
        errors += [*error, *(message.strip() for _, _, message in log[heard:])]
        errors += ["a picture with missing parts" for frame in frames if frame.is_corrupt]
        heard = len(log)
        first = first if errors else decoded
        for frame in frames:
            here = (frame.width, frame.height)
            if size is not None and size != here:
                change = f"{size[0]}x{size[1]}, then {here[0]}x{here[1]}"
                return f"picture size changes at frame {decoded} of {expected}: {change}"
            size = here
            if take is not None and not errors:
                take(decoded, frame)
            decoded += 1
    if errors and decoded == 0:
        return f"unreadable: {errors[0]}"
    if errors:
        return f"decode errors near frame {first} of {expected}: {errors[0]}"
    if decoded != expected:
        return f"fewer frames than declared: {decoded} of {expected}"
    if demuxed:
        return f"decode errors: {log[0][2].strip()}"
    return None


def _all_frames(video: OpenVideo) -> Iterator[tuple[list[av.VideoFrame], list[str]]]:
    """What the decoder gives for every packet and for the end: frames, and the error if there is one."""
    table = video.index.table
    for packet in chain(table.packets(range(len(table))), (None,)):
        try:
            yield video.stream.codec_context.decode(packet), []
        except av.FFmpegError as error:
            yield [], [reason(error)]
