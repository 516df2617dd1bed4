"""Ends the time of grace of a server that took over an org's ledger with all that the one before had.

That is so when a slot of a cluster was moved. Refuses to know how that is shown; see `store.cluster`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from gateway.budgets import wire
from gateway.budgets.scripts import Script
from gateway.store.cluster import was_moved

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from gateway.budgets.breaker import Breaker

ASKED_S = 1.0

_VOUCH = Script.load("vouch")

_log = logging.getLogger(__name__)


class Moves:
    """Asks once per change of servers; whoever comes meanwhile waits for the answer."""

    def __init__(self, redis: Redis, call: Breaker) -> None:
        self._redis = redis
        self._call = call
        self._asking = asyncio.Lock()
        self._vouched: dict[str, tuple[str, bool]] = {}

    async def spare_grace(self, org: str, turn: str) -> bool:
        """Whether the org's server of that turn was shown to lack nothing, and admits at once.

        Raises LedgerUnavailable when it does not answer in time.
        """
        async with self._asking:
            asked, vouched = self._vouched.get(org, ("", False))
            if asked != turn:
                vouched = await self._vouch(wire.OrgKeys(org).meta, turn)
                self._vouched[org] = (turn, vouched)
            return vouched

    async def _vouch(self, meta: str, turn: str) -> bool:
        client: object = self._redis
        if not isinstance(client, RedisCluster):
            return False
        async with self._call("vouch"):
            before, written_ms = await self._redis.hmget(meta, ["before", "t"])
        if not (before and written_ms and await _was_moved(client, meta, str(before), int(written_ms))):
            return False
        async with self._call("vouch"):
            [answer] = await _VOUCH.run(self._redis, [meta], [turn])
        return bool(answer == "vouched")


async def _was_moved(cluster: RedisCluster, meta: str, before: str, written_ms: int) -> bool:
    """Other nodes are asked here, whose trouble is none of the ledger's: then there is grace."""
    try:
        async with asyncio.timeout(ASKED_S):
            moved = await was_moved(cluster, meta, from_run=before, written_ms=written_ms)
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        _log.warning("how the slot of %s came to its node could not be asked: %s", meta, error)
        return False
    if moved:
        _log.info("the slot of %s was moved to another node of the cluster; nothing is missing", meta)
    return moved
