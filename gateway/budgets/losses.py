"""What the store lost, and bringing it back: whole ledgers, endings that SQL has, holds of this process.

A store loses what another server did not have when it took over, or all of it. Invariant: nothing that SQL
has is posted twice, and what nobody can bring back is told by a number. Refuses to know policies and prices.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from redis.exceptions import RedisClusterException, RedisError

from gateway.budgets import wire
from gateway.budgets.presence import ARCHIVE_S
from gateway.budgets.raises import bring_back
from gateway.budgets.recovery import adopt, began_ms
from gateway.budgets.recovery import rebuild as rebuild_from
from gateway.budgets.scripts import Script
from gateway.budgets.witness import Recovery, Unexplained
from gateway.errors import LedgerUnavailable, StoreError

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from gateway.budgets.breaker import Breaker
    from gateway.budgets.lifetimes import Lifetimes
    from gateway.budgets.presence import Presence
    from gateway.budgets.recovery import Archive, OpenHold
    from gateway.budgets.witness import Witness

RECENT_MS, RECENT_ENTRIES = 300_000, 1_000
"""Of so long before the last entry of an earlier server, and of so many entries at least, SQL is asked for
endings that this one may lack; more than replication is ever behind."""
FORGOTTEN_MARGIN_MS = 600_000
"""So long before a tombstone's time is over its ending is not taken from SQL any more."""

_log = logging.getLogger(__name__)

_RESTORE = Script.load("restore")


@dataclass(frozen=True, slots=True)
class Losses:
    """All methods raise LedgerUnavailable when a store fails. `_archive` is SQL's memory, if there is one."""

    _redis: Redis
    _call: Breaker
    _lifetimes: Lifetimes
    _archive: Archive | None
    _presence: Presence
    _witness: Witness
    _process: str = field(default_factory=lambda: uuid.uuid4().hex)

    def take_changed(self) -> set[str]:
        """The orgs whose ledger came to another server or was rebuilt since the last call."""
        return self._presence.take_changed()

    async def adopt_endings(self, org: str) -> int:
        """Post to the counters the recent endings that SQL has and the store lost; answers how many.

        First SQL learns whose turn it is, so that it takes nothing more that was read from an earlier server.
        """
        if self._archive is None:
            return 0
        await self._presence.register(org)
        turn = self._presence.turn(org)
        if not turn:
            return 0
        try:
            async with asyncio.timeout(ARCHIVE_S):
                await self._archive.supersede(org, turn)
                endings = await self._archive.endings(
                    org, await self._recent_ms(self._archive, org, began_ms(turn))
                )
                return await adopt(self._redis, org, endings, self._lifetimes)
        except (StoreError, RedisError, RedisClusterException, OSError, TimeoutError) as error:
            msg = f"what SQL knows of org {org} could not be brought back: {error}"
            raise LedgerUnavailable(msg) from error

    async def _recent_ms(self, archive: Archive, org: str, began_ms: int) -> int:
        """Since when an ending that SQL has may be one that this turn's server lacks.

        By the clocks of the servers before, since that of this one may have jumped. Theirs may have, too, so
        the newest entries count however old they look; but none that the store may have forgotten in its own
        time, which would be charged again.
        """
        newest_ms = await archive.newest_ms(org, before_ms=began_ms)
        if newest_ms is None:
            return began_ms
        among_newest_ms = await archive.newest_ms(org, before_ms=began_ms, but=RECENT_ENTRIES)
        recent_ms = min(newest_ms - RECENT_MS, among_newest_ms or 0)
        return max(recent_ms, began_ms - self._lifetimes.retention_ms + FORGOTTEN_MARGIN_MS)

    async def restore(self, hold: OpenHold) -> bool:
        """Bring back a hold of this gateway that the store lost; False when the store knows it."""
        names = wire.OrgKeys(hold.org)
        postings = names.postings(hold.counters)
        async with self._call("restore"):
            answer = await _RESTORE.run(
                self._redis,
                [names.hold(hold.hold), names.open_holds, names.meta, *(p.key for p in postings)],
                [
                    hold.hold,
                    self._lifetimes.lease_ms,
                    self._lifetimes.outlives_ms,
                    "1" if hold.sent else "0",
                    wire.words(hold.charge.central),
                    wire.words(hold.charge.high),
                    hold.record,
                    wire.postings_json(postings),
                ],
            )
        if answer[0] == "no_ledger":
            self._presence.refuse(hold.org)
        return bool(answer[0] == "restored")

    def succession(self, org: str) -> tuple[str, str]:
        """The turns of the server before the last change (empty if not known), and of this one."""
        return self._presence.take_before(org), self._presence.turn(org)

    async def recovered(self, recovery: Recovery) -> Recovery:
        """Journal a recovery once everybody had time to bring back what they know; answers it with the rest.

        Unexplained is what this process saw held and what neither the store nor SQL knows now.
        """
        async with self._call("look"):
            missing = await self._witness.missing(recovery.org)
        gone = [
            Unexplained(hold, amounts)
            for hold, amounts in sorted(missing.items())
            if not await self.was_posted(recovery.org, hold)
        ]
        told = msgspec.structs.replace(recovery, unexplained=tuple(gone))
        async with self._call("look"):
            await self._witness.tell(told)
        return told

    async def rebuild(self) -> int:
        """Rebuild from SQL the ledgers that the store was found to have lost; answers how many were."""
        rebuilt = 0
        for org in sorted(self._presence.lost):
            if self._archive is None:
                _log.error("the budget store lost the ledger of org %s; nothing can rebuild it here", org)
                continue
            try:
                rebuilt += await rebuild_from(
                    self._redis, self._archive, org, self._lifetimes, process=self._process
                )
                seconds, _ = await self._redis.time()
                await bring_back(self._redis, await self._archive.grants(org), int(seconds) * 1000)
                self._presence.lost.discard(org)
                await self._presence.ensure(org)
            except (StoreError, RedisError, RedisClusterException, OSError) as error:
                _log.warning("the ledger of org %s is not rebuilt yet: %s", org, error)
        return rebuilt

    async def was_posted(self, org: str, hold_id: str) -> bool:
        """Whether SQL has an entry of a hold; the store forgets one that ended hours ago."""
        if self._archive is None:
            return False
        try:
            async with asyncio.timeout(ARCHIVE_S):
                return await self._archive.has_hold(org, hold_id)
        except (StoreError, OSError, TimeoutError) as error:
            msg = f"the database cannot say whether {hold_id} was charged: {error}"
            raise LedgerUnavailable(msg) from error
