"""Whether acting on a signal of some age has paid: a rule is followed only where its own record supports it.

For each age that matters, the past is replayed: what would the rule have chosen from what was known that many
hours before, and what did it then cost against the fixed choice? The older the signal, the more the record
must show; beyond 6 hours nothing is acted on, because no such record held up on other zones and years. Pure:
it knows costs per hour, not where they come from.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.routing.seat import Seat

WEEK = 7 * 24
AGES = (1, 2, 6)
"""The ages, in hours, at which records are kept; a signal is judged by the next older one."""
LIVE_AGE = 1
SLACK = 0.002
"""How much worse than the fixed choice the record of a live signal may be, as a share of its cost: where two
zones are nearly equal, a few bad hours say nothing about the weeks to come."""
LIVE_HOURS = (WEEK, 4 * WEEK)
"""In each of these last hours; what older weeks have saved is no licence to lose for long."""
LATE_AGE, LATE_NEED = 2, 0.03
LATE_HOURS = (48, WEEK, 4 * WEEK)
"""Readings of this age must have been so much better in each of these last hours: what begins to lose is left
before it costs more than it has saved."""
NEED = 0.1
"""How much better than the fixed choice the record of an older signal must be, as a share of its cost."""
NEEDED_OVER_WEEKS = (1, 2, 4)
KEPT = 4 * WEEK

Expected = Callable[[int, int], Sequence[float]]
"""The costs per option in an hour as readings of an age let one expect them, infinite without a reading."""
TurnedOut = Callable[[int, int], float | None]
"""The cost of one option in an hour as it turned out, None while nobody knows."""


def judged_at(age: int) -> int | None:
    """The age by whose record readings are judged: the next older one of `AGES`; None for what is too old."""
    return next((one for one in AGES if one >= age), None)


@dataclass(slots=True)
class Account:
    """The record of one age: what the rule cost more than the fixed choice in each hour, and what that cost.

    `open` has who led in the hours whose outcome is not known yet: an hour that arrives late counts like any
    other, with the leader that was chosen without it.
    """

    age: int
    fixed: int
    next_hour: int
    seat: Seat
    open: dict[int, int] = field(default_factory=dict)
    hours: list[int] = field(default_factory=list)
    extra: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)

    def learn(self, until: int, expected: Expected, turned_out: TurnedOut, min_gain: float) -> None:
        """Replays the hours up to and including `until`, after those that have arrived late."""
        for hour in list(self.open):
            self._settle(hour, turned_out)
        for hour in range(self.next_hour, until + 1):
            self.open[hour] = self._leader(hour, expected(hour, self.age), min_gain)
            self._settle(hour, turned_out)
        self.next_hour = max(self.next_hour, until + 1)
        self.open = {hour: leader for hour, leader in self.open.items() if hour > until - WEEK}

    def _leader(self, hour: int, costs: Sequence[float], min_gain: float) -> int:
        if costs[self.fixed] == math.inf:
            return self.seat.take(self.fixed)
        if self.seat.place is not None and costs[self.seat.place] == math.inf:
            self.seat.take(self.fixed)
        return self.seat.decide(hour, costs, min_gain)

    def _settle(self, hour: int, turned_out: TurnedOut) -> None:
        fixed, mine = turned_out(hour, self.fixed), turned_out(hour, self.open[hour])
        if fixed is None or mine is None:
            return
        del self.open[hour]
        if self.hours and hour - self.hours[-1] > WEEK:
            self.hours, self.extra, self.spent = [], [], []  # what held before a long silence proves nothing
        at = bisect(self.hours, hour)
        self.hours.insert(at, hour)
        self.extra.insert(at, mine - fixed)
        self.spent.insert(at, fixed)
        if len(self.hours) > KEPT:
            del self.hours[0], self.extra[0], self.spent[0]

    @property
    def known(self) -> int:
        """How many hours the record has."""
        return len(self.hours)

    def better_by(self, need: float, hours: int) -> bool:
        """Whether the rule beat the fixed choice by a share of its cost over the last hours known."""
        return sum(self.extra[-hours:]) <= -need * sum(self.spent[-hours:])


@dataclass(slots=True)
class Proof:
    """The records of one group of candidates, of which `fixed` is the best fixed choice."""

    fixed: int
    first_hour: int
    min_gain: float
    accounts: dict[int, Account] = field(default_factory=dict)

    def account(self, age: int) -> Account:
        """The record of an age of `AGES`."""
        account = self.accounts.get(age)
        if account is None:
            account = Account(age, self.fixed, self.first_hour, Seat(self.fixed))
            self.accounts[age] = account
        return account

    def supports(self, age: int, until: int, expected: Expected, turned_out: TurnedOut) -> bool:
        """Whether to act on signals of an age of `AGES`, by the record up to an hour."""
        account = self.account(age)
        account.learn(until, expected, turned_out, self.min_gain)
        if age <= LIVE_AGE:
            return all(account.better_by(-SLACK, hours) for hours in LIVE_HOURS)
        if age <= LATE_AGE:
            return account.known >= WEEK and all(account.better_by(LATE_NEED, hours) for hours in LATE_HOURS)
        return account.known >= 4 * WEEK and all(
            account.better_by(NEED, weeks * WEEK) for weeks in NEEDED_OVER_WEEKS
        )
