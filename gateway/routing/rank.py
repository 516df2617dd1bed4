"""Which deployment comes first, and why.

Pure: candidates in, an order with reasons out. What a candidate is *charged* for is its footprint; what it is
*ordered* by may be more careful (a place that nobody knows, a signal that has not proved itself). A candidate
that a hard limit rejects never comes back for want of others. Refuses to know sockets, budgets and clocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.routing.counterfactual import Counterfactual, counterfactual
from gateway.upstreams.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.footprint.quantities import Footprint
    from gateway.routing.ladder import Intensity
    from gateway.upstreams.deployments import Deployment


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment that could do the work, with the footprint the work would have there.

    `unavailable` says why it cannot be used now, where that is so; `free` is the free share of its capacity.
    `left_out` says why it is not asked while others are there (ejected, paused); `late` why it will hardly
    answer in time; `silent` why it cannot lead, though it may be next. `latency_p95_s` is how long such work
    takes there, where that is known.
    `expected_carbon_g` and `expected_water_ml` replace the footprint's central values in the order;
    `caution` says why. `fixed_at` is the footprint by the zone's history or, without one, its yearly factor,
    where a reading changed it. `usd` is the price of the request. `places` are the residency tags that its
    location surely has.
    """

    deployment: Deployment
    footprint: Footprint
    unavailable: str | None = None
    free: float = 1.0
    expected_carbon_g: float | None = None
    expected_water_ml: float | None = None
    caution: str | None = None
    fixed_at: Footprint | None = None
    usd: float | None = None
    places: frozenset[str] = frozenset()
    intensity: Intensity | None = None
    left_out: str | None = None
    late: str | None = None
    latency_p95_s: float | None = None
    silent: str | None = None

    @property
    def carbon_g(self) -> float:
        """What carbon the order goes by, in grams of CO2e for the request."""
        return self.footprint.carbon_g.central if self.expected_carbon_g is None else self.expected_carbon_g

    @property
    def water_ml(self) -> float:
        """What water the order goes by, in mL for the request."""
        return self.footprint.water_ml.central if self.expected_water_ml is None else self.expected_water_ml

    @property
    def fixed(self) -> Footprint:
        """The footprint in the long run: what a choice without signals would go by."""
        return self.footprint if self.fixed_at is None else self.fixed_at


@dataclass(frozen=True, slots=True)
class Route:
    """A candidate in its place; `reason` is a sentence for people, `rejected` is set for unusable ones."""

    candidate: Candidate
    reason: str
    score: float | None = None
    rejected: bool = False

    @property
    def deployment(self) -> Deployment:
        return self.candidate.deployment

    @property
    def footprint(self) -> Footprint:
        return self.candidate.footprint

    def as_json(self) -> dict[str, Any]:
        candidate, footprint = self.candidate, self.footprint
        shown: dict[str, Any] = {
            "deployment": self.deployment.id,
            "zone": footprint.zone,
            "energy_wh": footprint.energy_wh.central,
            "water_ml": footprint.water_ml.central,
            "carbon_g": footprint.carbon_g.central,
            "carbon_basis": footprint.carbon_basis,
            "usable": not self.rejected,
            "reason": self.reason,
        }
        if candidate.expected_carbon_g is not None:
            shown["ranked_by_carbon_g"] = candidate.expected_carbon_g
        if candidate.caution is not None:
            shown["caution"] = candidate.caution
        if self.deployment.concurrency is not None:
            shown["free_share"] = round(candidate.free, 3)
        if candidate.latency_p95_s is not None:
            shown["latency_p95_s"] = candidate.latency_p95_s
        if candidate.intensity is not None:
            shown["signal"] = candidate.intensity.as_json()
        return shown


@dataclass(frozen=True, slots=True)
class Ranking:
    """All candidates, usable ones first and best first; `instead` is what other rules would have chosen.

    `panic`: every usable one is ejected or paused, so that this did not count.
    """

    routes: list[Route]
    objective: str
    instead: Counterfactual | None = field(default=None)
    panic: bool = False

    def as_json(self) -> dict[str, Any]:
        """The decision for a record: the objective and the counterfactuals (candidates stand beside it)."""
        shown: dict[str, Any] = {"objective": self.objective}
        if self.instead is not None:
            shown["instead"] = self.instead.as_json()
        if self.panic:
            shown["panic"] = True
        return shown


def leader(scores: Sequence[float], incumbent: int | None, min_gain: float) -> int:
    """The place of the best score (lower is better), or of the incumbent while no rival is better enough."""
    best = min(range(len(scores)), key=scores.__getitem__)
    if incumbent is None or incumbent == best:
        return best
    return best if scores[best] <= scores[incumbent] * (1 - min_gain) else incumbent


def rank(
    candidates: Sequence[Candidate], rules: Rules | None = None, *, incumbent: str | None = None
) -> Ranking:
    """All candidates in order, each with its reason; `incumbent` is the deployment that led until now.

    The usable ones come first: the leader, then the others by the objective. Candidates within `near_tie` of
    the leader share its place, the one with more free capacity first and known places before unknown ones.
    Those that are ejected are out while anybody is not; those that will hardly answer in time come after the
    others.
    """
    rules = rules or Rules()
    accepted: list[Candidate] = []
    rejected: list[Route] = []
    for candidate in candidates:
        why = rejection(candidate, rules)
        if why is None:
            accepted.append(candidate)
        else:
            rejected.append(Route(candidate, why, rejected=True))
    if not accepted:
        return Ranking(rejected, rules.objective)
    well = [candidate for candidate in accepted if candidate.left_out is None]
    if well and len(well) < len(accepted):
        rejected += [Route(one, one.left_out, rejected=True) for one in accepted if one.left_out is not None]
        accepted = well
    scores = _scores(accepted, candidates, rules)
    order = sorted(range(len(accepted)), key=lambda at: (scores[at], _unsure(accepted[at])))
    in_time = [at for at in order if accepted[at].late is None]
    if in_time and len(in_time) < len(order):
        order = in_time + [at for at in order if accepted[at].late is not None]
    else:
        in_time = order
    may_lead = [at for at in in_time if accepted[at].silent is None] or in_time
    seat = next((at for at in may_lead if accepted[at].deployment.id == incumbent), None)
    first = _leading(scores, may_lead, seat, rules.min_gain)
    ceiling = scores[first] * (1 + rules.near_tie)
    ties = [at for at in may_lead if scores[at] <= ceiling and at != first]
    if ties:
        ties = sorted([first, *ties], key=lambda at: (-round(accepted[at].free, 1), _unsure(accepted[at])))
        first = ties[0]
    order.remove(first)
    order.insert(0, first)
    sentences = _Sentences(order, accepted, scores, rules, seat)
    routes = [Route(accepted[at], sentences.reason(place, at), scores[at]) for place, at in enumerate(order)]
    instead = counterfactual(accepted, routes[0].footprint)
    return Ranking(routes + rejected, rules.objective, instead, panic=not well)


def _leading(scores: Sequence[float], places: Sequence[int], seat: int | None, min_gain: float) -> int:
    """The leader among some places, which are in order of their scores."""
    best = places[0]
    if seat is None or scores[best] <= scores[seat] * (1 - min_gain):
        return best
    return seat


def _unsure(candidate: Candidate) -> bool:
    return candidate.caution is not None


def rejection(candidate: Candidate, rules: Rules) -> str | None:
    """The hard limit that a candidate breaks, as a sentence, or None."""
    if candidate.unavailable is not None:
        return candidate.unavailable
    if rules.residency and candidate.places.isdisjoint(rules.residency):
        where = ", ".join(sorted(candidate.places)) or "not known for sure"
        return f"residency: must be in {' or '.join(rules.residency)}, the place of processing is {where}"
    if candidate.late is not None and rules.on_short_deadline == "refuse":
        return candidate.late
    if rules.unknown_region == "exclude" and candidate.caution is not None:
        return f"its place is not known: {candidate.caution}"
    return _over_a_cap(candidate, rules)


def _over_a_cap(candidate: Candidate, rules: Rules) -> str | None:
    limit = rules.usd_per_image
    if limit is not None:
        if candidate.usd is None:
            return "price cap: the deployment's price is not given"
        price = candidate.usd / candidate.footprint.images
        if price > limit:
            return f"price cap: {price:g} USD per image, more than {limit:g}"
    slowest, latency = rules.latency_p95_s, candidate.latency_p95_s
    if slowest is not None and latency is not None and latency > slowest:
        return f"latency cap: 95 of 100 such requests take up to {latency:g} s, more than {slowest:g} s"
    return None


def _scores(accepted: Sequence[Candidate], everyone: Sequence[Candidate], rules: Rules) -> list[float]:
    if rules.objective == "carbon":
        return [candidate.carbon_g for candidate in accepted]
    if rules.objective == "water":
        return [candidate.water_ml for candidate in accepted]
    if rules.objective == "static":
        return [candidate.fixed.carbon_g.central for candidate in accepted]
    weights = rules.weights
    carbon = _mean([candidate.fixed.carbon_g.central for candidate in everyone])
    water = _mean([candidate.fixed.water_ml.central for candidate in everyone])
    prices = [candidate.usd for candidate in everyone if candidate.usd is not None]
    price, dearest = _mean(prices), max(prices, default=0.0)
    usual = _mean([candidate.latency_p95_s for candidate in everyone if candidate.latency_p95_s is not None])
    return [
        weights.carbon * candidate.carbon_g / carbon
        + weights.water * candidate.water_ml / water
        + (weights.price * (dearest if candidate.usd is None else candidate.usd) / price if price else 0.0)
        + (weights.latency * (candidate.latency_p95_s or usual) / usual if usual else 0.0)
        for candidate in accepted
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


@dataclass(frozen=True, slots=True)
class _Sentences:
    """Why each accepted candidate has its place."""

    order: Sequence[int]
    accepted: Sequence[Candidate]
    scores: Sequence[float]
    rules: Rules
    seat: int | None

    def reason(self, place: int, at: int) -> str:
        if len(self.order) == 1:
            return "the only deployment that can do the work"
        mine, what = self.scores[at], self.rules.objective
        gain = f"{self.rules.min_gain:.0%}"
        if place:
            return self._behind(at)
        rival = self._rival()
        if rival is None:
            return f"{self._only()}: {_shown(mine, what)}"
        if rival < mine and at == self.seat:
            return f"kept: {_shown(mine, what)}; the best rival, {_shown(rival, what)}, is not {gain} better"
        if rival < mine:
            return f"as good as equal at {_shown(mine, what)}, with more free capacity"
        name = "carbon in the long run" if what == "static" else what
        return f"lowest {name}: {_shown(mine, what)} against {_shown(rival, what)} for the next"

    def _only(self) -> str:
        late = any(self.accepted[at].late is not None for at in self.order[1:])
        return "the only one that usually answers in time" if late else "the only one with recent readings"

    def _behind(self, at: int) -> str:
        """Why a candidate is not the first."""
        mine, what = self.scores[at], self.rules.objective
        first, late = self.scores[self.order[0]], self.accepted[at].late
        told = f"{_shown(mine, what)} against {_shown(first, what)} for the first"
        if late is not None and self.accepted[self.order[0]].late is None:
            return f"{told}; moved back: {late}"
        silent = self.accepted[at].silent
        if silent is not None and mine < first:
            return f"{told}; not the first: {silent}"
        gain = f"{self.rules.min_gain:.0%}"
        return f"{told}: less than {gain} better, not enough to change" if mine < first else told

    def _rival(self) -> float | None:
        """The best score that stood against the first; those that are late or silent did not."""
        first, *others = self.order
        if self.accepted[first].late is None:
            others = [other for other in others if self.accepted[other].late is None]
        if self.accepted[first].silent is None:
            others = [other for other in others if self.accepted[other].silent is None]
        return min((self.scores[other] for other in others), default=None)


def _shown(score: float, objective: str) -> str:
    if objective == "weighted":
        return f"a weighted score of {score:.4g}"
    return f"{score:.4g} mL" if objective == "water" else f"{score:.4g} gCO2e"
