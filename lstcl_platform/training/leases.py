"""Leases: which launch runs a stage now, so that two launches of one study never run it twice.

Layout of a stage: `<stage>/leases/<N>.json`. A lease is taken by creating the next number, which succeeds for one of
any number of callers; its holder renews it by rewriting that file, which nobody else writes, and has lost it once a
next number exists. A lease ends when it is released, when its process is known to be gone (same machine), or when it
was not renewed for `LEASE_SECONDS` as seen by who wants it, so clocks of two machines need not agree.

Exclusive creation holds where `storage.create_exclusively` says so.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import psutil

from lstcl_platform import storage

LEASE_SECONDS = 60.0
RENEWALS_A_LEASE = 6
_LONG_AGO = 10
"""A lease whose last renewal is this many lifetimes old by the calendar ends without being watched: no two clocks
differ by so much."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A launch that holds a lease.

    Attributes:
        token: one of a kind, so that a launch knows its own.
        host: name of its machine, for people.
        machine: identifies boot and process namespace; equal means that `process` can be looked up.
        process: id of the launch process.
        process_began: Unix time at which that process began.
    """

    token: str
    host: str
    machine: str
    process: int
    process_began: float

    def __str__(self) -> str:
        return f"the launch on {self.host}, process {self.process}"

    @property
    def is_gone(self) -> bool:
        """Whether the process is known to have ended; False where that cannot be seen from here."""
        if self.machine != _machine():
            return False
        try:
            process = psutil.Process(self.process)
            ended = process.status() == psutil.STATUS_ZOMBIE
            return ended or abs(process.create_time() - self.process_began) > 1
        except psutil.NoSuchProcess:
            return True


@lru_cache(maxsize=1)
def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux: equal to no other, so only time ends its leases
        return uuid.uuid4().hex


def this_launch() -> Holder:
    """This process as a holder."""
    return Holder(
        token=uuid.uuid4().hex,
        host=socket.gethostname(),
        machine=_machine(),
        process=os.getpid(),
        process_began=psutil.Process().create_time(),
    )


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What a lease's file says; `renewal` counts up, so that each renewal can be told from the one before."""

    holder: Holder
    renewal: int
    renewed_at: float
    released: bool

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> "_Record":
        holder = fields["holder"]
        assert isinstance(holder, dict)
        return cls(**{**fields, "holder": Holder(**holder)})  # type: ignore[arg-type]  # checked by who reads it


class Lease:
    """A lease that this process took.

    Args:
        stage_dir: folder or URI of the stage.
        number: number of the lease.
        holder: this launch.
        seconds: how long it lasts without being renewed.
    """

    def __init__(self, stage_dir: str, number: int, holder: Holder, *, seconds: float) -> None:
        self._location = _location(stage_dir, number)
        self._successor = _location(stage_dir, number + 1)
        self._holder = holder
        self._seconds = seconds
        self._renewal = 0
        self._renewed = time.time()
        self._lost = False
        self._lock = threading.Lock()

    def renew(self) -> bool:
        """Make it last another lifetime; False when it is lost for good."""
        with self._lock:
            if not self._lost:
                began = time.time()
                self._renewal += 1
                self._write(released=False)
                self._lost = storage.exists(self._successor)
                self._renewed = began
            return not self._lost

    def holds(self) -> bool:
        """Whether no other launch can have taken it; asks the storage only when it was not renewed of late.

        Raises:
            OSError: storage does not answer, so that is not known.
        """
        fresh = time.time() - self._renewed < self._seconds / 2
        return not self._lost and (fresh or self.renew())

    def release(self) -> None:
        """End it: the next who asks has it at once, or once it is silent, should storage be away or full."""
        with self._lock:
            if not self._lost:
                self._lost = True
                with suppress(
                    OSError
                ):  # how the stage ended is recorded, and the launch must not die of this
                    self._write(released=True)

    def _write(self, *, released: bool) -> None:
        record = _Record(
            holder=self._holder, renewal=self._renewal, renewed_at=time.time(), released=released
        )
        storage.write_bytes(self._location, record.to_bytes())


class Leases:
    """The leases of one launch, renewed in a thread until `close`.

    Args:
        holder: this launch.
        seconds: lifetime of a lease that is not renewed.
    """

    def __init__(self, holder: Holder | None = None, *, seconds: float = LEASE_SECONDS) -> None:
        self._holder = holder or this_launch()
        self._seconds = seconds
        self._held: dict[str, Lease] = {}
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._keep, name="leases", daemon=True).start()

    def take(self, stage_dir: str) -> Holder | None:
        """Take the lease of a stage; None when this launch now has it, else who has.

        Asking again is how one waits: a lease counts as given up once this launch has seen it unchanged for
        its lifetime.
        """
        newest = _newest(stage_dir)
        if newest:
            text = _read(_location(stage_dir, newest))
            record = _parse(text)
            if not self._has_ended(stage_dir, text, record):
                return record.holder if record else _UNKNOWN
        lease = Lease(stage_dir, newest + 1, self._holder, seconds=self._seconds)
        first = _Record(holder=self._holder, renewal=0, renewed_at=time.time(), released=False)
        if not storage.create_exclusively(_location(stage_dir, newest + 1), first.to_bytes()):
            winner = _parse(_read(_location(stage_dir, newest + 1)))
            return winner.holder if winner else _UNKNOWN
        self._seen.pop(stage_dir, None)
        self._held[stage_dir] = lease
        return None

    def holds(self, stage_dir: str) -> bool:
        """Whether this launch has the lease, so that what its attempts say may be recorded.

        Raises:
            OSError: storage has not answered for half a lifetime of the lease, so that is not known.
        """
        lease = self._held.get(stage_dir)
        return lease is not None and lease.holds()

    def release(self, stage_dir: str) -> None:
        """Give the lease of a stage back."""
        if (lease := self._held.pop(stage_dir, None)) is not None:
            lease.release()

    def close(self) -> None:
        """Give all back and stop renewing."""
        self._closed.set()
        for stage_dir in list(self._held):
            self.release(stage_dir)

    def _has_ended(self, stage_dir: str, text: bytes, record: _Record | None) -> bool:
        now = time.monotonic()
        before, since = self._seen.get(stage_dir, (b"", now))
        if before != text:
            since = now
        self._seen[stage_dir] = (text, since)
        if now - since > self._seconds:
            return True
        if record is None:  # created in this moment, and not yet written
            return False
        old = time.time() - record.renewed_at > _LONG_AGO * self._seconds
        return record.released or record.holder.is_gone or old

    def _keep(self) -> None:
        while not self._closed.wait(self._seconds / RENEWALS_A_LEASE):
            for lease in list(self._held.values()):
                try:
                    lease.renew()
                except OSError:  # storage away for a moment: the next round tries again, and `holds` says so
                    continue


_UNKNOWN = Holder(token="", host="an unknown machine", machine="", process=0, process_began=0.0)


def _location(stage_dir: str, number: int) -> str:
    return storage.join(stage_dir, "leases", f"{number}.json")


def _newest(stage_dir: str) -> int:
    names = storage.list_names(storage.join(stage_dir, "leases"))
    return max(
        (int(name[:-5]) for name in names if name[:-5].isdigit() and name.endswith(".json")), default=0
    )


def _read(location: str) -> bytes:
    try:
        return storage.read_bytes(location)
    except FileNotFoundError:
        return b""


def _parse(text: bytes) -> _Record | None:
    """The record in a lease's file, or None while it is being written."""
    try:
        return _Record.of(json.loads(text))
    except (ValueError, KeyError, TypeError, AssertionError):
        return None


def current_holder(stage_dir: str, *, seconds: float = LEASE_SECONDS) -> Holder | None:
    """Who seems to hold the lease of a stage at this moment, without waiting; None when nobody does.

    Without watching, a lease that was not released counts as held for `_LONG_AGO` lifetimes.
    """
    newest = _newest(stage_dir)
    record = _parse(_read(_location(stage_dir, newest))) if newest else None
    if record is None or record.released or record.holder.is_gone:
        return None
    old = time.time() - record.renewed_at > _LONG_AGO * seconds
    return None if old else record.holder
