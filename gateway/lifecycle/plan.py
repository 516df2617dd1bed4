"""What a request would cost at each deployment, in which order to ask them, and which budgets must agree.

Pure: the same plan answers a dry run and a real request, so both show the same numbers. It knows footprints,
routes, policies and holds; it refuses to know Redis, sockets and clocks (`now` is an argument).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial, reduce
from typing import TYPE_CHECKING, Any

from gateway.budgets.amounts import BOUNDS, Charge, to_hold
from gateway.budgets.matching import limits_cost
from gateway.errors import InvalidRequest, NotFound, Unavailable
from gateway.footprint.quantities import Site
from gateway.images.lighter import changed
from gateway.images.strict_json import plain_name, shown_name
from gateway.lifecycle.pricing import asked_footprint, delivered_footprint, writes_for_a_price
from gateway.routing.ladder import in_the_long_run
from gateway.routing.rank import Candidate, rank
from gateway.routing.readings import hour_of
from gateway.routing.standing import TOO_OLD
from gateway.routing.whereabouts import careful_carbon_g, caution, places
from gateway.upstreams.dialects.registry import dialect_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction

    from gateway.budgets.policy import PolicySet
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.quantities import Footprint
    from gateway.identity.subject import Subject
    from gateway.images.answer import Delivered
    from gateway.images.request import ImageRequest
    from gateway.lifecycle.seen import Seen
    from gateway.routing.grid import Grid
    from gateway.routing.ladder import Intensity
    from gateway.routing.rank import Ranking, Route
    from gateway.upstreams.deployments import Deployment, DeploymentSet

WH_PER_KWH = 1000.0
NO_PRICE = "a budget limits cost, and the deployment's price is not given"


@dataclass(frozen=True, slots=True)
class Configuration:
    """An immutable snapshot of everything that users configure in files; a request takes it once.

    `loaded_at` is the time of reading in seconds of UTC since 1970.
    """

    policies: PolicySet
    deployments: DeploymentSet
    factors: FactorSet
    loaded_at: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A request with its prices. `routes` are the usable ones in order, of which `max_attempts` may be asked;
    `holds` go with them, one each. `reading` is the grid's reading for a footprint at yearly factors."""

    subject: Subject
    request: ImageRequest
    routes: list[Route]
    ranking: Ranking
    holds: list[Charge]
    max_attempts: int
    reading: Callable[[Footprint], Intensity | None]

    def attempts(self, first: int) -> list[Route]:
        """The routes to ask, one after the other, when the ledger admitted the candidate `first`."""
        return self.routes[first : first + self.max_attempts]

    def ordered(self, routes: list[Route], ranking: Ranking) -> Plan:
        """The same plan with other routes, and the holds that go with them."""
        return replace(self, routes=routes, ranking=ranking, holds=_holds(routes, self.max_attempts))


def make_plan(
    configuration: Configuration,
    subject: Subject,
    request: ImageRequest,
    *,
    seen: Seen,
    grid: Grid,
    now_s: float,
    to: str | None = None,
) -> Plan:
    """The plan of a request, at the deployment `to` where that is given, under the name that it has there.

    `seen` says how deployments stand; `grid` is what is known of the grid; `now_s` counts since 1970.

    Raises `NotFound` for a model that nobody serves, `Unavailable` when no deployment may be used.
    """
    if to is None:
        deployments = configuration.deployments.serving(request.model)
    else:
        deployments = tuple(one for one in configuration.deployments.deployments if one.id == to)
        if deployments and request.model not in deployments[0].models:
            request = changed(request, {"model": deployments[0].models[0]})
    if not deployments:
        raise NotFound(
            "The model does not exist or is not offered here.", code="model_not_found", param="model"
        )
    deployments = tuple(one for one in deployments if dialect_of(one).offers(request))
    if not deployments:
        raise InvalidRequest(
            "No deployment of this model takes this kind of request.", code="unsupported_route", param="model"
        )
    deployments = _accepting(deployments, request)
    deployments = _writing(deployments, request, configuration.factors, elsewhere=to is not None)
    now = datetime.fromtimestamp(now_s, UTC)
    policies = configuration.policies

    @cache
    def must_cost(deployment: str) -> bool:
        return limits_cost(
            policies, subject, model=request.model, route=request.route, deployment=deployment, now=now
        )

    hour = hour_of(now_s)
    ranking = rank(
        [
            _candidate(
                configuration,
                request,
                deployment,
                seen=seen,
                grid=grid,
                hour=hour,
                must_cost=must_cost(deployment.id if policies.by_deployment else ""),
            )
            for deployment in deployments
        ],
        configuration.deployments.rules,
        incumbent=grid.incumbent(request.model),
    )
    routes = [route for route in ranking.routes if not route.rejected]
    if not routes:
        raise _nobody(ranking)
    attempts = configuration.deployments.rules.retries.max_attempts
    reading = partial(_intensity, grid, hour=hour)
    return Plan(subject, request, routes, ranking, _holds(routes, attempts), attempts, reading)


def _holds(routes: list[Route], attempts: int) -> list[Charge]:
    """What to hold at each route: the most of it and of the failovers that may follow it."""
    alone = [hold_of(route) for route in routes]
    return [reduce(Charge.at_least, alone[first : first + attempts]) for first in range(len(alone))]


def _accepting(deployments: tuple[Deployment, ...], request: ImageRequest) -> tuple[Deployment, ...]:
    """Those that take the request's parameters. Raises `InvalidRequest` when each refuses one."""
    unknown = request.unknown_fields()
    if not unknown:
        return deployments
    accepting = tuple(one for one in deployments if one.unknown_params != "refuse")
    if not accepting:
        raise InvalidRequest(
            f"The parameter {shown_name(unknown[0])} is not one that this model accepts.",
            code="unknown_parameter",
            param=plain_name(unknown[0]),
        )
    return accepting


def _writing(
    deployments: tuple[Deployment, ...], request: ImageRequest, factors: FactorSet, *, elsewhere: bool
) -> tuple[Deployment, ...]:
    """Those that may take the text of a request. Raises `InvalidRequest` for none.

    What one provider keeps is at one deployment, so it cannot be referred to where there are several, nor
    where the request goes `elsewhere` than it was sent.
    """
    if not request.draws:
        deployments = tuple(one for one in deployments if one.text == "allow")
        if not deployments:
            raise InvalidRequest(
                "This request cannot make an image, and text alone is not offered here. Images come of the"
                " tool 'image_generation' in responses and of 'image' among the 'modalities' in chats.",
                code="text_not_offered",
                param="tools" if request.route == "responses" else "modalities",
            )
        deployments = tuple(one for one in deployments if writes_for_a_price(request, one, factors))
        if not deployments:
            raise InvalidRequest(
                "Text of this model has no published energy factor, so it cannot be metered and is refused.",
                code="text_not_priced",
                param="model",
            )
    bound_to = request.text.bound_to if request.text is not None else None
    if bound_to is not None and (elsewhere or len(deployments) > 1):
        raise InvalidRequest(
            "Several deployments serve this model, and only one of them knows what this refers to: send the"
            " conversation itself.",
            code="unsupported_parameter",
            param=bound_to,
        )
    return deployments


def _candidate(
    configuration: Configuration,
    request: ImageRequest,
    deployment: Deployment,
    *,
    seen: Seen,
    grid: Grid,
    hour: int,
    must_cost: bool,
) -> Candidate:
    """A deployment with its price at the best reading of its zone, and with what it is ordered by."""
    factors, rules = configuration.factors, configuration.deployments.rules
    yearly = footprint = fixed = asked_footprint(request, deployment, site(deployment), factors)
    unsure = caution(deployment, yearly.zone)
    usual = None if unsure else in_the_long_run(grid.tables.get(yearly.zone or ""))
    if usual is not None:
        fixed = asked_footprint(request, deployment, site(deployment, usual), factors)
    intensity = None if unsure else _intensity(grid, yearly, hour=hour)
    if intensity is not None and intensity.priced:
        footprint = asked_footprint(request, deployment, site(deployment, intensity), factors)
    acts = grid.acts(request.model)
    expected = None
    if unsure:
        expected = careful_carbon_g(deployment, yearly, factors, rules.unknown_region)
    elif acts and intensity is not None and intensity.age_h is not None:
        expected = _expected_carbon_g(yearly, intensity)
    elif intensity is not None or usual is not None:
        expected = _carbon_g(fixed)
    price = deployment.price_usd(footprint.images)
    return Candidate(
        deployment,
        footprint,
        unavailable=NO_PRICE if price is None and must_cost else None,
        free=seen.free(deployment),
        left_out=seen.left_out(deployment),
        late=seen.late(deployment),
        latency_p95_s=seen.latency_p95_s(deployment),
        expected_carbon_g=expected,
        fixed_at=fixed,
        silent=TOO_OLD if acts and deployment.id in grid.silent(request.model) else None,
        intensity=intensity,
        caution=unsure,
        usd=None if price is None else float(price),
        places=places(deployment, footprint.zone, factors),
    )


def _intensity(grid: Grid, yearly: Footprint, *, hour: int) -> Intensity | None:
    """The zone's intensity where something better than its yearly value is known."""
    g_per_kwh = yearly.carbon_use_g.central / yearly.energy_wh.central * WH_PER_KWH
    found = grid.intensity(yearly.zone, hour, yearly_g_per_kwh=g_per_kwh, yearly_source=yearly.carbon_basis)
    return None if found.quality == "yearly" else found


def _expected_carbon_g(yearly: Footprint, intensity: Intensity) -> float:
    other = _carbon_g(yearly) - yearly.carbon_use_g.central
    return other + yearly.energy_wh.central / WH_PER_KWH * intensity.g_per_kwh


def _carbon_g(footprint: Footprint) -> float:
    return footprint.carbon_g.central


def _nobody(ranking: Ranking) -> Unavailable:
    """503 with what stands in the way."""
    if all(route.reason == route.candidate.late for route in ranking.routes):
        return Unavailable(
            f"No deployment of this model answers in time: {ranking.routes[0].reason}. Nothing was charged.",
            code="deadline_too_short",
            headers={"x-should-retry": "false"},
        )
    reasons = sorted({route.reason for route in ranking.routes})
    return Unavailable(
        f"No deployment of this model may be used: {'; '.join(reasons)}.",
        code="no_route",
        headers={"x-should-retry": "false"},
    )


def site(deployment: Deployment, intensity: Intensity | None = None) -> Site:
    """Where and on what a deployment runs, as the estimator asks it; a reading replaces the yearly value.

    A region that only names where the account is (`pin: global` or `datazone`) is not where the work runs.
    """
    hardware, location = deployment.hardware, deployment.location
    placed = location.pin in ("region", "unknown")
    return Site(
        provider=location.provider,
        region=location.region if placed else None,
        zone=location.zone if placed else None,
        gpu=hardware.gpu,
        num_gpus=hardware.num_gpus,
        precision=hardware.precision,
        batch=hardware.batch,
        pue=hardware.pue,
        wue_l_per_kwh=hardware.wue_l_per_kwh,
        carbon_intensity_g_per_kwh=intensity.g_per_kwh if intensity is not None else None,
        carbon_intensity_source=intensity.told if intensity is not None else None,
    )


def hold_of(route: Route) -> Charge:
    """What the request would take at one deployment."""
    return to_hold(route.footprint, route.deployment.price_usd(route.footprint.images))


def settled_cost_usd(route: Route, delivered: Delivered) -> Fraction | None:
    """What the answer says that it cost, where its service is known to say that; else the declared price."""
    stated = dialect_of(route.deployment).stated_cost_usd(delivered.usage or {})
    return route.deployment.price_usd(delivered.images) if stated is None else stated


def settled_footprint(
    configuration: Configuration, plan: Plan, route: Route, delivered: Delivered, there: Site | None = None
) -> Footprint | None:
    """The footprint of what really came back: at the reading by which it was routed, or `there`, where the
    service says that it ran in another place. `None` where nothing came that could be priced."""
    deployment, intensity = route.deployment, route.candidate.intensity

    def at(place: Site) -> Footprint | None:
        return delivered_footprint(plan.request, deployment, delivered, place, configuration.factors)

    if there is None:
        return at(site(deployment, intensity if intensity is not None and intensity.priced else None))
    yearly = at(there)
    intensity = plan.reading(yearly) if yearly is not None else None
    if intensity is None or not intensity.priced:
        return yearly
    g_per_kwh, source = intensity.g_per_kwh, intensity.told
    return at(replace(there, carbon_intensity_g_per_kwh=g_per_kwh, carbon_intensity_source=source))


def hold_json(charge: Charge) -> dict[str, Any]:
    """A hold in the units people read, by the bound that a budget counts; without what is not known."""
    return {
        bound: {
            dimension.field: dimension.shown(amount) for dimension, amount in charge.of(bound).known().items()
        }
        for bound in BOUNDS
    }
