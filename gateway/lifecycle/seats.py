"""Seats: numbered files in which processes write what they pass while the budget store is down.

A process takes the lowest seat of its data directory that no other process has, with what was written in it
before: a process that dies and comes again goes on where it stopped. A use is on disk, synced, before it is
sent; its end and that the ledger took it are written behind it. Invariant: what a seat has used in a window
never gets less. Refuses to know limits and the ledger.
"""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import msgspec

from gateway.budgets.amounts import FIGURES
from gateway.lifecycle.unposted import Line, line_of, posting_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.budgets.counter import Counter
    from gateway.lifecycle.unposted import Posting

SEATS = 64
"""No machine runs more gateway processes on one data directory."""
NAME = "seat-{}.jsonl"


@dataclass(slots=True)
class Use:
    """A request that passed without the store, as it stands now."""

    posting: Posting
    posted: bool = False


class Seat:
    """One file, locked while somebody has it. All methods block and none may run beside another."""

    def __init__(self, path: Path, number: int, descriptor: int) -> None:
        self.number = number
        self._descriptor = descriptor
        self._uses: dict[str, Use] = {}
        self._read(path)

    @classmethod
    def take(cls, directory: Path) -> Self | None:
        """The lowest free seat; None when all are taken. Raises OSError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(1, SEATS + 1):
            seat = cls._open(directory, number, os.O_CREAT)
            if seat is not None:
                return seat
        return None

    @classmethod
    def left_behind(cls, directory: Path) -> Iterator[Self]:
        """The seats that nobody has and in which something waits for the ledger. Raises OSError."""
        for number in range(1, SEATS + 1):
            if not (directory / NAME.format(number)).exists():
                continue
            seat = cls._open(directory, number, 0)
            if seat is not None and seat.waiting():
                yield seat
            elif seat is not None:
                seat.close()

    @classmethod
    def _open(cls, directory: Path, number: int, flags: int) -> Self | None:
        path = directory / NAME.format(number)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(path, number, descriptor)

    def used(self, org: str, counter: Counter) -> Sequence[int]:
        """What was passed on a counter in its current window, by its bound, in the order of `FIGURES`."""
        first, last = counter.window(counter.current).start_ms, counter.current.start_ms
        total = [0] * len(FIGURES)
        for use in self._uses.values():
            posting = use.posting
            if posting.org != org or posting.charge is None:
                continue
            if any(
                one.id == counter.id and first <= one.current.start_ms <= last for one in posting.counters
            ):
                vector = posting.charge.of(counter.bound).vector()
                total = [sum(pair) for pair in zip(total, vector, strict=True)]
        return total

    def write(self, posting: Posting) -> None:
        """The use as it stands now, on disk when this returns. Raises OSError."""
        self._append(msgspec.json.encode(line_of(posting)))
        os.fsync(self._descriptor)
        self._uses[posting.hold] = Use(posting)

    def posted(self, hold: str) -> None:
        """The ledger took it; should this be lost, it is offered again and refused. Raises OSError."""
        self._append(msgspec.json.encode(hold))
        self._uses[hold].posted = True

    def waiting(self) -> list[Posting]:
        """What the ledger has not taken yet, oldest first."""
        return [use.posting for use in self._uses.values() if not use.posted]

    def close(self) -> None:
        os.close(self._descriptor)

    def _append(self, line: bytes) -> None:
        whole = line + b"\n"
        if os.write(self._descriptor, whole) != len(whole):
            raise OSError("the disk took only a part of a line")

    def _read(self, path: Path) -> None:
        """What was written before, but for a cut last line; forgotten once no window needs it."""
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        os.ftruncate(self._descriptor, len(whole))
        for text in whole.splitlines():
            line = msgspec.json.decode(text, type=Line | str)
            if isinstance(line, str):
                self._uses[line].posted = True
            else:
                self._uses[line.hold] = Use(posting_of(line))
        now_ms = time.time_ns() // 1_000_000
        if not any(
            not use.posted or any(one.current.end_ms > now_ms for one in use.posting.counters)
            for use in self._uses.values()
        ):
            os.ftruncate(self._descriptor, 0)
            self._uses.clear()
