"""The bad-video ledger of a stage: which videos turned out bad, kept beside its attempts and shared by all of them.

One file a verdict, `<stage>/bad_videos/<row>-<digest>[-e<epoch>].json`, written whole and named by what it is about:
two processes that come to the same verdict write the same file.

A video whose decoding raises an error does so wherever and whenever it is tried, so its verdict (without `-e`) is a
record only. What crashed the decoder or made it hang may go well another time: such a verdict is settled for the
sample, that is (video, epoch), and obeyed from then on, by all workers and after every restart. Other epochs draw
other clips and are judged by themselves: a verdict that reached back or ahead would make data depend on when it was
found.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Self

from lstcl_platform import storage
from lstcl_platform.video.sample_reads import SampleRef

FOLDER = "bad_videos"
TABLE = "bad_videos.csv"

_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class BadVideo:
    """A verdict.

    Attributes:
        path: file of the video.
        row: row of the manifest.
        digest: SHA-256 of the file.
        epoch: epoch (from 0) of the sample; of an unsettled verdict one in which it was met.
        problem: what is wrong.
        settled: whether it is obeyed without another try, for this epoch.
    """

    path: str
    row: int
    digest: str
    epoch: int
    problem: str
    settled: bool

    @property
    def name(self) -> str:
        """Of its file, less the ending: what the data of the stage depend on."""
        return _name(self.row, self.digest, self.epoch if self.settled else None)


def _name(row: int, digest: str, epoch: int | None) -> str:
    return f"{row:08d}-{digest[:_DIGITS]}" + ("" if epoch is None else f"-e{epoch}")


@dataclass(frozen=True)
class Ledger:
    """The ledger in a stage's folder; pickled to its decode tasks with what was settled when the attempt began.

    Attributes:
        stage_dir: folder or URI of the stage.
        known: name -> problem of settled verdicts that need no look into storage.
    """

    stage_dir: str
    known: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, stage_dir: str) -> Self:
        """The ledger of a stage with all that is settled by now."""
        return cls(stage_dir, {bad.name: bad.problem for bad in cls(stage_dir).verdicts() if bad.settled})

    def settled(self, ref: SampleRef, *, look: bool) -> str | None:
        """Why a sample was settled to be bad, or None; `look` for what is newer than this object."""
        if not (self.known or look):
            return None
        name = _name(ref.row, ref.video.digest, ref.epoch)
        if name in self.known or not look:
            return self.known.get(name)
        verdict = self._read(name)
        return verdict.problem if verdict else None

    def add(self, ref: SampleRef, problem: str, *, settled: bool) -> None:
        """Keep a verdict unless it is there.

        Raises:
            UserError: more videos are bad than `data.max_bad_fraction` allows.
        """
        video = ref.video
        verdict = BadVideo(
            path=str(ref.file),
            row=ref.row,
            digest=video.digest,
            epoch=ref.epoch,
            problem=problem,
            settled=settled,
        )
        if not storage.exists(self._file(verdict.name)):
            text = json.dumps(asdict(verdict), indent=1)
            storage.write_bytes(self._file(verdict.name), text.encode())
        ref.drawer.check_found({(bad.row, bad.digest): bad.problem for bad in self.verdicts()})

    def take_over(self, stage_dir: str) -> None:
        """Keep the verdicts of another stage, whose training this one's goes on with, as its own."""
        before = Ledger(stage_dir)
        for name in before._names():
            if not storage.exists(self._file(name)):
                storage.write_bytes(self._file(name), storage.read_bytes(before._file(name)))

    def verdicts(self) -> list[BadVideo]:
        """All verdicts, by row and epoch."""
        found = (self._read(name) for name in self._names())
        return sorted((bad for bad in found if bad), key=lambda bad: (bad.row, bad.digest, bad.epoch))

    def effective_digest(self, manifest: str) -> str:
        """What a stage that has ended was effectively trained on.

        The manifest's digest where every video was good; else SHA-256 over it and the verdicts, whatever the words
        in which their problems are told.
        """
        names = self._names()
        return hashlib.sha256("\n".join([manifest, *names]).encode()).hexdigest() if names else manifest

    def write_table(self, folder: str) -> str | None:
        """Write all verdicts as CSV into `folder`; returns where, or None when there is none."""
        verdicts = self.verdicts()
        if not verdicts:
            return None
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, [column.name for column in fields(BadVideo)])
        table.writeheader()
        table.writerows(map(asdict, verdicts))
        location = storage.join(folder, TABLE)
        storage.write_bytes(location, text.getvalue().encode())
        return location

    def _names(self) -> Sequence[str]:
        files = storage.list_names(storage.join(self.stage_dir, FOLDER))
        return [name.removesuffix(".json") for name in files if re.fullmatch(r"\d{8}-.*\.json", name)]

    def _file(self, name: str) -> str:
        return storage.join(self.stage_dir, FOLDER, f"{name}.json")

    def _read(self, name: str) -> BadVideo | None:
        try:
            return BadVideo(**json.loads(storage.read_bytes(self._file(name))))
        except FileNotFoundError:
            return None


class NoLedger:
    """Keeps nothing: for streams that are no stage."""

    def settled(self, ref: SampleRef, *, look: bool) -> str | None:
        """None."""
        return None

    def add(self, ref: SampleRef, problem: str, *, settled: bool) -> None:
        """Nothing."""
