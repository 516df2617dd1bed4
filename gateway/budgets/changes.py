"""Which budgets begin at zero in the middle of a window because of how their policies changed.

Pure. A counter is a budget's name, a scope and the moment at which its window begins; whatever changes one of
these changes the counter. Refuses to know amounts: they stay in the account, and count in no budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from gateway.budgets.windows import current_and_next, moment

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.budgets.counter import Bucket
    from gateway.budgets.policy import Budget, PolicySet


@dataclass(frozen=True, slots=True)
class Restart:
    """A budget that counts from zero, though its window `began` earlier (local time of its zone).

    Where it or its forerunner rolls, `parts` that begin at the same moments count on.
    """

    budget: str
    file: str
    line: int
    why: str
    began: str
    parts: bool

    def __str__(self) -> str:
        but = ", but for parts of windows that begin at the same moments," if self.parts else ","
        return (
            f"{self.file}:{self.line}: budget '{self.budget}' starts at zero{but} because {self.why}:"
            f" what was used since {self.began} stays in usage, but does not count here"
        )


def restarts(before: PolicySet, after: PolicySet, now: datetime) -> list[Restart]:
    """The budgets of `after` that would count from zero at `now` (aware) where `before` was in force."""
    known = {budget.name: budget for budget in before.budgets}
    gone = [budget for budget in before.budgets if budget.name not in {one.name for one in after.budgets}]
    found = []
    for budget in after.budgets:
        buckets = current_and_next(budget.window, budget.timezone, now)
        if buckets is None or moment(_began_ms(budget, buckets[0])) >= now:
            continue
        why = (
            _why(known[budget.name], budget, buckets[0], now)
            if budget.name in known
            else next((f"'{old.name}' has become it" for old in gone if _alike(old, budget)), None)
        )
        if why is not None:
            began = moment(_began_ms(budget, buckets[0])).astimezone(ZoneInfo(budget.timezone))
            since = began.isoformat(timespec="seconds")
            old = known.get(budget.name, budget)
            parts = old.window != budget.window and bool(old.window.trail or budget.window.trail)
            found.append(Restart(budget.name, budget.file, budget.line, why, since, parts))
    return found


def _why(before: Budget, after: Budget, bucket: Bucket, now: datetime) -> str | None:
    if set(before.per) != set(after.per):
        return "its 'per' changed"
    if before.window == after.window and (before.timezone == after.timezone or after.window.trail):
        return None
    buckets = current_and_next(before.window, before.timezone, now)
    same = buckets is not None and buckets[0].start_ms == bucket.start_ms
    if same and before.window.trail == after.window.trail == 0:
        return None
    return "its window changed" if before.window != after.window else "its time zone changed"


def _alike(old: Budget, new: Budget) -> bool:
    """Whether nothing but its name, and perhaps its limits, tells one from the other."""
    return (old.match, set(old.per), old.window, old.timezone) == (
        new.match,
        set(new.per),
        new.window,
        new.timezone,
    )


def _began_ms(budget: Budget, bucket: Bucket) -> int:
    return bucket.start_ms - budget.window.trail * (bucket.end_ms - bucket.start_ms)
