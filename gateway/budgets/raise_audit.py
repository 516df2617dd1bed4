"""Compares the raises that the budget store keeps of an org with what their journal says.

Each grant and each end is in the journal, in SQL or still in the stream; the store must have the last word of
each, and nothing else. Reads only. Refuses to know SQL: the caller brings its texts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from gateway.budgets.audit import BETWEEN_LOOKS_S, LOOKS
from gateway.budgets.raises import ENDED, GRANT, IN_FORCE, Raise
from gateway.store.keyspace import journal_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

What = Literal["missing", "not journaled", "not in force", "other than journaled"]


class Grants(Protocol):
    """The SQL side, see `usage.archive.Archive`."""

    async def grants(self, org: str) -> Sequence[str]:
        """Every raise of the org, as it was journaled last, as JSON."""


@dataclass(frozen=True, slots=True)
class RaiseDifference:
    """A raise of which store and journal say different things."""

    raise_id: str
    policy: str
    what: What


@dataclass(frozen=True, slots=True)
class RaiseAudit:
    """`raises` is how many were compared, those that ended included."""

    raises: int
    differences: tuple[RaiseDifference, ...]


async def audit_raises(redis: Redis, archive: Grants, org: str) -> RaiseAudit:
    """Compare all raises of an org.

    A grant is journaled before it counts, and moves to SQL meanwhile, so a difference counts only when it is
    still there after `LOOKS` looks. Raises what Redis and the SQL side raise.
    """
    found = await _look(redis, archive, org)
    for _ in range(LOOKS - 1):
        if not found.differences:
            return found
        await asyncio.sleep(BETWEEN_LOOKS_S)
        again = await _look(redis, archive, org)
        both = set(found.differences) & set(again.differences)
        found = RaiseAudit(again.raises, tuple(sorted(both, key=lambda row: (row.raise_id, row.what))))
    return found


async def _look(redis: Redis, archive: Grants, org: str) -> RaiseAudit:
    """The stream is read before SQL: what is moved in between is in both."""
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.hvals(IN_FORCE)
        pipeline.hvals(ENDED)
        pipeline.time()
        in_force, ended, (seconds, _) = await pipeline.execute()
    stream: Any = await redis.xrange(journal_key(org))
    journaled = {one.id: one for one in map(_raise, await archive.grants(org))}
    for one in (_raise(fields["record"]) for _, fields in stream if fields["kind"] == GRANT):
        known = journaled.get(one.id)
        if known is None or _said_ms(known) <= _said_ms(one):
            journaled[one.id] = one
    counting = {one.id: one for one in map(_raise, in_force) if one.org == org}
    over = {one.id: one for one in map(_raise, ended) if one.org == org}
    now_ms = seconds * 1000
    rows = []
    for one in sorted({**counting, **over, **journaled}.values(), key=lambda one: one.id):
        what = _differs(journaled.get(one.id), counting.get(one.id), over.get(one.id), now_ms)
        if what is not None:
            rows.append(RaiseDifference(one.id, one.policy, what))
    return RaiseAudit(len({*counting, *over, *journaled}), tuple(rows))


def _differs(journaled: Raise | None, counting: Raise | None, over: Raise | None, now_ms: int) -> What | None:
    """What is wrong with one raise; one whose time is over may still stand among those in force."""
    stored = counting or over
    if journaled is None:
        return "not journaled"
    if stored is None:
        return "missing"
    if stored != journaled:
        return "other than journaled"
    lasts = journaled.ended_ms is None and journaled.until_ms > now_ms
    return "not in force" if lasts and counting is None else None


def _raise(text: Any) -> Raise:
    return msgspec.json.decode(text, type=Raise)


def _said_ms(one: Raise) -> int:
    return one.from_ms if one.ended_ms is None else one.ended_ms
