"""Where a model group stands: who leads it, and whether readings of the grid decide that.

A running gateway and the simulation decide by this same code. Each zone is trusted by the age of its own
readings: zones whose readings are too old to act on cannot lead, the others race as far as that has paid.
Where nobody knows how the best fixed choice fares, it leads. Refuses to know clocks, networks and stores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.routing.ladder import from_readings
from gateway.routing.proof import Proof, judged_at
from gateway.routing.seat import Seat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.routing.readings import Series

ML_PER_L = 1000.0
TOO_OLD = "the newest reading of its zone is too old to go by"
PIECE_H = 12
"""How many hours of one record are replayed before others get their turn."""


@dataclass(frozen=True, slots=True)
class Option:
    """A deployment as signals see it: one usual image there is `other_g` plus `energy_kwh` times the grid's
    carbon, and `onsite_ml` plus `energy_kwh` times its water.

    What the objective minimises is `per_g` for each of these grams plus `per_ml` for each of these mL plus
    `beside`, which no signal changes. `fixed_g_per_kwh` is the mean of the zone's history or, without one,
    its yearly factor, `fixed_l_per_kwh` the same of water.
    """

    deployment: str
    zone: str | None
    other_g: float
    energy_kwh: float
    fixed_g_per_kwh: float
    per_g: float = 1.0
    beside: float = 0.0
    onsite_ml: float = 0.0
    fixed_l_per_kwh: float = 0.0
    per_ml: float = 0.0

    def score(self, g_per_kwh: float, l_per_kwh: float = 0.0) -> float:
        """The objective of one usual image at intensities of the grid."""
        carbon_g = self.other_g + self.energy_kwh * g_per_kwh
        return self.objective(carbon_g, self.onsite_ml + self.energy_kwh * l_per_kwh * ML_PER_L)

    def objective(self, carbon_g: float, water_ml: float) -> float:
        """What is minimised, for one usual image with these amounts."""
        return self.beside + self.per_g * carbon_g + self.per_ml * water_ml

    @property
    def fixed_score(self) -> float:
        """The objective of one usual image by what is known in the long run."""
        return self.score(self.fixed_g_per_kwh, self.fixed_l_per_kwh)


@dataclass(frozen=True, slots=True)
class Known:
    """Readings by zone that bear on the order: carbon in g/kWh, water in L/kWh.

    `apart` says whether zones can be judged apart: yearly factors are life-cycle averages, so that a zone
    without a reading of another kind cannot stand beside those that have one.
    """

    carbon: Mapping[str, Series]
    water: Mapping[str, Series] = field(default_factory=dict)
    apart: bool = True


@dataclass(slots=True)
class Standing:
    """A group's leader (`seat`), whether the order goes by signals (`acts`), and who cannot lead meanwhile:
    `silent` has the deployments whose readings are too old to act on."""

    options: Sequence[Option]
    proof: Proof | None = None
    acts: bool = False
    silent: frozenset[str] = frozenset()
    seat: Seat = field(default_factory=Seat)

    @property
    def fixed(self) -> int:
        """The place of the best fixed choice."""
        scores = [option.fixed_score for option in self.options]
        return min(range(len(scores)), key=scores.__getitem__)

    @property
    def incumbent(self) -> str | None:
        """The deployment that leads, None before the first refresh."""
        return None if self.seat.place is None else self.options[self.seat.place].deployment

    def learning(self, hour: int, known: Known, min_gain: float) -> Iterator[None]:
        """Replays what `refresh` will need of the past, in pieces, so that others get their turn between."""
        race = self._race(hour, known, min_gain)
        if race is None:
            return
        for age, until in race.judgements():
            account = race.proof.account(age)
            while account.next_hour <= until:
                piece = min(until, account.next_hour + PIECE_H - 1)
                account.learn(piece, race.expected, race.turned_out, min_gain)
                yield

    def refresh(self, hour: int, known: Known, min_gain: float) -> None:
        """Decides about an hour; to be called when readings or the hour have changed."""
        race = self._race(hour, known, min_gain)
        costs = None if race is None else race.supported()
        if costs is None:
            self.seat.take(self.fixed)
            self.acts, self.silent = False, frozenset()
            return
        if self.seat.place is not None and costs[self.seat.place] == math.inf:
            self.seat.take(self.fixed)
        self.seat.decide(hour, costs, min_gain)
        stale = [
            option.deployment for option, cost in zip(self.options, costs, strict=True) if cost == math.inf
        ]
        self.acts, self.silent = True, frozenset(stale)

    def _race(self, hour: int, known: Known, min_gain: float) -> _Race | None:
        """What readings say about an hour, None where they say nothing that bears on the order."""
        runners = [_Runner.of(option, known) for option in self.options]
        series = [one for runner in runners for one in runner.all if one.hours]
        if not series or (not known.apart and not all(runner.all for runner in runners)):
            return None
        if self.proof is None:
            self.proof = Proof(self.fixed, min(min(one.hours) for one in series), min_gain)
        return _Race(hour, runners, self.proof, apart=known.apart)


@dataclass(frozen=True, slots=True)
class _Runner:
    """An option with the readings that bear on its place in the order."""

    option: Option
    carbon: Series | None
    water: Series | None

    @classmethod
    def of(cls, option: Option, known: Known) -> _Runner:
        zone = option.zone or ""
        return cls(
            option,
            known.carbon.get(zone) if option.per_g else None,
            known.water.get(zone) if option.per_ml else None,
        )

    @property
    def all(self) -> list[Series]:
        return [series for series in (self.carbon, self.water) if series is not None]

    def newest(self) -> int | None:
        """The last hour that all its readings reach; None where one has none."""
        newest = [series.newest for series in self.all]
        return None if None in newest else min(hour for hour in newest if hour is not None)

    def cost(self, hour: int, age: int) -> float | None:
        """The objective in an hour by readings of exactly this age; None where one is missing."""
        option, carbon, water = self.option, self.carbon, self.water
        g, litres = option.fixed_g_per_kwh, option.fixed_l_per_kwh
        if carbon is not None:
            read = from_readings(carbon, hour, age)
            if read is None:
                return None
            g = read
        if water is not None:
            read = from_readings(water, hour, age)
            if read is None:
                return None
            litres = read
        return option.score(g, litres)


@dataclass(frozen=True, slots=True)
class _Race:
    """The options at one hour."""

    hour: int
    runners: Sequence[_Runner]
    proof: Proof
    apart: bool

    def judgements(self) -> Iterator[tuple[int, int]]:
        """The ages to judge the race by, the oldest first, and the last hour that its readings reach.

        The older the readings that may take part, the more zones race. Without a reading of the best fixed
        choice there is none.
        """
        newest = [runner.newest() for runner in self.runners if runner.all]
        ages = [None if one is None else judged_at(self.hour - one) for one in newest]
        for age in sorted({age for age in ages if age is not None}, reverse=True):
            reach = [hour for hour, own in zip(newest, ages, strict=True) if own is not None and own <= age]
            if (self.apart or len(reach) == len(newest)) and self.costs(age)[self.proof.fixed] < math.inf:
                yield age, min(hour for hour in reach if hour is not None)

    def supported(self) -> list[float] | None:
        """The objective per option by the readings that may be acted on; None where none may."""
        for age, until in self.judgements():
            if self.proof.supports(age, until, self.expected, self.turned_out):
                return self.costs(age)
        return None

    def costs(self, age: int) -> list[float]:
        """The objective per option by its newest readings; infinite for those that are older than `age`."""
        costs = []
        for runner in self.runners:
            newest = runner.newest() if runner.all else self.hour
            own = age + 1 if newest is None else max(0, self.hour - newest)
            cost = runner.cost(self.hour, own) if own <= age else None
            costs.append(math.inf if cost is None else cost)
        return costs

    def expected(self, hour: int, age: int) -> list[float]:
        """The objective per option by readings of an age; infinite for those without."""
        costs = [runner.cost(hour, age) for runner in self.runners]
        return [math.inf if cost is None else cost for cost in costs]

    def turned_out(self, hour: int, place: int) -> float | None:
        """The objective of one option by the readings of an hour itself."""
        return self.runners[place].cost(hour, 0)
