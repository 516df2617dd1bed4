"""A whole simulation: files in, the four strategies' outcomes out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast, get_args

from gateway.errors import ConfigError, Problem
from gateway.footprint.factors import load_factors
from gateway.routing.readings import SECONDS_PER_HOUR
from gateway.routing.signal_file import moment, read_signals
from gateway.simulation.choice import Costs, Outage, means_of, policy
from gateway.simulation.options import Actual, options_for
from gateway.simulation.replay import STRATEGIES, replay_all
from gateway.simulation.traces import read_requests
from gateway.upstreams.deployment_file import load_deployments
from gateway.upstreams.rules import Objective, Rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.routing.signal_file import Trace
    from gateway.simulation.options import Option
    from gateway.simulation.replay import Outcome
    from gateway.simulation.traces import Arrival

MARGIN_S = 3600
"""Requests this far outside the trace are served at its first or last hour; others are refused."""
NOTES = (
    "Per-image attribution with average intensities; no claim about which power plants ran.",
    "Deferrable images are served on arrival by every strategy: this version does not defer.",
    "The policy's capacity is shared exactly by all gateways, as leases in Redis are; one request, one slot.",
    "Optimum: the least of choosing the best in hindsight at every moment and of the others' assignments.",
    "No strategy is below the optimum in the objective; with capacity, a plan better than all may exist.",
    "Water follows the trace; a running gateway reads carbon signals and takes water from yearly factors.",
)


@dataclass(frozen=True, slots=True)
class Question:
    """What to simulate; times in hours and seconds as named."""

    signals: Path
    requests: Path
    deployments: Path
    history: Path | None = None
    signal_age_h: float = 1.0
    outage: str | None = None
    gateways: int = 1
    seconds_per_image: float = 12.0
    capacity: int | None = None
    objective: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class World:
    """A model group with its traffic, the grid as it turned out and, with `history`, as it was before."""

    model: str
    rules: Rules
    options: Sequence[Option]
    trace: Trace
    history: Trace | None
    arrivals: Sequence[Arrival]


@dataclass(frozen=True, slots=True)
class Result:
    """The outcomes by strategy, and what they rest on."""

    model: str
    objective: str
    min_gain: float
    requests: int
    deferrable_images: int
    acted_share: float
    strategies: dict[str, Outcome]

    def saving(self, strategy: str, baseline: str) -> float | None:
        """The share of a baseline's carbon that a strategy avoids; negative when it causes more."""
        before = self.strategies[baseline].gco2
        return 1 - self.strategies[strategy].gco2 / before if before else None

    def share_of_optimum(self) -> float | None:
        """How much of what hindsight saves against an even spread the policy saves, by the objective."""
        even, best = self.strategies["even"].score, self.strategies["optimum"].score
        return (even - self.strategies["policy"].score) / (even - best) if even > best else None

    def as_json(self) -> dict[str, Any]:
        images = self.strategies["policy"].images
        return {
            "model": self.model,
            "objective": self.objective,
            "min_gain": self.min_gain,
            "requests": self.requests,
            "images": images,
            "deferrable_images": self.deferrable_images,
            "strategies": {name: self.strategies[name].as_json() for name in STRATEGIES},
            "policy_saving": {
                "vs_even": self.saving("policy", "even"),
                "vs_fixed": self.saving("policy", "fixed"),
                "share_of_optimum": self.share_of_optimum(),
            },
            "signal_acted_on_share": self.acted_share,
            "notes": list(NOTES),
        }

    def lines(self) -> Iterator[str]:
        """The result for people."""
        images = self.strategies["policy"].images
        yield f"{self.requests} requests, {images} images of {self.model}; objective {self.objective}"
        yield f"{'':9}{'gCO2e':>14}{'litres':>12}{'p95 s':>9}{'429s':>9}{'switches':>10}{'vs even':>9}"
        for name in STRATEGIES:
            one = self.strategies[name]
            saving = self.saving(name, "even")
            shown = "" if not saving else f"{-saving:+.1%}"
            yield (
                f"{name:9}{one.gco2:14.1f}{one.litres:12.2f}{one.p95_s:9.1f}{one.upstream_429:9d}"
                f"{one.switches:10d}{shown:>9}"
            )
        share, fixed = self.share_of_optimum(), self.saving("policy", "fixed")
        if share is not None and fixed is not None:
            yield (
                f"The policy reaches {share:.1%} of the optimum's saving over an even spread, "
                f"{-fixed:+.2%} carbon against the fixed choice."
            )
        yield from NOTES


def run(question: Question) -> Result:
    """Simulates. Raises ConfigError for files that cannot be used."""
    factors = load_factors()
    trace = read_signals(question.signals)
    history = read_signals(question.history) if question.history is not None else None
    arrivals = read_requests(question.requests, _time_of(trace))
    deployed = load_deployments(question.deployments, environ=None)
    file = str(question.deployments)
    model = question.model or deployed.models()[0]
    group = deployed.serving(model)
    if not group:
        raise ConfigError([Problem(file, 1, 1, f"no deployment offers {model}")])
    rules = _rules(deployed.rules, question.objective)
    options = options_for(file, group, model, trace, rules=rules, factors=factors)
    return simulated(
        World(model, rules, options, trace, history, arrivals),
        age_h=question.signal_age_h,
        outage=_outage(question.outage),
        gateways=question.gateways,
        seconds_per_image=question.seconds_per_image,
        capacity=question.capacity,
    )


def _time_of(trace: Trace) -> tuple[float, float]:
    """From when until when requests can be served."""
    hours = [hour for known in trace.carbon.values() for hour in (min(known), max(known) + 1)]
    return min(hours) * SECONDS_PER_HOUR - MARGIN_S, max(hours) * SECONDS_PER_HOUR + MARGIN_S


def simulated(
    world: World,
    *,
    age_h: float,
    outage: Outage | None = None,
    gateways: int = 1,
    seconds_per_image: float = 12.0,
    capacity: int | None = None,
) -> Result:
    """What each strategy makes of a world."""
    # The options are those that the hard limits leave, for every strategy; the rest of the rules still rules.
    rules = replace(world.rules, residency=(), usd_per_image=None, unknown_region="mix")
    options, trace, arrivals = world.options, world.trace, world.arrivals
    carbon, water = Actual.of(trace.carbon), Actual.of(trace.water)
    costs = Costs(options, rules, carbon, water, means_of(options, world.history))
    ours = policy(costs, trace, world.history, age_s=age_h * SECONDS_PER_HOUR, outage=outage)
    outcomes = replay_all(
        costs,
        ours,
        arrivals,
        gateways=gateways,
        seconds_per_image=seconds_per_image,
        capacities=[capacity or option.deployment.concurrency for option in options],
    )
    return Result(
        model=world.model,
        objective=rules.objective,
        min_gain=rules.min_gain,
        requests=len(arrivals),
        deferrable_images=sum(arrival.images for arrival in arrivals if arrival.deferrable_hours > 0),
        acted_share=ours.acted_hours / ours.hours if ours.hours else 0.0,
        strategies=outcomes,
    )


def _rules(rules: Rules, objective: str | None) -> Rules:
    if objective is None:
        return rules
    if objective not in get_args(Objective):
        message = f"must be one of {', '.join(get_args(Objective))}"
        raise ConfigError([Problem("--objective", 1, 1, message)])
    return replace(rules, objective=cast("Objective", objective))


def _outage(text: str | None) -> Outage | None:
    if text is None:
        return None
    start, _, end = text.partition("/")
    try:
        outage = Outage(moment(start), moment(end))
    except ValueError:
        raise ConfigError([Problem("--outage", 1, 1, "must be FROM/TO in RFC 3339")]) from None
    if outage.end <= outage.start:
        raise ConfigError([Problem("--outage", 1, 1, "must end after its start")])
    return outage
