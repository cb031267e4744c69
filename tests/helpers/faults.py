"""Samples whose native code crashes or hangs on some videos: named after what they do, since no file does it to all."""

import ctypes
import os
import signal
from pathlib import Path

from lstcl_platform.video.sample_reads import Sample
from lstcl_platform.video.samples import PretrainSamples

HEALED = "healed"
"""A file of this name in the folder of the manifest makes every video good."""


class FaultySamples(PretrainSamples):
    """Pretraining samples of real files, some of which take the process that decodes them down."""

    def draw(self, row: int, epoch: int) -> Sample:
        """Decode, crash, hang or be killed, as the file's name begins."""
        libc = ctypes.PyDLL(None)  # does not let go of Python's lock: like a codec that never returns
        if not (Path(self.manifest).parent / HEALED).exists():
            match self.file(row).name.partition("_")[0]:
                case "crash":
                    ctypes.string_at(0)
                case "hang":
                    libc.pause()
                case "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
        return super().draw(row, epoch)
