"""What the ledger answers: holds, refusals, settlements and balances.

Invariant: all amounts are ledger integers, and a `Counter` in an answer that was admitted has the bucket in
force as its `current`. Refuses to know Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateway.budgets.amounts import Amounts, Charge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.budgets.amounts import Dimension
    from gateway.budgets.counter import Bucket, Counter, Shortfall

Kind = Literal["commit", "late", "orphan", "release", "expire"]


@dataclass(frozen=True, slots=True)
class Room:
    """What a counter still allows in a limited dimension: `limit - spent - held`, never below 0."""

    counter: Counter
    dimension: Dimension
    limit: int
    available: int


@dataclass(frozen=True, slots=True)
class Held:
    """A hold was made for `candidates[candidate]`.

    `counters` are the ones that were asked for, each with the bucket that was charged as `current`: pass
    them to `settle` and `release`. `available` is what they allow after this hold. `replay` tells that an
    earlier call with the same id made the hold; the answer is the same, but for `exceeded`: for these rows
    the candidate would have been refused, were all counters enforced. `earlier` is the hold that had the
    request's claim before.
    """

    candidate: int
    counters: tuple[Counter, ...]
    available: tuple[Room, ...]
    replay: bool
    exceeded: tuple[Shortfall, ...] = ()
    earlier: str | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """No candidate fits; nothing was changed. One row per candidate, counter and dimension that failed."""

    rows: tuple[Shortfall, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """How a hold ended.

    `charge` is the whole charge of the request, `reserved` what was held for it. `duplicate` means that it
    had ended before, `first` how; then `charge` is what was posted that time.
    """

    kind: Literal["commit", "late", "orphan", "release", "duplicate"]
    first: Kind
    charge: Charge
    reserved: Charge

    @property
    def overrun(self) -> Charge:
        """What the charge exceeds the hold by; zero in every dimension when the hold covered it."""

        def beyond(charge: Amounts, reserved: Amounts) -> Amounts:
            pairs = zip(charge.vector(), reserved.vector(), strict=True)
            return Amounts.of([max(0, taken - held) for taken, held in pairs])

        return Charge(
            central=beyond(self.charge.central, self.reserved.central),
            high=beyond(self.charge.high, self.reserved.high),
        )


@dataclass(frozen=True, slots=True)
class Balance:
    """What is spent and held in the bucket in force, by the counter's bound; every dimension is present.

    `unpriced` counts the charges and holds in it whose cost nobody knows: their cost is in no sum. Of a
    rolling window everything counts that has not left it; `trail` is what was used of it in earlier buckets,
    the oldest first.
    """

    counter: Counter
    bucket: Bucket
    used: Mapping[Dimension, int]
    held: Mapping[Dimension, int]
    unpriced: int = 0
    trail: tuple[Mapping[Dimension, int], ...] = ()

    def frees_at(self, dimension: Dimension, over: int) -> int:
        """When `over` of what is used will have left the window, were nothing added to it (ms)."""
        for number, earlier in enumerate(self.trail, start=1):
            over -= earlier[dimension]
            if over <= 0:
                return self.bucket.start_ms + number * (self.bucket.end_ms - self.bucket.start_ms)
        return self.counter.until(self.bucket)
