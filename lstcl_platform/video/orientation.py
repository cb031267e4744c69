"""How a stored picture is turned for display: the quarter turns and mirrorings of a container's display matrix."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from lstcl_platform.video.sampling import Box

_OBLIQUE = 0.0175
"""A matrix that is further from right angles than one degree turns nothing, as in FFmpeg's own player."""


@dataclass(frozen=True)
class Orientation:
    """What is done to a stored picture for display, in this order.

    Attributes:
        transposed: rows become columns.
        mirrored: left and right change places.
        flipped: top and bottom change places.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    @staticmethod
    def of(frame: av.VideoFrame) -> Orientation:
        """That of the display matrix of a frame (libavutil/display.h); none without one."""
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return Orientation()
        # A point (x, y) of the stored picture is shown at (a x + c y, b x + d y).
        a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)[:36])
        if max(abs(b), abs(c)) < _OBLIQUE * min(abs(a), abs(d)):
            return Orientation(mirrored=a < 0, flipped=d < 0)
        if max(abs(a), abs(d)) < _OBLIQUE * min(abs(b), abs(c)):
            return Orientation(transposed=True, mirrored=c < 0, flipped=b < 0)
        return Orientation()

    @property
    def rotation(self) -> int:
        """Counter-clockwise turn in degrees: 0, 90, 180 or 270; a mirroring before it is not told."""
        if self.transposed:
            return 270 if self.mirrored else 90
        return 180 if self.mirrored and self.flipped else 0

    def upright(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of stored pixels (H, W, ...) as they are displayed."""
        turned = np.swapaxes(pixels, 0, 1) if self.transposed else pixels
        return turned[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]

    def stored(self, box: Box, *, width: int, height: int) -> Box:
        """Where the pixels of a box of the displayed picture, `width` x `height`, are stored."""
        x = width - box.x - box.width if self.mirrored else box.x
        y = height - box.y - box.height if self.flipped else box.y
        if self.transposed:
            return Box(y, x, box.height, box.width)
        return Box(x, y, box.width, box.height)
