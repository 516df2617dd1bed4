"""What budgets would have said to requests of the past, taken in the order of their time.

Pure: matching and windows are those of the gateway, amounts are the recorded ones, and counters live here and
end with the report. A request that an enforced budget has no room for spends nothing, in any budget. Memory
grows with the counters of one window, not with requests. Refuses to know where requests are recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args
from zoneinfo import ZoneInfo

from gateway.budgets.amounts import Dimension
from gateway.budgets.matching import counters_for, shown_scope
from gateway.budgets.windows import current_and_next, moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from gateway.budgets.amounts import Charge
    from gateway.budgets.counter import Bucket
    from gateway.budgets.matching import MatchedBudget
    from gateway.budgets.policy import Budget, PolicySet
    from gateway.budgets.windows import Window
    from gateway.identity.subject import Subject

CANNOT_KNOW = (
    "what requests in progress held: each is compared with what was settled before it, so no burst is seen",
    "when a request was admitted: it counts in the window of its recorded time, which is that of its end",
    "what a ladder or another deployment would have changed: `changeable_by` says which ones there are",
    "raises, and whether clients would have asked again, or for less",
    "what refused requests would really have taken: they are replayed with the estimate of their record",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the past. `refused` tells that it was not admitted; its charge then is the estimate, and
    `deployment` the one that would have been asked first."""

    at_ms: int
    subject: Subject
    model: str
    route: str
    deployment: str
    charge: Charge
    refused: bool = False


@dataclass(slots=True)
class Tally:
    """What a budget, or one of its counters over all windows, has said so far."""

    admitted: int = 0
    refused: int = 0
    first_refusal_ms: int | None = None
    peak: dict[Dimension, float] = field(default_factory=dict)

    def note(self, at_ms: int, *, fits: bool, shares: Mapping[Dimension, float]) -> None:
        if fits:
            self.admitted += 1
        else:
            self.refused += 1
            if self.first_refusal_ms is None:
                self.first_refusal_ms = at_ms
        for dimension, share in shares.items():
            self.peak[dimension] = max(share, self.peak.get(dimension, 0.0))


Way = Literal["downgrade", "reroute", "both"]
"""What budgets try where there is no room: lighter, elsewhere, or each of them and both together."""

Spent = dict[Dimension, int]
"""What a counter spent in one bucket."""


class Replay:
    """`take` requests, the oldest first; then ask for the `report`."""

    def __init__(self, policies: PolicySet) -> None:
        self._policies = policies
        self._spent: dict[tuple[str, str], dict[int, Spent]] = {}
        self._budgets = {budget.name: Tally() for budget in policies.budgets}
        self._scopes: dict[str, dict[tuple[str, str], tuple[dict[str, str], Tally]]] = {
            budget.name: {} for budget in policies.budgets
        }
        self._windows: dict[tuple[Window, str], tuple[Bucket, Bucket]] = {}
        self._counts = dict.fromkeys(
            ("requests", "admitted", "refused", "newly_refused", "newly_admitted", "changeable"), 0
        )
        self._changeable_by: dict[Way, int] = dict.fromkeys(get_args(Way), 0)

    def take(self, asked: Asked) -> None:
        """One request, not older than those before."""
        matched = counters_for(
            self._policies,
            asked.subject,
            model=asked.model,
            route=asked.route,
            deployment=asked.deployment,
            now=moment(asked.at_ms),
            buckets=self._bucket,
        )
        without_room = {match.counter.id for match in matched if not self._fits(match, asked)}
        refusing = [match for match in matched if match.counter.enforced and match.counter.id in without_room]
        for match in matched:
            self._note(match, asked, fits=match.counter.id not in without_room, spends=not refusing)
        self._count(asked, matched, refused=bool(refusing))

    def report(self, *, top: int) -> dict[str, Any]:
        """Totals, a line per budget with its `top` scopes that were refused most, and what is not known."""
        return {
            **self._counts,
            "changeable_by": dict(self._changeable_by),
            "budgets": [self._line(budget, top) for budget in self._policies.budgets],
            "cannot_know": list(CANNOT_KNOW),
        }

    def _bucket(self, window: Window, zone: str, now: datetime) -> tuple[Bucket, Bucket] | None:
        """The windows of a moment; those of the moment before, while they last."""
        known = self._windows.get((window, zone))
        now_ms = int(now.timestamp() * 1000)
        if known is not None and known[0].start_ms <= now_ms < known[0].end_ms:
            return known
        found = current_and_next(window, zone, now)
        if found is not None:
            self._windows[window, zone] = found
        return found

    def _counter(self, match: MatchedBudget, org: str) -> tuple[Spent, Spent]:
        """What counts now, in the whole window and in the bucket that takes the charge."""
        counter = match.counter
        buckets = self._spent.setdefault((org, counter.id), {})
        if counter.current.start_ms not in buckets:
            first_ms = counter.window(counter.current).start_ms
            for start_ms in [start_ms for start_ms in buckets if start_ms < first_ms]:
                del buckets[start_ms]
            buckets[counter.current.start_ms] = {}
        total: Spent = {}
        for spent in buckets.values():
            for dimension, amount in spent.items():
                total[dimension] = total.get(dimension, 0) + amount
        return total, buckets[counter.current.start_ms]

    def _fits(self, match: MatchedBudget, asked: Asked) -> bool:
        spent, _ = self._counter(match, asked.subject.org)
        amounts = asked.charge.of(match.counter.bound).known()
        return all(
            (amount := amounts.get(dimension)) is not None
            and (amount == 0 or spent.get(dimension, 0) + amount <= limit)
            for dimension, limit in match.counter.limits.items()
        )

    def _note(self, match: MatchedBudget, asked: Asked, *, fits: bool, spends: bool) -> None:
        org, counter = asked.subject.org, match.counter
        spent, bucket = self._counter(match, org)
        if spends:
            for dimension, amount in asked.charge.of(counter.bound).known().items():
                bucket[dimension] = bucket.get(dimension, 0) + amount
                spent[dimension] = spent.get(dimension, 0) + amount
        shares = {
            dimension: spent.get(dimension, 0) / limit for dimension, limit in counter.limits.items() if limit
        }
        _, tally = self._scopes[match.budget.name].setdefault(
            (org, counter.id), ({"org": org, **shown_scope(counter.scope)}, Tally())
        )
        for one in (self._budgets[match.budget.name], tally):
            one.note(asked.at_ms, fits=fits, shares=shares)

    def _count(self, asked: Asked, matched: list[MatchedBudget], *, refused: bool) -> None:
        counts = self._counts
        counts["requests"] += 1
        counts["refused" if refused else "admitted"] += 1
        if refused and not asked.refused:
            counts["newly_refused"] += 1
        if asked.refused and not refused:
            counts["newly_admitted"] += 1
        way = _way(matched)
        if refused and way is not None:
            counts["changeable"] += 1
            self._changeable_by[way] += 1

    def _line(self, budget: Budget, top: int) -> dict[str, Any]:
        zone = ZoneInfo(budget.timezone)
        scopes = sorted(self._scopes[budget.name].values(), key=_by_refusals)
        return {
            "policy": budget.name,
            "mode": budget.mode,
            **_shown(self._budgets[budget.name], zone),
            "scopes": len(scopes),
            "top": [{"scope": scope, **_shown(tally, zone)} for scope, tally in scopes[:top]],
        }


def _way(matched: list[MatchedBudget]) -> Way | None:
    """As when a request is admitted: whichever of the budgets has no room."""
    enforced = [match.budget for match in matched if match.counter.enforced]
    lighter, elsewhere = any(one.downgrade for one in enforced), any(one.reroute for one in enforced)
    if lighter and elsewhere:
        return "both"
    return "downgrade" if lighter else "reroute" if elsewhere else None


def _by_refusals(entry: tuple[dict[str, str], Tally]) -> tuple[float, ...]:
    tally = entry[1]
    return (-tally.refused, -max(tally.peak.values(), default=0.0))


def _shown(tally: Tally, zone: ZoneInfo) -> dict[str, Any]:
    first = tally.first_refusal_ms
    return {
        "admitted": tally.admitted,
        "refused": tally.refused,
        "first_refusal": None
        if first is None
        else moment(first).astimezone(zone).isoformat(timespec="seconds"),
        "peak_share": {dimension.value: round(share, 6) for dimension, share in tally.peak.items()},
    }
