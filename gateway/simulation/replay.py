"""Replays requests under four strategies and adds up what they cause.

    even      round robin, one pointer per gateway, blind to capacity
    fixed     the best choice that the history lets one know, then the next best; blind to capacity
    policy    the gateway's ranking, within capacity that all gateways know exactly
    optimum   the least by the objective of: the best choice in hindsight at every moment, within the same
              capacity, and the assignments of the three others

A request holds one slot for as long as its images take, one after the other. A strategy that is blind to
capacity meets an upstream 429 at a full deployment and tries the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import TYPE_CHECKING, Any

from gateway.routing.readings import SECONDS_PER_HOUR
from gateway.simulation.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.simulation.choice import Costs, Policy
    from gateway.simulation.traces import Arrival

ML_PER_L = 1000.0
STRATEGIES = ("even", "fixed", "policy", "optimum")


@dataclass(slots=True)
class Outcome:
    """What a strategy caused; `p95_s` is the time from arrival to the answer, waiting included; `score` is
    what the objective minimises, summed over the images."""

    gco2: float = 0.0
    litres: float = 0.0
    score: float = 0.0
    images: int = 0
    upstream_429: int = 0
    switches: int = 0
    p95_s: float = 0.0
    by_deployment: dict[str, int] = field(default_factory=dict)
    daily_gco2: dict[int, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "gco2": self.gco2,
            "litres": self.litres,
            "p95_s": self.p95_s,
            "upstream_429": self.upstream_429,
            "switches": self.switches,
            "images": self.images,
            "images_by_deployment": self.by_deployment,
        }


@dataclass(slots=True)
class Replay:
    """One strategy at work. `order` gives the options in the order of asking at a moment."""

    costs: Costs
    slots: list[Slots]
    order: Callable[[float], Sequence[int]]
    blind: bool
    outcome: Outcome = field(default_factory=Outcome)
    times: list[float] = field(default_factory=list)

    def run(self, arrivals: Sequence[Arrival], *, each_time: bool) -> Outcome:
        """Serves all arrivals. `each_time` asks for the order anew for each request, else for each hour."""
        outcome, hour, order = self.outcome, -1, list[int]()
        for arrival in arrivals:
            now = int(arrival.at // SECONDS_PER_HOUR)
            if each_time or now != hour:
                hour, order = now, list(self.order(arrival.at))
            self._serve(arrival.at, order, arrival.images)
        self.times.sort()
        outcome.p95_s = self.times[int(0.95 * (len(self.times) - 1))] if self.times else 0.0
        return outcome

    def _serve(self, at: float, order: Sequence[int], images: int) -> None:
        """One request at the first option with room, else at the one that is free first."""
        slots, outcome = self.slots, self.outcome
        start = at
        for place in order:
            if slots[place].free(at):
                break
            outcome.upstream_429 += self.blind
        else:
            place = min(order, key=lambda one: slots[one].next_free(at))
            start = slots[place].next_free(at)
        self.times.append(start - at + slots[place].seconds * images)
        slots[place].take(start, images)
        carbon, water = self.costs.amounts(place, int(start // SECONDS_PER_HOUR))
        outcome.gco2 += carbon * images
        outcome.score += self.costs.score(place, carbon, water) * images
        outcome.litres += water * images / ML_PER_L
        outcome.images += images
        name = self.costs.options[place].deployment.id
        outcome.by_deployment[name] = outcome.by_deployment.get(name, 0) + images
        day = int(start // (24 * SECONDS_PER_HOUR))
        outcome.daily_gco2[day] = outcome.daily_gco2.get(day, 0.0) + carbon * images


def replay_all(
    costs: Costs,
    policy: Policy,
    arrivals: Sequence[Arrival],
    *,
    gateways: int,
    seconds_per_image: float,
    capacities: Sequence[int | None],
) -> dict[str, Outcome]:
    """The four strategies on the same arrivals."""

    def places() -> list[Slots]:
        return [Slots(capacity, seconds_per_image) for capacity in capacities]

    spread = _even(len(costs.options), gateways)
    fixed = costs.fixed_order()
    best = _Hindsight(costs)
    outcomes = {
        "even": Replay(costs, places(), spread, blind=True).run(arrivals, each_time=True),
        "fixed": Replay(costs, places(), lambda _: fixed, blind=True).run(arrivals, each_time=False),
        "policy": Replay(costs, places(), policy.order, blind=False).run(arrivals, each_time=False),
        "optimum": Replay(costs, places(), best.order, blind=False).run(arrivals, each_time=False),
    }
    outcomes["policy"].switches = policy.switches
    outcomes["optimum"].switches = best.switches
    outcomes["optimum"] = least(outcomes)
    return outcomes


def least(outcomes: Mapping[str, Outcome]) -> Outcome:
    """The optimum: hindsight's own plan or, where another strategy's is better, that one.

    Choosing the best at every moment is not best in all where capacity is short: it may fill a place that is
    worth more an hour later. Whoever plans in hindsight knows what is full, and so is refused nowhere.
    """
    own = outcomes["optimum"]
    best = min(outcomes.values(), key=lambda outcome: outcome.score)
    return own if own.score <= best.score else replace(best, upstream_429=0)


def _even(options: int, gateways: int) -> Callable[[float], Sequence[int]]:
    turns = [[(first + step) % options for step in range(options)] for first in range(options)]
    pointers = [cycle(turns) for _ in range(gateways)]
    for number, pointer in enumerate(pointers):
        for _ in range(number % options):
            next(pointer)
    doors = cycle(pointers)
    return lambda _: next(next(doors))


@dataclass(slots=True)
class _Hindsight:
    costs: Costs
    last: int | None = None
    switches: int = 0

    def order(self, at: float) -> list[int]:
        scores = self.costs.actual(int(at // SECONDS_PER_HOUR))
        order = sorted(range(len(scores)), key=scores.__getitem__)
        self.switches += self.last is not None and order[0] != self.last
        self.last = order[0]
        return order
