"""How one sample is read, and what tells a bad video from storage that is away.

A sample may be replaced only for what its video is, never for what happened on the way to it: else the data of a run
would depend on the weather. So nothing counts against a video before all its bytes have been read and are those that
were indexed, and the same error has come again after that. What is left is a pure function of the file.
"""

import faulthandler
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from lstcl_platform.specs.errors import StorageError, UserError
from lstcl_platform.storage.places import Place
from lstcl_platform.video.manifest import VideoRow
from lstcl_platform.video.probe import file_digest
from lstcl_platform.video.reading import DecodeError

Sample = dict[str, Any]

SAME_FAILURES = 2
"""Equal exceptions, with the file's bytes verified in between, that make a sample bad."""


class Drawer(Protocol):
    """What can decode a sample by manifest row and epoch; small to pickle."""

    def draw(self, row: int, epoch: int) -> Sample:
        """Decode it; raises DecodeError."""

    def video(self, row: int) -> VideoRow:
        """What the manifest says of the video."""

    def file(self, row: int) -> Place:
        """Where the video is."""

    def check_found(self, problems: Mapping[tuple[int, str], str]) -> None:
        """Refuse to go on (UserError) when videos that turned out bad, with those bad before, are too many.

        `problems` is (row, digest of the video) -> problem; those of another manifest do not count.
        """


@dataclass(frozen=True)
class SampleRef:
    """One sample: a pure function of its fields and of the video file."""

    drawer: Drawer
    row: int
    epoch: int

    def decode(self) -> Sample:
        """Decode it here and now; raises DecodeError."""
        return self.drawer.draw(self.row, self.epoch)

    @property
    def video(self) -> VideoRow:
        """What the manifest says of the video."""
        return self.drawer.video(self.row)

    @property
    def file(self) -> Place:
        """Where the video is."""
        return self.drawer.file(self.row)

    def check_unchanged(self) -> None:
        """Read the whole file and compare it with what was indexed.

        Raises:
            StorageError: it cannot be read.
            UserError: it can, and is another file.
        """
        video = self.video
        try:
            size = self.file.stat().st_size
            same = size == video.size_bytes and file_digest(self.file) == video.digest
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(
                f"{self.file} cannot be read ({error.strerror or error}), but was there with {video.size_bytes} bytes "
                "when it was indexed: its storage is away, or the file was removed. No video was replaced for it; "
                "launch again when it is back"
            ) from error
        if not same:
            raise UserError(
                f"{self.file} has changed since it was indexed ({video.size_bytes} bytes then, {size} now): a run on "
                "changed data is another run. Restore the file, or launch again to index the videos anew"
            )


Read = Callable[[SampleRef], Sample]
"""Reads a sample; raises DecodeError only if it is bad for ever, and whatever else to stop the run."""


def read_checked(ref: SampleRef) -> Sample:
    """Decode a sample in this process.

    Raises:
        DecodeError: it failed `SAME_FAILURES` times alike, and its file is what was indexed.
        StorageError: the file cannot be read.
        UserError: the file has changed.
    """
    failures: Counter[str] = Counter()
    while True:
        try:
            return ref.decode()
        except DecodeError as error:
            ref.check_unchanged()
            failures[error.reason] += 1
            if failures[error.reason] == SAME_FAILURES:
                raise


class Verdicts(Protocol):
    """What is known, and gets known, of bad samples; shared by all that decode for a stage."""

    def settled(self, ref: SampleRef, *, look: bool) -> str | None:
        """Why a sample was settled to be bad, or None; `look` for what others found out since this was made."""

    def add(self, ref: SampleRef, problem: str, *, settled: bool) -> None:
        """Keep why a sample is bad; raises UserError when too many videos are.

        `settled` is for what may not come out the same when tried again: then it is obeyed instead.
        """


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long native code is waited for, and how often it may fail.

    Attributes:
        seconds: given to a sample whose file is small.
        bytes_per_second: slowest reading of a file that does not count as a hang.
        failures: equal crashes or hangs that make a sample bad.
    """

    seconds: float = 60.0
    bytes_per_second: float = 5e6
    failures: int = 3

    def limit(self, ref: SampleRef) -> float:
        """Seconds given to a sample."""
        return self.seconds + ref.video.size_bytes / self.bytes_per_second


class WatchedReads:
    """Reads in this process, which ends when native code hangs: who started it then knows that something is wrong."""

    def __init__(self, verdicts: Verdicts, patience: Patience) -> None:
        self._verdicts = verdicts
        self._patience = patience
        self._failed = False

    def __call__(self, ref: SampleRef) -> Sample:
        """As `read_checked`; a sample that was settled to be bad is not tried."""
        # After a failure this is a stand-in, which may have been settled by whoever met it in its own place.
        problem = self._verdicts.settled(ref, look=self._failed)
        if problem is not None:
            raise DecodeError(str(ref.file), problem)
        try:
            with deadline(self._patience.limit(ref)):
                sample = read_checked(ref)
        except DecodeError as error:
            self._failed = True
            self._verdicts.add(ref, error.reason, settled=False)
            raise
        self._failed = False
        return sample


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End this process, whatever native code it is in, when the `with` block takes longer; says where on stderr."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
