"""Raises: extra amounts for one counter, for a while, with an author and a reason.

Kept in the budget store beside the ledger, as they were granted; one that ended stays as its own audit entry.
Each grant and each end is in the org's journal first (kind `grant`), from which SQL has them and brings them
back when the store has lost them.
They change limits, never what was used. Every gateway reads them again each second at least, and ends them by
their own dates even when it cannot. Refuses to know who may grant them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.budgets.amounts import FIGURES, MAX_STORED, Dimension
from gateway.budgets.scripts import deadline
from gateway.errors import LedgerUnavailable
from gateway.store.keyspace import journal_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redis.asyncio import Redis

IN_FORCE = "eg:{raises}:in-force"
ENDED = "eg:{raises}:ended"
GRANT = "grant"
READ_EVERY_S = 0.5

logger = logging.getLogger(__name__)


Parts = list[tuple[int, dict[str, int]]]
"""Amounts by dimension, each with the moment (UTC epoch ms) from which on it counts no more."""


class Raise(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`amounts` are ledger integers by dimension; it counts from `from_ms` to `until_ms` (excluded, UTC).

    `kind` is `reset` where the amounts are what was used when it was granted; of a rolling window `leaving`
    says from when on which part of them counts no more. `author` is the id of a key.
    """

    id: str
    org: str
    policy: str
    scope: dict[str, str]
    counter: str
    amounts: dict[str, int]
    from_ms: int
    until_ms: int
    author: str
    reason: str
    kind: str = "raise"
    leaving: Parts = []
    ended_ms: int | None = None
    ended_by: str | None = None

    def adds(self, dimension: Dimension, now_ms: int) -> int:
        """What it adds at `now_ms`."""
        if not self.from_ms <= now_ms < self.until_ms:
            return 0
        gone = sum(part.get(dimension.value, 0) for at_ms, part in self.leaving if at_ms <= now_ms)
        return max(0, self.amounts.get(dimension.value, 0) - gone)

    def parts(self) -> Parts:
        """What it adds, by when that counts no more."""
        rest = _less(self.amounts, [part for _, part in self.leaving])
        return [*self.leaving, (self.until_ms, rest)]


Raised = dict[tuple[str, str], tuple[Raise, ...]]
"""Raises by org and counter id."""


def limits_with(
    limits: Mapping[Dimension, int], raises: tuple[Raise, ...], now_ms: int
) -> Mapping[Dimension, int]:
    """The limits with every raise that counts at `now_ms`; what is not limited stays so."""
    if not raises:
        return limits
    return {
        dimension: min(MAX_STORED, limit + sum(one.adds(dimension, now_ms) for one in raises))
        for dimension, limit in limits.items()
    }


def still_to_give_back(
    used: dict[str, int], leaving: Parts, earlier: Sequence[Raise], now_ms: int
) -> tuple[dict[str, int], Parts]:
    """What a reset gives back of what was used, when `earlier` ones of the counter gave back some of it."""
    given = [one for one in earlier if one.kind == "reset" and one.ended_ms is None]
    parts: Parts = []
    for at_ms, part in leaving:
        before = [gone for one in given for when_ms, gone in one.parts() if when_ms == at_ms]
        parts.append((at_ms, _less(part, before)))
    amounts = _less(used, [{name: one.adds(Dimension(name), now_ms) for name in used} for one in given])
    return amounts, [(at_ms, part) for at_ms, part in parts if any(part.values())]


def _less(amounts: dict[str, int], others: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {
        name: max(0, amount - sum(other.get(name, 0) for other in others)) for name, amount in amounts.items()
    }


class RaiseBook:
    """The raises that all gateways share, and those that this one last saw."""

    def __init__(self, redis: Redis, *, timeout_ms: int, changed: Callable[[Raised], None]) -> None:
        """`changed` is called with all raises in force whenever they are others than before."""
        self._redis = redis
        self._timeout_ms = timeout_ms
        self._changed = changed
        self._seen: dict[str, str] = {}

    async def grant(self, granted: Raise) -> None:
        """From now on here, within a second everywhere. Raises LedgerUnavailable."""
        async with deadline("grant", self._timeout_ms):
            await self._journal(granted, granted.from_ms)
            await self._redis.hset(IN_FORCE, granted.id, _text(granted))
        await self.read()

    async def end(self, raise_id: str, *, by: str, now_ms: int) -> Raise | None:
        """Takes a raise back; what was used on it stays used. None when there is none in force."""
        async with deadline("end", self._timeout_ms):
            text = await self._redis.hget(IN_FORCE, raise_id)
        if text is None:
            return None
        ended = msgspec.structs.replace(_raise(text), ended_ms=now_ms, ended_by=by)
        async with deadline("end", self._timeout_ms):
            await self._journal(ended, now_ms)
        await self._archive(ended)
        await self.read()
        return ended

    async def listing(self) -> list[Raise]:
        """Every raise there was, the newest first."""
        async with deadline("raises", self._timeout_ms):
            texts = [*await self._redis.hvals(IN_FORCE), *await self._redis.hvals(ENDED)]
        found = {one.id: one for one in map(_raise, texts)}
        return sorted(found.values(), key=lambda one: (one.from_ms, one.id), reverse=True)

    async def read(self) -> None:
        """Looks whether raises changed. Raises LedgerUnavailable."""
        async with deadline("raises", self._timeout_ms):
            found: dict[str, str] = {
                str(key): str(text) for key, text in (await self._redis.hgetall(IN_FORCE)).items()
            }
        if found == self._seen:
            return
        self._seen = found
        raised: dict[tuple[str, str], tuple[Raise, ...]] = {}
        for one in sorted(map(_raise, found.values()), key=lambda one: one.id):
            key = one.org, one.counter
            raised[key] = (*raised.get(key, ()), one)
        self._changed(raised)

    async def watch(self, now_ms: Callable[[], int]) -> None:
        """Runs for ever: reads, and files away what is over."""
        while True:
            await asyncio.sleep(READ_EVERY_S)
            try:
                await self.read()
                for one in map(_raise, list(self._seen.values())):
                    if one.until_ms <= now_ms():
                        await self._archive(one)
            except LedgerUnavailable as error:
                logger.warning("raises were not read: %s", error)

    async def _journal(self, one: Raise, at_ms: int) -> None:
        """An entry that posts nothing and names no counter."""
        nothing = " ".join("0" for _ in FIGURES)
        fields: Any = {"kind": GRANT, "hold": one.id, "at": at_ms, "central": nothing, "high": nothing}
        await self._redis.xadd(journal_key(one.org), fields | {"counters": "[]", "record": _text(one)})

    async def _archive(self, ended: Raise) -> None:
        async with deadline("end", self._timeout_ms), self._redis.pipeline(transaction=True) as both:
            both.hset(ENDED, ended.id, _text(ended))
            both.hdel(IN_FORCE, ended.id)
            await both.execute()


async def bring_back(redis: Redis, texts: Sequence[str], now_ms: int) -> int:
    """Raises as SQL has them, where the store has lost them; answers how many. Raises what Redis raises."""
    brought = 0
    for one in map(_raise, texts):
        over = one.ended_ms is not None or one.until_ms <= now_ms
        if not await redis.hexists(ENDED, one.id):
            brought += int(await redis.hsetnx(ENDED if over else IN_FORCE, one.id, _text(one)))
    return brought


def _text(one: Raise) -> str:
    return msgspec.json.encode(one).decode()


def _raise(text: Any) -> Raise:
    return msgspec.json.decode(text, type=Raise)
