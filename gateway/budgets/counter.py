"""What the ledger counts: one counter per budget and scope, in one window at a time.

Knows shapes only: the policy side builds them, the ledger checks and changes them, the refusal explains them.
All amounts are ledger integers. Refuses to know files, clocks and Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.budgets.amounts import MAX_STORED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.budgets.amounts import Bound, Dimension

OVER = "over"


@dataclass(frozen=True, slots=True)
class Bucket:
    """One instance of a window, in milliseconds of UTC since 1970: start included, end excluded."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Mark:
    """An amount of a dimension at which an alert is due; `name` is a percentage or a word of its own."""

    dimension: Dimension
    name: str
    limit: int
    amount: int


@dataclass(frozen=True, slots=True)
class Counter:
    """What one budget allows one scope in the current window and in the next.

    `id` is `<budget>|<scope as compact sorted JSON>` and never changes while both stay the same. `scope` is
    empty for a budget that everyone shares. A dimension that is absent from `limits` has no limit; 0 allows
    nothing. What is not `enforced` is counted and compared, but refuses nothing. `alert_at` are
    percentages of which its owners want to hear; None where nobody does. In a rolling window as many
    buckets as `trail` says, each as long as the current one, count with it.
    """

    id: str
    budget: str
    scope: Mapping[str, str]
    bound: Bound
    limits: Mapping[Dimension, int]
    current: Bucket
    next: Bucket
    enforced: bool = True
    alert_at: tuple[int, ...] | None = None
    trail: int = 0

    def starts(self) -> list[int]:
        """Where the buckets start that a call may need (ms): the trail, the current one, the next one."""
        return [*self.trailing(self.current), self.next.start_ms]

    def trailing(self, bucket: Bucket) -> list[int]:
        """Where the buckets start that count while `bucket` is in force (ms), itself last."""
        width_ms = bucket.end_ms - bucket.start_ms
        return [bucket.start_ms - back * width_ms for back in range(self.trail, -1, -1)]

    def window(self, bucket: Bucket) -> Bucket:
        """What counts while `bucket` is in force."""
        return Bucket(bucket.start_ms - self.rolls_ms(bucket), bucket.end_ms)

    def until(self, bucket: Bucket) -> int:
        """Until when a charge in `bucket` counts (ms)."""
        return bucket.end_ms + self.rolls_ms(bucket)

    def rolls_ms(self, bucket: Bucket) -> int:
        """The length of a rolling window; 0 of any other."""
        return self.trail * (bucket.end_ms - bucket.start_ms)

    def marks(self) -> list[Mark]:
        """Where alerts are due: at percentages of limits, and past a limit that is not enforced."""
        if self.alert_at is None:
            return []
        marks = [
            Mark(dimension, str(percent), limit, -(-limit * percent // 100))
            for dimension, limit in self.limits.items()
            for percent in self.alert_at
        ]
        if not self.enforced:
            marks += [Mark(dimension, OVER, limit, limit + 1) for dimension, limit in self.limits.items()]
        return [mark for mark in marks if 0 < mark.amount <= MAX_STORED]


@dataclass(frozen=True, slots=True)
class Shortfall:
    """One reason why one candidate did not fit: `used + held + requested > limit` in one dimension.

    `requested` is None where cost is limited and nobody knows what the request costs. `resets_ms` is when
    enough of what is used will count no more.
    """

    candidate: int
    counter: Counter
    bucket: Bucket
    dimension: Dimension
    limit: int
    used: int
    held: int
    requested: int | None
    resets_ms: int
