"""Which deployment each strategy asks first, hour by hour.

`Policy` sees only what a gateway would have known: readings up to the signal's age, the history before the
trace, yearly factors. It decides through the same proof and the same ranking as the gateway. `Hindsight` sees
everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from gateway.routing.ladder import SHAPE_H, from_readings
from gateway.routing.rank import Candidate, rank
from gateway.routing.readings import KEPT_HOURS, SECONDS_PER_HOUR, Series
from gateway.routing.standing import ML_PER_L, TOO_OLD, Known, Standing
from gateway.routing.standing import Option as Seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.routing.signal_file import Trace
    from gateway.simulation.options import Actual, Option
    from gateway.upstreams.rules import Rules


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which no reading arrives, in seconds of UTC since 1970."""

    start: float
    end: float


@dataclass(slots=True)
class Costs:
    """Grams, litres and the objective's score of one image per option and hour, as they turned out.

    `means` has grams and mL per option by what the history lets one know, `seen` each as signals see it.
    """

    options: Sequence[Option]
    rules: Rules
    carbon: Actual
    water: Actual
    means: list[tuple[float, float]]
    seen: list[Seen] = field(init=False)

    def __post_init__(self) -> None:
        self.seen = list(self._seen())

    def _seen(self) -> Iterator[Seen]:
        rules, weights = self.rules, self.rules.weights
        carbon, water = (fmean(amounts) for amounts in zip(*self.means, strict=True))
        prices = [one.deployment.usd_per_image for one in self.options]
        known = [usd for usd in prices if usd is not None]
        for option, usd, (carbon_g, water_ml) in zip(self.options, prices, self.means, strict=True):
            per_g, per_ml, beside = 1.0, 0.0, 0.0
            if rules.objective == "water":
                per_g, per_ml = 0.0, 1.0
            elif rules.objective == "static":
                per_g, beside = 0.0, carbon_g
            elif rules.objective == "weighted":
                per_g, per_ml = weights.carbon / carbon, weights.water / water
                price = max(known) if usd is None and known else usd
                beside = weights.price * price / fmean(known) if price else 0.0
            yield Seen(
                deployment=option.deployment.id,
                zone=option.zone if option.careful_g is None else None,
                other_g=option.other_g,
                energy_kwh=option.energy_kwh,
                fixed_g_per_kwh=(carbon_g - option.other_g) / option.energy_kwh,
                per_g=per_g,
                beside=beside,
                onsite_ml=option.onsite_ml,
                fixed_l_per_kwh=(water_ml - option.onsite_ml) / option.energy_kwh / ML_PER_L,
                per_ml=per_ml,
            )

    def amounts(self, at: int, hour: int) -> tuple[float, float]:
        """Grams of CO2e and mL of one image at one option in an hour."""
        option = self.options[at]
        g = self.carbon.at(option.zone, hour)
        litres = self.water.at(option.zone, hour)
        return (
            option.carbon_g(option.g_per_kwh if g is None else g),
            option.water_ml(option.l_per_kwh if litres is None else litres),
        )

    def score(self, at: int, carbon_g: float, water_ml: float) -> float:
        """What the objective minimises for one image at one option; that of the ranking but for latency.

        `static` is an order that readings do not change; what comes of it is measured in carbon.
        """
        return carbon_g if self.rules.objective == "static" else self.seen[at].objective(carbon_g, water_ml)

    def actual(self, hour: int) -> list[float]:
        """The objective per option."""
        return [self.score(at, *self.amounts(at, hour)) for at in range(len(self.options))]

    def fixed_order(self) -> list[int]:
        """The options by what the history (or, without one, yearly factors) lets one know."""
        return sorted(range(len(self.seen)), key=lambda at: self.seen[at].fixed_score)


def means_of(options: Sequence[Option], history: Trace | None) -> list[tuple[float, float]]:
    """Mean grams and mL of one image per option over the history, else at yearly factors."""
    means = []
    for option in options:
        carbon = history.carbon.get(option.zone or "") if history is not None else None
        water = history.water.get(option.zone or "") if history is not None else None
        means.append(
            (
                option.careful_g or option.carbon_g(fmean(carbon.values()) if carbon else option.g_per_kwh),
                option.water_ml(fmean(water.values()) if water else option.l_per_kwh),
            )
        )
    return means


@dataclass(slots=True)
class Policy:
    """The gateway's own choice, with what it could know at the time."""

    costs: Costs
    known: Known
    age_s: float
    outage: Outage | None
    standing: Standing
    min_gain: float
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
        for series in (*self.known.carbon.values(), *self.known.water.values()):
            series.newest = _last(series, newest)
        standing = self.standing
        before = standing.seat.place
        standing.refresh(hour, self.known, self.min_gain)
        candidates = [self._candidate(place, hour) for place in range(len(self.costs.options))]
        ranking = rank(candidates, self.costs.rules, incumbent=standing.incumbent)
        self.switches += before is not None and before != standing.seat.place
        self.hours += 1
        self.acted_hours += standing.acts
        places = {option.deployment.id: place for place, option in enumerate(self.costs.options)}
        return [places[route.deployment.id] for route in ranking.routes if not route.rejected]

    def _candidate(self, place: int, hour: int) -> Candidate:
        option = self.costs.options[place]
        carbon, water = self.costs.means[place]
        fixed = option.footprint(carbon, water)
        silent = None
        if self.standing.acts:
            zone = self.costs.seen[place].zone or ""
            g, litres = _read(self.known.carbon, zone, hour), _read(self.known.water, zone, hour)
            carbon = carbon if g is None else option.carbon_g(g)
            water = water if litres is None else option.water_ml(litres)
            silent = TOO_OLD if option.deployment.id in self.standing.silent else None
        return Candidate(option.deployment, option.footprint(carbon, water), fixed_at=fixed, silent=silent)


def _last(series: Series, newest: int) -> int | None:
    hours = series.hours
    return next((hour for hour in range(newest, newest - SHAPE_H - 1, -1) if hour in hours), None)


def _read(known: Mapping[str, Series], zone: str, hour: int) -> float | None:
    series = known.get(zone)
    if series is None or series.newest is None:
        return None
    return from_readings(series, hour, max(0, hour - series.newest))


def policy(
    costs: Costs, trace: Trace, history: Trace | None, *, age_s: float, outage: Outage | None
) -> Policy:
    """The policy with its history read; only the last weeks of the history count as readings."""
    first = min((min(hours) for hours in trace.carbon.values()), default=0)
    known = Known(
        _series(costs.options, trace.carbon, history.carbon if history else {}, first),
        _series(costs.options, trace.water, history.water if history else {}, first),
    )
    standing = Standing(costs.seen)
    return Policy(costs, known, age_s, outage, standing, costs.rules.min_gain)


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
