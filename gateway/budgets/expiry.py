"""Ends the holds whose leases are over, whichever process made them, and sees how each org's ledger stands.

Refuses to know requests: what an expired hold is charged, and what is journaled of it, stands in the hold.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from gateway.budgets import wire
from gateway.budgets.closing import EXPIRE
from gateway.budgets.scripts import Script
from gateway.errors import LedgerUnavailable
from gateway.store.keyspace import ORGS

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from gateway.budgets.breaker import Breaker
    from gateway.budgets.closing import Closing
    from gateway.budgets.presence import Presence
    from gateway.budgets.witness import Witness

_log = logging.getLogger(__name__)

_PULSE = Script.load("pulse")


class Expiry:
    """Every method raises LedgerUnavailable when the store does not answer in time."""

    def __init__(
        self,
        redis: Redis,
        call: Breaker,
        closing: Closing,
        presence: Presence,
        witness: Witness,
        *,
        grace_ms: int,
    ) -> None:
        self._redis = redis
        self._call = call
        self._closing = closing
        self._presence = presence
        self._witness = witness
        self._grace_ms = grace_ms
        self._turn = 0

    async def due(self, limit: int = 500) -> int:
        """End up to `limit` holds whose leases are over, in all orgs; answers how many ended.

        Also takes note of orgs whose ledger is lost or came to another server.

        Any number of processes may do this. The org with which it begins changes with every call, so that a
        busy one does not starve the others.
        """
        async with self._call("expire"):
            listed = {str(org) for org in await self._redis.smembers(ORGS)}
        await self._presence.recall(listed)
        orgs = sorted(listed | self._presence.orgs)
        self._turn += 1
        ended = 0
        for step in range(len(orgs)):
            org = orgs[(self._turn + step) % len(orgs)]
            ended += await self.of(org, limit - ended)
            async with self._call("look"):
                await self._witness.look(org)
        return ended

    async def of(self, org: str, limit: int) -> int:
        """Look at one org and end up to `limit` due holds, each within a deadline of its own."""
        names = wire.OrgKeys(org)
        async with self._call("pulse"):
            answer = await _PULSE.run(
                self._redis, [names.meta, names.open_holds], [self._grace_ms, max(0, limit)]
            )
        if answer[0] == "no_ledger":
            self._presence.lose(org)
            return 0
        self._presence.see(org, answer[1], answer[2])
        ended = 0
        for hold_id in map(str, answer[3]):
            try:
                answer = await self._closing.run(EXPIRE, org, hold_id)
            except LedgerUnavailable as error:
                if not isinstance(error.__cause__, ResponseError):
                    raise
                # One broken hold must not keep the others open.
                _log.exception("hold %s of org %s cannot be expired", hold_id, org)
                continue
            if answer[0] == "lost":
                _log.error("the budget store lost hold %s of org %s; what it held stays held", hold_id, org)
            ended += answer[0] in ("expire", "release")
        return ended
