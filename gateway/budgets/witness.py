"""What a process saw the store hold, so that what a change of servers lost can be named.

A gateway brings back its own holds; those of a gateway that died in the same moment are known to nobody
else. So every process looks at all open holds of an org once a second, and remembers for a minute what
it saw: a hold that neither the new server nor SQL knows is unexplained. What began and ended between two
looks, or after the last one, was seen by nobody and is in no number.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.budgets.amounts import FIGURES, UNPRICED, Dimension
from gateway.budgets.windows import moment
from gateway.budgets.wire import OrgKeys
from gateway.store.keyspace import journal_key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from redis.asyncio import Redis

RECOVER: Final = "recover"
REMEMBERED_S: Final = 60.0
HOLDS_PER_LOOK: Final = 10_000
"""Of more open holds than this in an org, those whose leases are over first are seen."""


class Unexplained(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A hold that is gone: what it held by central estimates, in ledger integers, as `FIGURES`."""

    hold: str
    amounts: tuple[int, ...]


class Recovery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one process brought to a server that took over an org, and what it saw before and found nowhere.

    `before` and `after` are the turns of the two servers, which end with their run ids; `before` is empty
    where it is not known.
    """

    id: str
    org: str
    at_ms: int
    before: str
    after: str
    adopted: int
    restored: int
    resent: int
    unexplained: tuple[Unexplained, ...] = ()

    def totals(self) -> dict[str, int]:
        """The sums of what is unexplained by the name of each figure, in the ledger's integers."""
        return {
            figure: sum(one.amounts[place] for one in self.unexplained)
            for place, figure in enumerate(FIGURES)
        }


def recovery_facts(latest: Collection[Recovery]) -> dict[str, Any] | None:
    """What the last change of servers of each org came to, in sums without a name; None when none changed.

    What is unexplained is shown in the units of answers, by the central estimates that were held.
    """
    if not latest:
        return None
    lost = {figure: sum(one.totals()[figure] for one in latest) for figure in FIGURES}
    shown = [one for one in Dimension if one is not Dimension.COST or not lost[UNPRICED]]
    return {
        "at": moment(max(one.at_ms for one in latest)).isoformat(timespec="seconds"),
        "orgs": len(latest),
        "adopted": sum(one.adopted for one in latest),
        "restored": sum(one.restored for one in latest),
        "resent": sum(one.resent for one in latest),
        "unexplained_holds": sum(len(one.unexplained) for one in latest),
        "unexplained": {one.field: one.shown(lost[one]) for one in shown},
    }


@dataclass(slots=True)
class _Sight:
    amounts: tuple[int, ...]
    at_s: float


class Witness:
    """The open holds that this process saw. Every method raises what Redis raises."""

    def __init__(self, redis: Redis, now_s: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._now_s = now_s
        self._seen: dict[str, dict[str, _Sight]] = {}

    async def look(self, org: str) -> None:
        """Remember the holds that are open now."""
        names = OrgKeys(org)
        seen = self._seen.setdefault(org, {})
        found: list[Any] = await self._redis.zrange(names.open_holds, 0, HOLDS_PER_LOOK - 1)
        now_s, ids = self._now_s(), [str(hold) for hold in found]
        fresh = [hold for hold in ids if hold not in seen]
        if fresh:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for hold in fresh:
                    pipeline.hget(names.hold(hold), "central")
                for hold, words in zip(fresh, await pipeline.execute(), strict=True):
                    if words is not None:
                        seen[hold] = _Sight(tuple(map(int, str(words).split())), now_s)
        for hold in ids:
            if hold in seen:
                seen[hold].at_s = now_s
        for hold in [hold for hold, sight in seen.items() if sight.at_s < now_s - REMEMBERED_S]:
            del seen[hold]

    async def missing(self, org: str) -> Mapping[str, tuple[int, ...]]:
        """The holds that were seen and that the store does not know now, neither open nor ended."""
        names, seen = OrgKeys(org), dict(self._seen.get(org, {}))
        async with self._redis.pipeline(transaction=False) as pipeline:
            for hold in seen:
                pipeline.exists(names.hold(hold))
            known = await pipeline.execute() if seen else []
        gone = [hold for hold, there in zip(seen, known, strict=True) if not there]
        return {hold: seen[hold].amounts for hold in gone}

    async def tell(self, recovery: Recovery) -> None:
        """Journal it, as an entry that posts nothing and names no counter; forget what it names."""
        nothing = " ".join("0" for _ in FIGURES)
        fields: Any = {"kind": RECOVER, "hold": recovery.id, "at": recovery.at_ms, "counters": "[]"}
        record = msgspec.json.encode(recovery).decode()
        await self._redis.xadd(
            journal_key(recovery.org), fields | {"central": nothing, "high": nothing, "record": record}
        )
        for one in recovery.unexplained:
            self._seen.get(recovery.org, {}).pop(one.hold, None)
