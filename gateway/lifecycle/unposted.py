"""Settlements that the ledger has not taken yet, on disk: written and synced before anyone relies on them.

One file per process in `data_dir/unposted`, locked while its process lives. A file without an owner is that
of a process that died, and any process on the same directory takes it over. Invariant: a posting leaves the
disk only after the ledger took it. Refuses to know when and how often it is tried.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import msgspec

from gateway.budgets.amounts import Amounts, Charge, Vector
from gateway.budgets.counter import Bucket, Counter

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.budgets.claims import Claim

logger = logging.getLogger(__name__)

SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class Posting:
    """A settlement (`charge` set) or a release (`charge` is `None`) of one hold.

    `known` says whether it is known what came of the work. `claim` is what its request claims; it stays in
    memory.
    """

    org: str
    hold: str
    charge: Charge | None
    record: str
    counters: tuple[Counter, ...] = ()
    known: bool = True
    claim: Claim | None = None


class Line(msgspec.Struct, array_like=True, frozen=True):
    """One posting as it stands in the file; a counter is id, budget, start, until (ms), bound."""

    org: str
    hold: str
    charge: tuple[Vector, Vector] | None
    record: str
    counters: list[tuple[str, str, int, int, str]]
    at_ms: int
    known: bool = True


class UnpostedFile:
    """An append-only file of postings. All methods block and none may run at the same time as another."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def create(cls, directory: Path) -> Self:
        """A new file of this process in `directory`. Raises OSError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return cls(path, descriptor)

    def write(self, postings: Iterable[Posting]) -> None:
        """Append and sync. Raises OSError, on a full disk for one."""
        lines = b"".join(msgspec.json.encode(line_of(posting)) + b"\n" for posting in postings)
        written = os.write(self._descriptor, lines)
        if written != len(lines):
            msg = "the disk took only a part of a settlement"
            raise OSError(msg)
        os.fsync(self._descriptor)

    def clear(self) -> None:
        """Everything that was written has been posted."""
        os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Give the file up: removed when it is empty, else left for the next process."""
        if os.fstat(self._descriptor).st_size == 0:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def left_behind(directory: Path, *, within_s: float) -> list[tuple[Posting, UnpostedFile]]:
    """What processes that are gone could not post, with the file that each stands in.

    Postings older than `within_s` seconds are set aside, not posted: the ledger may have forgotten their
    holds by then and would charge them again. Their leases have charged them as they were held.
    """
    found: list[tuple[Posting, UnpostedFile]] = []
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        file = UnpostedFile(path, descriptor)
        fresh, stale = _read(path, not_before_ms=int((time.time() - within_s) * 1000))
        if stale:
            path.with_suffix(".stale").write_bytes(b"".join(stale))
            logger.error("%d settlements in %s are too old to be posted; set aside", len(stale), path.name)
        if not fresh:
            file.clear()
            file.close()
        found += [(posting, file) for posting in fresh]
    return found


def _read(path: Path, *, not_before_ms: int) -> tuple[list[Posting], list[bytes]]:
    """The postings of a file, and the lines that are too old. A last line that was cut was not relied on."""
    fresh: list[Posting] = []
    stale: list[bytes] = []
    for text in path.read_bytes().splitlines(keepends=True):
        if not text.endswith(b"\n"):
            logger.warning("the last line of %s is not complete and is left out", path.name)
            continue
        try:
            line = msgspec.json.decode(text, type=Line)
        except msgspec.MsgspecError:
            stale.append(text)
            continue
        if line.at_ms < not_before_ms:
            stale.append(text)
        else:
            fresh.append(posting_of(line))
    return fresh, stale


def line_of(posting: Posting) -> Line:
    charge = posting.charge
    return Line(
        posting.org,
        posting.hold,
        None if charge is None else (charge.central.vector(), charge.high.vector()),
        posting.record,
        [
            (one.id, one.budget, one.current.start_ms, one.until(one.current), one.bound)
            for one in posting.counters
        ],
        time.time_ns() // 1_000_000,
        posting.known,
    )


def posting_of(line: Line) -> Posting:
    charge = None
    if line.charge is not None:
        charge = Charge(Amounts.of(line.charge[0]), Amounts.of(line.charge[1]))
    counters = []
    for counter_id, budget, start_ms, end_ms, bound in line.counters:
        bucket = Bucket(start_ms, end_ms)
        counters.append(
            Counter(
                id=counter_id,
                budget=budget,
                scope={},
                bound="high" if bound == "high" else "central",
                limits={},
                current=bucket,
                next=bucket,
            )
        )
    return Posting(line.org, line.hold, charge, line.record, tuple(counters), known=line.known)
