"""Compares what Redis keeps for an org with what its journal says: every counter, spent and held.

Invariant: reads only. What is spent must be the sum of the journal, in SQL or still in the stream; what is
held must be the sum of the open holds. Refuses to know SQL: the caller brings its sums.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from gateway.budgets.amounts import FIGURES
from gateway.budgets.lifetimes import RETENTION_S
from gateway.budgets.wire import OrgKeys, read_postings
from gateway.store.keyspace import journal_key, org_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from redis.asyncio import Redis

Vector = tuple[int, ...]
What = Literal["spent", "held"]
NOTHING: Vector = (0,) * len(FIGURES)
LOOKS = 5
BETWEEN_LOOKS_S = 0.3
SCAN_BATCH = 500


class Sums(Protocol):
    """The SQL side, see `usage.archive.Archive`."""

    async def spent(self, org: str) -> Mapping[Any, tuple[Iterable[int], int]]:
        """Per (counter id, bucket start in ms) the sum of its figures, and when the last entry was (ms)."""

    async def known(self, org: str, entry_ids: Collection[str]) -> set[str]:
        """Those of the stream's entry ids that are in `spent` already."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of a counter that is not what its journal or its open holds add up to (ledger integers).

    `counter` is the id, or the Redis `key` where no journal entry names it; `figure` is one of `FIGURES`.
    """

    org: str
    key: str
    counter: str
    start_ms: int
    what: What
    figure: str
    stored: int
    expected: int

    @property
    def place(self) -> tuple[str, str, str]:
        """Which figure it is; what it shows changes with every request, and entries name it late."""
        return self.key, self.what, self.figure


@dataclass(frozen=True, slots=True)
class Audit:
    """`counters` is how many were compared, `open_holds` how many hold something now."""

    org: str
    counters: int
    open_holds: int
    differences: tuple[Difference, ...]


async def audit(redis: Redis, sums: Sums, org: str, *, young_ms: int = RETENTION_S * 1000) -> Audit:
    """Compare all counters of an org.

    Entries move from Redis to SQL meanwhile, so a figure is in order once one of `LOOKS` looks shows it so;
    what differs in all of them is told as the last one saw it. A counter that was charged within `young_ms`
    must still be there. Raises what Redis and the SQL side raise.
    """
    found = await _look(redis, sums, org, young_ms)
    for _ in range(LOOKS - 1):
        if not found.differences:
            return found
        await asyncio.sleep(BETWEEN_LOOKS_S)
        again = await _look(redis, sums, org, young_ms)
        before = {row.place for row in found.differences}
        still = tuple(row for row in again.differences if row.place in before)
        found = Audit(org, again.counters, again.open_holds, still)
    return found


class _Totals:
    """Expected figures by counter key, and what each key is called in the journal."""

    def __init__(self, names: OrgKeys) -> None:
        self._names = names
        self.labels: dict[str, tuple[str, int]] = {}
        self.figures: dict[What, dict[str, Vector]] = {"spent": {}, "held": {}}

    def add(self, what: What, counter_id: str, start_ms: int, amounts: Iterable[int]) -> str:
        key = self._names.counter_key(counter_id, start_ms)
        self.labels[key] = (counter_id, start_ms)
        before = self.figures[what].get(key, NOTHING)
        self.figures[what][key] = tuple(a + b for a, b in zip(before, amounts, strict=True))
        return key

    def compare(self, org: str, key: str, fields: Mapping[str, str]) -> list[Difference]:
        counter_id, start_ms = self.labels.get(key, (key, 0))
        rows = []
        for what, totals in self.figures.items():
            for place, figure in enumerate(FIGURES):
                stored = int(fields.get(f"{what[0]}{place + 1}", 0))
                expected = totals.get(key, NOTHING)[place]
                if stored != expected:
                    rows.append(Difference(org, key, counter_id, start_ms, what, figure, stored, expected))
        return rows


async def _look(redis: Redis, sums: Sums, org: str, young_ms: int) -> Audit:
    keys = sorted({str(key) async for key in redis.scan_iter(org_key(org, "c") + ":*", count=SCAN_BATCH)})
    totals = _Totals(OrgKeys(org))
    counters, holds, lasting = await _gather(redis, sums, org, totals, keys=keys, young_ms=young_ms)
    stored = {key: fields for key, fields in zip(keys, counters, strict=True) if fields}
    differences = [
        row
        for key in sorted({*stored, *totals.figures["held"], *lasting})
        for row in totals.compare(org, key, stored.get(key, {}))
    ]
    return Audit(org, len(stored), holds, tuple(differences))


async def expected(
    redis: Redis, sums: Sums, org: str
) -> tuple[dict[str, Vector], dict[str, Vector], dict[str, tuple[str, int]]]:
    """What each counter key must show as spent and as held, and which (counter id, bucket start) it is."""
    totals = _Totals(OrgKeys(org))
    await _gather(redis, sums, org, totals, keys=(), young_ms=0)
    return totals.figures["spent"], totals.figures["held"], totals.labels


async def _gather(
    redis: Redis, sums: Sums, org: str, totals: _Totals, *, keys: Sequence[str], young_ms: int
) -> tuple[list[dict[str, str]], int, set[str]]:
    """Fill `totals`; answers the fields of `keys`, the number of open holds, and the counters in use."""
    names = OrgKeys(org)
    async with redis.pipeline(transaction=True) as pipeline:
        for key in keys:
            pipeline.hgetall(key)
        pipeline.xrange(journal_key(org))
        pipeline.zrange(names.open_holds, 0, -1)
        *counters, stream, open_ids = await pipeline.execute()
    holds = await _holds(redis, names, [str(hold_id) for hold_id in open_ids])
    seconds, _ = await redis.time()
    lasting = set()
    for (counter_id, start_ms), (amounts, last_ms) in (await sums.spent(org)).items():
        key = totals.add("spent", counter_id, start_ms, amounts)
        if last_ms > seconds * 1000 - young_ms:
            lasting.add(key)
    known = await sums.known(org, [str(entry_id) for entry_id, _ in stream])
    for fields in (fields for entry_id, fields in stream if entry_id not in known):
        for counter_id, start_ms, bound in msgspec.json.decode(fields["counters"]):
            totals.add("spent", counter_id, start_ms, map(int, fields[bound].split()))
    for central, high, postings in holds:
        for posting in read_postings(postings):
            words = high if posting.bound == "high" else central
            totals.add("held", posting.id, int(posting.starts), map(int, words.split()))
    return counters, len(holds), lasting


async def _holds(redis: Redis, names: OrgKeys, hold_ids: list[str]) -> list[tuple[str, str, str]]:
    """Amounts and counters of the holds that are still open."""
    async with redis.pipeline(transaction=True) as pipeline:
        for hold_id in hold_ids:
            pipeline.hmget(names.hold(hold_id), "state", "central", "high", "counters")
        rows = await pipeline.execute() if hold_ids else []
    return [(central, high, postings) for state, central, high, postings in rows if state == "P"]
