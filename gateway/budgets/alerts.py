"""Alerts on their way to the owners of budgets: what happened to which counter, and the queue they wait in.

The ledger's scripts queue an alert in the very step that reaches its amount, once for each bucket, dimension,
name and limit; of a rolling window, once in its length. A gateway claims it for a while and removes it when
it was delivered, so one that dies in between loses nothing. Refuses to know webhooks.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.budgets.amounts import Dimension
from gateway.budgets.refusal import code_of
from gateway.budgets.scripts import Script, deadline
from gateway.store.keyspace import ORGS, alerts_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from gateway.budgets.counter import Shortfall

EXCEEDED: Final = "exceeded"
TOO_LARGE: Final = "toolarge"
REFUSALS: Final = {"eco_budget_exceeded": EXCEEDED, "eco_request_too_large": TOO_LARGE}
"""Names of refusals that owners hear of; room that requests in progress hold comes back by itself."""

_CLAIM = Script.load("claim")


class Alert(msgspec.Struct, array_like=True, frozen=True):
    """What the scripts write, all strings; amounts are ledger integers, times UTC epoch ms.

    `name` is a percentage of the limit, `counter.OVER`, or a refusal's. `to` is the digest of the one webhook
    that is still to hear of it; while it is empty, all are.
    """

    counter: str
    starts: str
    ends: str
    place: str
    name: str
    limit: str
    used: str
    held: str
    at: str
    to: str = ""

    @property
    def budget(self) -> str:
        return self.counter.partition("|")[0]

    @property
    def scope(self) -> dict[str, str]:
        found: dict[str, str] = msgspec.json.decode(self.counter.partition("|")[2])
        return found

    @property
    def dimension(self) -> Dimension:
        return tuple(Dimension)[int(self.place) - 1]

    def id(self, org: str) -> str:
        """The same for every attempt to deliver it, and for the same event after a lost store was rebuilt."""
        event = [org, self.counter, self.starts, self.place, self.name, self.limit]
        return "msg_" + hashlib.blake2b(msgspec.json.encode(event), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Queued:
    """An alert with the text by which the queue knows it."""

    text: str
    alert: Alert


class AlertQueue:
    """The alerts of all orgs that nobody has heard of yet. Every method raises LedgerUnavailable."""

    def __init__(self, redis: Redis, *, timeout_ms: int) -> None:
        self._redis = redis
        self._timeout_ms = timeout_ms

    async def orgs(self) -> list[str]:
        async with deadline("alerts", self._timeout_ms):
            return sorted(str(org) for org in await self._redis.smembers(ORGS))

    async def claim(self, org: str, *, lease_ms: int, most: int) -> list[Queued]:
        """Alerts that are due, ours for `lease_ms`; what nobody can read is removed."""
        async with deadline("claim", self._timeout_ms):
            texts = await _CLAIM.run(self._redis, [alerts_key(org)], [lease_ms, most])
        claimed = []
        for text in map(str, texts):
            try:
                claimed.append(Queued(text, msgspec.json.decode(text, type=Alert)))
            except msgspec.MsgspecError:
                await self.done(org, text)
        return claimed

    async def split(self, org: str, queued: Queued, webhooks: Sequence[str]) -> None:
        """From now on each webhook (by digest) has an alert of its own, due at once."""
        alerts = [msgspec.structs.replace(queued.alert, to=webhook) for webhook in webhooks]
        due = {msgspec.json.encode(alert).decode(): int(queued.alert.at) for alert in alerts}
        async with deadline("split", self._timeout_ms), self._redis.pipeline(transaction=True) as both:
            both.zadd(alerts_key(org), due, nx=True)
            both.zrem(alerts_key(org), queued.text)
            await both.execute()

    async def later(self, org: str, text: str, *, due_ms: int) -> None:
        async with deadline("later", self._timeout_ms):
            await self._redis.zadd(alerts_key(org), {text: due_ms}, xx=True)

    async def done(self, org: str, text: str) -> None:
        async with deadline("done", self._timeout_ms):
            await self._redis.zrem(alerts_key(org), text)


def refusals_to_alert(rows: Sequence[Shortfall]) -> list[Shortfall]:
    """One row for each counter, dimension and kind of refusal of which owners want to hear."""
    found: dict[tuple[Any, ...], Shortfall] = {}
    for row in rows:
        if row.counter.alert_at is not None and code_of(row) in REFUSALS:
            found.setdefault((row.counter.id, row.dimension, code_of(row)), row)
    return list(found.values())


def refusals_json(rows: Sequence[Shortfall], outlives_ms: int) -> str:
    """The rows as `lua/refuse.lua` takes them."""
    dimensions = tuple(Dimension)
    return msgspec.json.encode(
        [
            [
                row.counter.id,
                *map(str, (row.bucket.start_ms, row.counter.until(row.bucket))),
                str(1 + dimensions.index(row.dimension)),
                REFUSALS[code_of(row)],
                *map(str, (row.limit, row.used, row.held)),
                *map(str, (row.counter.until(row.bucket) + outlives_ms, row.counter.rolls_ms(row.bucket))),
            ]
            for row in rows
        ]
    ).decode()
