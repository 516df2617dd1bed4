"""Whether acting on a signal of some age has paid: a rule is followed only where its own record supports it.

For each age that matters, the past is replayed: what would the rule have chosen from what was known that many
hours before, and what did it then cost against the fixed choice? The older the signal, the more the record
must show; beyond 6 hours nothing is acted on, because no such record held up on other zones and years. Pure:
it knows costs per hour, not where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.routing.seat import Seat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WEEK = 7 * 24
AGES = (1, 2, 6)
"""The ages, in hours, at which records are kept; a signal is judged by the next older one."""
LIVE_AGE = 1
SLACK = 0.002
"""How much worse than the fixed choice the record of a live signal may be, as a share of its cost: where two
zones are nearly equal, a few bad hours say nothing about the weeks to come."""
LATE_AGE, LATE_NEED = 2, 0.03
LATE_HOURS = (48, WEEK, 4 * WEEK)
"""Readings of this age must have been so much better in each of these last hours: what begins to lose is left
before it costs more than it has saved."""
NEED = 0.1
"""How much better than the fixed choice the record of an older signal must be, as a share of its cost."""
NEEDED_OVER_WEEKS = (1, 2, 4)


@dataclass(slots=True)
class Account:
    """The record of one age: cumulated cost of the rule less that of the fixed choice, and of the latter.

    `silent` counts the hours without a value before the next one.
    """

    age: int
    fixed: int
    next_hour: int
    seat: Seat
    silent: int = 0
    ahead: list[float] = field(default_factory=lambda: [0.0])
    spent: list[float] = field(default_factory=lambda: [0.0])

    def learn(
        self,
        until: int,
        expected: Callable[[int, int], Sequence[float] | None],
        actual: Callable[[int], Sequence[float] | None],
        min_gain: float,
    ) -> None:
        """Replays the hours up to and including `until`."""
        for hour in range(self.next_hour, until + 1):
            turned_out = actual(hour)
            if turned_out is None:
                self.silent += 1
                continue
            if self.silent >= WEEK:
                self.ahead, self.spent = [0.0], [0.0]  # what held before a long silence proves nothing
            self.silent = 0
            costs = expected(hour, self.age)
            if costs is not None:
                self.seat.decide(hour, costs, min_gain)
            leader = self.fixed if self.seat.place is None else self.seat.place
            fixed = turned_out[self.fixed]
            self.ahead.append(self.ahead[-1] + turned_out[leader] - fixed)
            self.spent.append(self.spent[-1] + fixed)
        self.next_hour = max(self.next_hour, until + 1)

    @property
    def known(self) -> int:
        """How many hours the record has."""
        return len(self.ahead) - 1

    def better_by(self, need: float, hours: int) -> bool:
        """Whether the rule beat the fixed choice by a share of its cost over the last hours known."""
        start = max(0, len(self.ahead) - 1 - hours)
        return self.ahead[-1] - self.ahead[start] <= -need * (self.spent[-1] - self.spent[start])


@dataclass(slots=True)
class Proof:
    """The records of one group of candidates, of which `fixed` is the best fixed choice."""

    fixed: int
    first_hour: int
    min_gain: float
    accounts: dict[int, Account] = field(default_factory=dict)

    def supports(
        self,
        age: int,
        newest: int,
        expected: Callable[[int, int], Sequence[float] | None],
        actual: Callable[[int], Sequence[float] | None],
    ) -> bool:
        """Whether to act on signals that are `age` hours old, the newest hour known being `newest`."""
        judged = next((one for one in AGES if one >= age), None)
        if judged is None:
            return False
        account = self.accounts.get(judged)
        if account is None:
            account = Account(judged, self.fixed, self.first_hour, Seat(self.fixed))
            self.accounts[judged] = account
        account.learn(newest, expected, actual, self.min_gain)
        if judged <= LIVE_AGE:
            return account.better_by(-SLACK, 4 * WEEK)
        if judged <= LATE_AGE:
            return account.known >= WEEK and all(account.better_by(LATE_NEED, hours) for hours in LATE_HOURS)
        return account.known >= 4 * WEEK and all(
            account.better_by(NEED, weeks * WEEK) for weeks in NEEDED_OVER_WEEKS
        )
