"""Makes sure that what happened is posted: retries settlements, renews leases, expires what others left.

The hold's lease is the last line of defence: if this process dies with a settlement in its queue, the ledger
charges the hold when its lease ends. Knows the ledger's verbs; refuses to know prices and HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.errors import LedgerUnavailable

if TYPE_CHECKING:
    from gateway.budgets.amounts import Charge
    from gateway.budgets.counter import Counter
    from gateway.budgets.ledger import Ledger
    from gateway.telemetry import Telemetry

logger = logging.getLogger(__name__)

RETRY_S = 0.5
QUEUE_LIMIT = 10_000
"""More than a process can have in flight; beyond it the leases alone keep the charge."""


@dataclass(frozen=True, slots=True)
class Posting:
    """A settlement (`charge` set) or a release (`charge` is `None`) of one hold."""

    org: str
    hold: str
    charge: Charge | None
    record: str
    counters: tuple[Counter, ...] = ()


@dataclass(slots=True)
class Settlements:
    """The open holds of this process and the postings that the ledger has not taken yet."""

    ledger: Ledger
    telemetry: Telemetry
    lease_s: int
    _open: dict[str, str] = field(default_factory=dict)
    _queue: OrderedDict[str, Posting] = field(default_factory=OrderedDict)

    @property
    def waiting(self) -> int:
        """How many postings the ledger has not taken yet."""
        return len(self._queue)

    def opened(self, org: str, hold: str) -> None:
        """From now on the hold's lease is renewed, until it is posted."""
        self._open[hold] = org

    async def post(self, posting: Posting) -> bool:
        """Posts at once if the ledger answers, else queues; says whether it was posted."""
        self._open.pop(posting.hold, None)
        try:
            await self._send(posting)
        except LedgerUnavailable as error:
            self._keep(posting, error)
            return False
        return True

    async def retry(self) -> None:
        """Runs for ever: posts what is queued, oldest first, as soon as the ledger answers."""
        while True:
            await asyncio.sleep(RETRY_S)
            await self.flush()

    async def flush(self) -> None:
        """One pass over the queue; stops at the first posting that the ledger does not take."""
        while self._queue:
            hold, posting = next(iter(self._queue.items()))
            try:
                await self._send(posting)
            except LedgerUnavailable:
                return
            self._queue.pop(hold, None)

    async def renew(self) -> None:
        """Runs for ever: extends the leases of the open holds three times per lease."""
        while True:
            await asyncio.sleep(self.lease_s / 3)
            if not self._open:
                continue
            try:
                await self.ledger.renew([(org, hold) for hold, org in self._open.items()])
            except LedgerUnavailable as error:
                logger.warning("leases were not renewed: %s", error)

    async def expire(self) -> None:
        """Runs for ever: closes holds whose lease is over, whichever process made them."""
        while True:
            await asyncio.sleep(1)
            try:
                while await self.ledger.expire_due():
                    pass
            except LedgerUnavailable as error:
                logger.warning("expired holds were not closed: %s", error)

    async def _send(self, posting: Posting) -> None:
        if posting.charge is None:
            await self.ledger.release(posting.org, posting.hold, posting.record, counters=posting.counters)
        else:
            await self.ledger.settle(
                posting.org, posting.hold, posting.charge, posting.record, counters=posting.counters
            )

    def _keep(self, posting: Posting, error: LedgerUnavailable) -> None:
        self.telemetry.settle_retried()
        if len(self._queue) >= QUEUE_LIMIT:
            logger.error("settlement queue is full; hold %s is left to its lease: %s", posting.hold, error)
            return
        logger.warning("settlement of hold %s waits for the ledger: %s", posting.hold, error)
        self._queue[posting.hold] = posting
