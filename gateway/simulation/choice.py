"""Which deployment each strategy asks first, hour by hour.

`Policy` sees only what a gateway would have known: readings up to the signal's age, the history before the
trace, yearly factors. It decides through the same proof and the same ranking as the gateway. `Hindsight` sees
everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.routing.ladder import from_readings
from gateway.routing.proof import Proof
from gateway.routing.rank import Candidate, rank
from gateway.routing.readings import KEPT_HOURS, SECONDS_PER_HOUR, Series
from gateway.routing.seat import Seat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.routing.signal_file import Trace
    from gateway.simulation.options import Actual, Option
    from gateway.upstreams.rules import Rules

STALE_H = 48


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which no reading arrives, in seconds of UTC since 1970."""

    start: float
    end: float


@dataclass(slots=True)
class Costs:
    """Grams, litres and the objective's score of one image per option and hour, as they turned out."""

    options: Sequence[Option]
    rules: Rules
    carbon: Actual
    water: Actual
    means: list[tuple[float, float]]
    _carbon_mean: float = field(init=False)
    _water_mean: float = field(init=False)

    def __post_init__(self) -> None:
        self._carbon_mean = sum(carbon for carbon, _ in self.means) / len(self.means)
        self._water_mean = sum(water for _, water in self.means) / len(self.means)

    def amounts(self, at: int, hour: int) -> tuple[float, float]:
        """Grams of CO2e and mL of one image at one option in an hour."""
        option = self.options[at]
        g = self.carbon.at(option.zone, hour)
        litres = self.water.at(option.zone, hour)
        return (
            option.carbon_g(option.g_per_kwh if g is None else g),
            option.water_ml(option.l_per_kwh if litres is None else litres),
        )

    def score(self, carbon_g: float, water_ml: float) -> float:
        """What the objective minimises; the same as the ranking's but for prices."""
        if self.rules.objective == "water":
            return water_ml
        if self.rules.objective == "weighted":
            weights = self.rules.weights
            return weights.carbon * carbon_g / self._carbon_mean + weights.water * water_ml / self._water_mean
        return carbon_g

    def actual(self, hour: int) -> list[float]:
        """The objective per option."""
        return [self.score(*self.amounts(at, hour)) for at in range(len(self.options))]

    def fixed_order(self) -> list[int]:
        """The options by what the history (or, without one, yearly factors) lets one know."""
        scores = [self.score(carbon, water) for carbon, water in self.means]
        return sorted(range(len(scores)), key=scores.__getitem__)


def means_of(options: Sequence[Option], history: Trace | None) -> list[tuple[float, float]]:
    """Mean grams and mL of one image per option over the history, else at yearly factors."""
    means = []
    for option in options:
        carbon = history.carbon.get(option.zone or "") if history is not None else None
        water = history.water.get(option.zone or "") if history is not None else None
        means.append(
            (
                option.careful_g or option.carbon_g(_mean(carbon) if carbon else option.g_per_kwh),
                option.water_ml(_mean(water) if water else option.l_per_kwh),
            )
        )
    return means


@dataclass(slots=True)
class Policy:
    """The gateway's own choice, with what it could know at the time."""

    costs: Costs
    carbon: Mapping[str, Series]
    water: Mapping[str, Series]
    age_s: float
    outage: Outage | None
    proof: Proof
    seat: Seat = field(default_factory=Seat)
    switches: int = 0
    acted_hours: int = 0
    hours: int = 0

    def order(self, at: float) -> list[int]:
        """The options in the order in which they are asked at a moment (seconds of UTC since 1970)."""
        hour = int(at // SECONDS_PER_HOUR)
        heard = at
        if self.outage is not None and self.outage.start <= at < self.outage.end:
            heard = self.outage.start
        newest = int((heard - self.age_s) // SECONDS_PER_HOUR)
        known = self._newest_known(newest)
        age = None if known is None else max(0, hour - known)
        acts = (
            age is not None
            and known is not None
            and self.proof.supports(age, known, self._expected, self._turned_out)
        )
        before = self.seat.place
        expected = self._expected(hour, age) if acts and age is not None else None
        if expected is not None:
            self.seat.decide(hour, expected, self.costs.rules.min_gain)
        else:
            self.seat.take(self.proof.fixed)
        options = self.costs.options
        candidates = [self._candidate(place, hour, age, acts=acts) for place in range(len(options))]
        leads = None if self.seat.place is None else options[self.seat.place].deployment.id
        ranking = rank(candidates, self.costs.rules, incumbent=leads)
        self.switches += before is not None and before != self.seat.place
        self.hours += 1
        self.acted_hours += acts
        places = {option.deployment.id: place for place, option in enumerate(options)}
        return [places[route.deployment.id] for route in ranking.routes if not route.rejected]

    def _candidate(self, place: int, hour: int, age: int | None, *, acts: bool) -> Candidate:
        option = self.costs.options[place]
        carbon, water = self.costs.means[place]
        fixed = option.footprint(carbon, water)
        if acts and age is not None:
            carbon, water = self._amounts(place, hour, age)
        return Candidate(option.deployment, option.footprint(carbon, water), yearly=fixed)

    def _expected(self, hour: int, age: int) -> list[float] | None:
        return [
            self.costs.score(*self._amounts(place, hour, age)) for place in range(len(self.costs.options))
        ]

    def _turned_out(self, hour: int) -> list[float] | None:
        """The objective per option by the readings of an hour; None where one is missing."""
        for series in (*self.carbon.values(), *self.water.values()):
            if hour not in series.hours:
                return None
        return self._expected(hour, 0)

    def _amounts(self, place: int, hour: int, age: int) -> tuple[float, float]:
        option = self.costs.options[place]
        carbon, water = self.costs.means[place]
        zone = option.zone or ""
        g = from_readings(self.carbon[zone], hour, age) if zone in self.carbon else None
        litres = from_readings(self.water[zone], hour, age) if zone in self.water else None
        return (
            carbon if g is None else option.carbon_g(g),
            water if litres is None else option.water_ml(litres),
        )

    def _newest_known(self, newest: int) -> int | None:
        """The last hour that every zone's readings reach, `STALE_H` hours back at most."""
        known = [self._last(one, newest) for one in self.carbon.values()]
        found = [hour for hour in known if hour is not None]
        return min(found) if found and len(found) == len(known) else None

    @staticmethod
    def _last(series: Series, newest: int) -> int | None:
        hours = series.hours
        return next((hour for hour in range(newest, newest - STALE_H - 1, -1) if hour in hours), None)


def policy(
    costs: Costs, trace: Trace, history: Trace | None, *, age_s: float, outage: Outage | None
) -> Policy:
    """The policy with its history read; only the last weeks of the history count as readings."""
    first = min((min(hours) for hours in trace.carbon.values()), default=0)
    carbon = _series(costs.options, trace.carbon, history.carbon if history else {}, first)
    water = _series(costs.options, trace.water, history.water if history else {}, first)
    start = min((min(one.hours) for one in carbon.values() if one.hours), default=first)
    proof = Proof(costs.fixed_order()[0], start, costs.rules.min_gain)
    return Policy(costs, carbon, water, age_s, outage, proof)


def _series(
    options: Sequence[Option],
    trace: Mapping[str, Mapping[int, float]],
    history: Mapping[str, Mapping[int, float]],
    first: int,
) -> dict[str, Series]:
    series = {}
    for zone in {option.zone for option in options if option.zone is not None}:
        if zone not in trace:
            continue
        earlier = history.get(zone, {})
        last = max((hour for hour in earlier if hour < first), default=first)
        hours = {hour: value for hour, value in earlier.items() if last - KEPT_HOURS < hour < first}
        series[zone] = Series(zone, source="trace", hours={**hours, **trace[zone]})
    return series


def _mean(hours: Mapping[int, float]) -> float:
    return sum(hours.values()) / len(hours)
