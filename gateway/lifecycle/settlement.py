"""Makes sure that what happened is posted: retries settlements, renews leases, expires what others left.

A settlement that the ledger does not take is written to disk and synced before its request is answered, and
posted when the ledger answers again, by this process or the next one. What a store lost in a change of
servers is brought back from here: open holds, and the settlements of the last minute. The hold's lease is the
last line of defence. Knows the ledger's verbs; refuses to know prices and HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gateway.budgets.lifetimes import RETENTION_S
from gateway.budgets.witness import Recovery
from gateway.errors import LedgerUnavailable
from gateway.lifecycle.unposted import Posting, UnpostedFile, left_behind
from gateway.lifecycle.uses import Uses, emergency_hold

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.budgets.ledger import Ledger
    from gateway.budgets.recovery import OpenHold
    from gateway.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

RETRY_S = 0.5
RECENT_S = 60.0
"""Settlements of this age and younger are sent again when another server took over."""
RECOVERED_S = 5.0
"""After a change of servers: the time of grace, and as long again for gateways that are slow."""
ADOPT_EVERY_S = 5.0
EXPIRE_S = 1.0
QUEUE_LIMIT = 10_000
"""More than a process can have in flight; beyond it the leases alone keep the charge."""


@dataclass(slots=True)
class Settlements:
    """The open holds of this process and the postings that the ledger has not taken yet.

    `directory` is where those stand on disk; without it they are kept in memory only.
    """

    ledger: Ledger
    metrics: Metrics
    lease_s: int
    directory: Path | None = None
    uses: Uses | None = None
    recovered: dict[str, Recovery] = field(default_factory=dict)
    """The last change of servers of each org that this process noticed, once it was told."""
    _open: dict[str, OpenHold] = field(default_factory=dict)
    _queue: OrderedDict[str, Posting] = field(default_factory=OrderedDict)
    _recent: deque[tuple[float, Posting]] = field(default_factory=deque)
    _recoveries: deque[tuple[float, Recovery]] = field(default_factory=deque)
    _file: UnpostedFile | None = None
    _left: dict[str, UnpostedFile] = field(default_factory=dict)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def waiting(self) -> int:
        """How many postings the ledger has not taken yet."""
        return len(self._queue)

    def opened(self, hold: OpenHold) -> None:
        """From now on the hold's lease is renewed, until it is posted."""
        self._open[hold.hold] = hold

    def sent(self, hold_id: str, record: str) -> None:
        """The hold's work is about to go upstream; `record` is what an expiry would journal."""
        if hold_id in self._open:
            self._open[hold_id] = replace(self._open[hold_id], sent=True, record=record)

    def left(self, hold_id: str) -> None:
        """Its life is over: a hold that was not posted is no longer renewed, and its lease decides."""
        self._open.pop(hold_id, None)
        use = None if self.uses is None else self.uses.abandoned(emergency_hold(hold_id))
        if use is not None:
            self._queue[use.hold] = use

    def later(self, posting: Posting) -> None:
        """Posts it when the ledger answers again; a lease covers it, so it need not be kept on disk."""
        if len(self._queue) < QUEUE_LIMIT:
            self._queue[posting.hold] = posting

    async def post(self, posting: Posting) -> bool:
        """Posts at once if the ledger answers, else keeps it on disk; says whether it was posted."""
        self._open.pop(posting.hold, None)
        if self.uses is not None and posting.hold in self.uses:
            await self.uses.end(posting)
            self._queue[posting.hold] = posting
            return False
        try:
            await self._send(posting)
        except LedgerUnavailable as error:
            await self._keep(posting, error)
            return False
        return True

    async def retry(self) -> None:
        """Runs for ever: posts what is queued, oldest first, as soon as the ledger answers."""
        looked = float("-inf")
        while True:
            if time.monotonic() - looked >= ADOPT_EVERY_S:
                looked = time.monotonic()
                await self._take_over()
            await self.flush()
            await asyncio.sleep(RETRY_S)

    async def flush(self) -> None:
        """One pass over the queue; stops at the first posting that the ledger does not take."""
        while self._queue:
            hold, posting = next(iter(self._queue.items()))
            try:
                await self._send(posting)
            except LedgerUnavailable:
                return
            except ValueError:
                logger.exception("settlement of hold %s cannot be posted; its lease keeps the charge", hold)
            self._queue.pop(hold, None)
            if self.uses is not None and hold in self.uses:
                await self.uses.posted(hold)
        async with self._writing:
            if self._queue:
                return
            if self._file is not None:
                await asyncio.to_thread(self._file.clear)
            for file in set(self._left.values()):
                await asyncio.to_thread(file.clear)
                await asyncio.to_thread(file.close)
            self._left.clear()

    async def renew(self) -> None:
        """Runs for ever: extends the leases of the open holds three times per lease."""
        while True:
            await asyncio.sleep(self.lease_s / 3)
            if not self._open:
                continue
            try:
                await self.ledger.renew([(one.org, hold) for hold, one in self._open.items()])
            except LedgerUnavailable as error:
                logger.warning("leases were not renewed: %s", error)

    async def expire(self) -> None:
        """Runs for ever: closes holds whose lease is over, whichever process made them, and heals losses."""
        changed: set[str] = set()
        while True:
            await asyncio.sleep(EXPIRE_S)
            try:
                while await self.ledger.expiry.due():
                    pass
                await self.ledger.losses.rebuild()
                changed |= self.ledger.losses.take_changed()
                for org in sorted(changed):
                    await self._bring_back(org)
                    changed.discard(org)
                await self._tell_recoveries()
            except LedgerUnavailable as error:
                logger.warning("expired holds were not closed: %s", error)

    async def close(self) -> None:
        """Gives the file on disk to the next process, if anything is left in it."""
        async with self._writing:
            for file in {*self._left.values(), *([self._file] if self._file else [])}:
                await asyncio.to_thread(file.close)
            self._left.clear()
            self._file = None
        if self.uses is not None:
            await self.uses.close()

    async def _bring_back(self, org: str) -> None:
        """What SQL has first, since it must not be posted again; then what only this process knows."""
        adopted = await self.ledger.losses.adopt_endings(org)
        restored = 0
        for hold in [one for one in self._open.values() if one.org == org]:
            restored += await self.ledger.losses.restore(hold)
            if hold.claim is not None:
                await self.ledger.claims.bring_back(org, hold.hold, hold.claim)
        self._forget_old()
        posted = 0
        for _, posting in reversed(list(self._recent)):  # a replica lacks the newest
            if posting.org == org:
                await self._post_again(posting)
                if posting.claim is not None:
                    await self.ledger.claims.bring_back(org, posting.hold, posting.claim)
                posted += 1
        before, after = self.ledger.losses.succession(org)
        recovery = Recovery(
            id=uuid.uuid4().hex,
            org=org,
            at_ms=time.time_ns() // 1_000_000,
            before=before,
            after=after,
            adopted=adopted,
            restored=restored,
            resent=posted,
        )
        self._recoveries.append((time.monotonic() + RECOVERED_S, recovery))
        logger.warning(
            "org %s has another server or a rebuilt ledger: %d endings taken from the database, %d holds"
            " brought back, %d recent settlements sent again",
            *(org, adopted, restored, posted),
        )

    async def _tell_recoveries(self) -> None:
        """Journal those whose time is over, with what is still unexplained."""
        while self._recoveries and self._recoveries[0][0] <= time.monotonic():
            told = await self.ledger.losses.recovered(self._recoveries[0][1])
            self._recoveries.popleft()
            self.recovered[told.org] = told
            self.metrics.unexplained(len(told.unexplained), told.totals())
            if told.unexplained:
                logger.error(
                    "org %s: %d holds are unexplained after a change of servers",
                    *(told.org, len(told.unexplained)),
                )

    async def _post_again(self, posting: Posting) -> None:
        if posting.charge is None:
            await self.ledger.release(posting.org, posting.hold, posting.record, counters=posting.counters)
        else:
            await self.ledger.settle(
                posting.org,
                posting.hold,
                posting.charge,
                posting.record,
                counters=posting.counters,
                known=posting.known,
            )

    async def _send(self, posting: Posting) -> None:
        used = self.uses is not None and posting.hold in self.uses
        if used and await self.ledger.losses.was_posted(posting.org, posting.hold):
            return
        await self._post_again(posting)
        self._forget_old()
        self._recent.append((time.monotonic(), posting))

    def _forget_old(self) -> None:
        while self._recent and self._recent[0][0] < time.monotonic() - RECENT_S:
            self._recent.popleft()

    async def _keep(self, posting: Posting, error: LedgerUnavailable) -> None:
        self.metrics.settle_retried()
        if len(self._queue) >= QUEUE_LIMIT:
            logger.error("settlement queue is full; hold %s is left to its lease: %s", posting.hold, error)
            return
        logger.warning("settlement of hold %s waits for the ledger: %s", posting.hold, error)
        self._queue[posting.hold] = posting
        if self.directory is None:
            return
        async with self._writing:
            try:
                if self._file is None:
                    self._file = await asyncio.to_thread(UnpostedFile.create, self.directory)
                await asyncio.to_thread(self._file.write, [posting])
            except OSError:
                logger.exception("settlement of hold %s is kept in memory only", posting.hold)

    async def _take_over(self) -> None:
        """Queue what processes that died on this data directory could not post."""
        if self.uses is not None:
            for posting in await self.uses.take_over():
                self._queue.setdefault(posting.hold, posting)
        if self.directory is None:
            return
        async with self._writing:
            try:
                found = await asyncio.to_thread(left_behind, self.directory, within_s=RETENTION_S)
            except OSError:
                logger.exception("settlements that were left behind cannot be read")
                return
            for posting, file in found:
                self._queue.setdefault(posting.hold, posting)
                self._left[posting.hold] = file
        if found:
            logger.warning("%d settlements of a process that ended are posted now", len(found))
