"""How a hold ends: settled, released or expired, on the counters that it was held against.

A hold knows its counters, but a script must be told its keys before: whoever does not know them asks twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.budgets import wire
from gateway.budgets.scripts import Script
from gateway.errors import LedgerUnavailable
from gateway.store.keyspace import journal_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from gateway.budgets.breaker import Breaker
    from gateway.budgets.lifetimes import Lifetimes
    from gateway.budgets.presence import Presence

SETTLE = Script.load("settle")
RELEASE = Script.load("release")
EXPIRE = Script.load("expire")


@dataclass(frozen=True, slots=True)
class Closing:
    """Raises LedgerUnavailable when the store does not do it in time."""

    _redis: Redis
    _call: Breaker
    _lifetimes: Lifetimes
    _presence: Presence

    async def run(
        self,
        script: Script,
        org: str,
        hold_id: str,
        postings: Sequence[wire.Posting] = (),
        args: tuple[str, ...] = (),
        *,
        known: bool = True,
    ) -> Any:
        """Run a script that ends a hold, a second time with the hold's own counters if it names them."""
        names, lifetimes = wire.OrgKeys(org), self._lifetimes
        await self._presence.ensure(org)
        async with self._call(script.verb):
            for _ in range(2):
                keys = [
                    names.hold(hold_id),
                    names.open_holds,
                    journal_key(org),
                    names.meta,
                    *(() if script is RELEASE else (names.alerts, names.alerted)),
                    *(p.key for p in postings),
                ]
                tail = [wire.postings_json(postings), "1" if known else "0"] if script is SETTLE else []
                answer = await script.run(
                    self._redis, keys, [hold_id, lifetimes.outlives_ms, lifetimes.retention_ms, *args, *tail]
                )
                if answer[0] == "no_ledger":
                    self._presence.refuse(org)
                if answer[0] != "keys":
                    return answer
                postings = wire.read_postings(answer[1])
        msg = f"{script.verb}: hold {hold_id} changed its counters between two calls"
        raise LedgerUnavailable(msg)
