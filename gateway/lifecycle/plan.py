"""What a request would cost at each deployment, in which order to ask them, and which budgets must agree.

Pure: the same plan answers a dry run and a real request, so both show the same numbers. It knows footprints,
routes, policies and holds; it refuses to know Redis, sockets and clocks (`now` is an argument).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.budgets.amounts import Charge, Dimension, to_hold
from gateway.budgets.matching import counters_for
from gateway.errors import InvalidRequest, NotFound, Unavailable
from gateway.footprint.estimate import estimate
from gateway.footprint.quantities import ImageWork, Site
from gateway.images.request import read_size
from gateway.routing.rank import Candidate, rank
from gateway.upstreams.dialects.registry import dialect_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gateway.budgets.matching import MatchedBudget
    from gateway.budgets.policy import PolicySet
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.quantities import Footprint
    from gateway.identity.subject import Subject
    from gateway.images.answer import Delivered
    from gateway.images.request import ImageRequest
    from gateway.routing.rank import Route
    from gateway.upstreams.deployments import Deployment, DeploymentSet

MAX_ATTEMPTS = 2
"""The chosen deployment and one failover; a hold covers the dearer of the two."""


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
    """A request with its prices. `routes` are the usable ones in order; `holds` go with them, one each."""

    subject: Subject
    request: ImageRequest
    routes: list[Route]
    ranking: list[Route]
    holds: list[Charge]

    def attempts(self, first: int) -> list[Route]:
        """The routes to ask, one after the other, when the ledger admitted the candidate `first`."""
        return self.routes[first : first + MAX_ATTEMPTS]


def make_plan(
    configuration: Configuration,
    subject: Subject,
    request: ImageRequest,
    *,
    full: Callable[[Deployment], bool],
) -> Plan:
    """The plan of a request. `full` says whether a deployment has no free slot in this process.

    Raises `NotFound` for a model that nobody serves, `Unavailable` when every deployment is full.
    """
    deployments = configuration.deployments.serving(request.model)
    if not deployments:
        raise NotFound(
            "The model does not exist or is not offered here.", code="model_not_found", param="model"
        )
    deployments = tuple(one for one in deployments if dialect_of(one).offers(request))
    if not deployments:
        raise InvalidRequest(
            "No deployment of this model takes this kind of request.", code="unsupported_route", param="model"
        )
    ranking = rank(
        [
            Candidate(
                deployment,
                estimate(work(request, deployment), site(deployment), configuration.factors),
                "no free slot at this gateway" if full(deployment) else None,
            )
            for deployment in deployments
        ]
    )
    routes = [route for route in ranking if route.candidate.unavailable is None]
    if not routes:
        raise Unavailable(
            "Every deployment of this model is busy.",
            code="deployments_busy",
            headers={"retry-after": "2"},
        )
    alone = [to_hold(route.footprint) for route in routes]
    holds = [hold.at_least(failover) for hold, failover in zip(alone, [*alone[1:], alone[-1]], strict=True)]
    return Plan(subject, request, routes, ranking, holds)


def budgets_for(
    configuration: Configuration, subject: Subject, request: ImageRequest, now: datetime
) -> list[MatchedBudget]:
    """The budgets that must agree, each with the counter it has at `now`."""
    return counters_for(configuration.policies, subject, model=request.model, route=request.route, now=now)


def work(request: ImageRequest, deployment: Deployment) -> ImageWork:
    """The work as asked; what the request leaves open comes from the deployment's defaults, if it has any."""
    width, height = request.width, request.height
    if width is None and deployment.defaults.size is not None:
        width, height = read_size(deployment.defaults.size) or (None, None)
    return ImageWork(
        model=deployment.footprint_model(request.model),
        n=request.n,
        width=width,
        height=height,
        quality=request.quality or deployment.defaults.quality,
        steps=request.steps or deployment.defaults.steps,
        guidance_passes=request.guidance_passes,
        strength=request.strength,
        partial_images=request.partial_images,
        frames=request.frames,
        input_images=request.input_images,
    )


def delivered_work(request: ImageRequest, deployment: Deployment, delivered: Delivered) -> ImageWork:
    """The work as it came back: counted images, real sizes and usage replace what was asked or assumed."""
    asked = work(request, deployment)
    return replace(
        asked,
        n=delivered.images,
        width=delivered.width or asked.width,
        height=delivered.height or asked.height,
        quality=delivered.quality or asked.quality,
        partial_images=_each(delivered.partial_images, delivered.images, asked.partial_images),
        measured_output_tokens=delivered.output_tokens,
        measured_gpu_seconds=_gpu_seconds(deployment, delivered),
    )


def _each(partials: int | None, images: int, asked: int) -> int:
    """Partial images per image, as they came."""
    return asked if partials is None else -(-partials // max(1, images))


def _gpu_seconds(deployment: Deployment, delivered: Delivered) -> float | None:
    """GPU seconds of the request where its operator's hardware is declared: elsewhere it is only a claim."""
    hardware, seconds = deployment.hardware, delivered.service_seconds
    if seconds is None or hardware.gpu is None:
        return None
    return seconds * (hardware.num_gpus or 1) / (hardware.batch or 1)


def site(deployment: Deployment) -> Site:
    """Where and on what a deployment runs, as the estimator asks it."""
    hardware, location = deployment.hardware, deployment.location
    return Site(
        provider=location.provider,
        region=location.region,
        zone=location.zone,
        gpu=hardware.gpu,
        num_gpus=hardware.num_gpus,
        precision=hardware.precision,
        batch=hardware.batch,
        pue=hardware.pue,
        wue_l_per_kwh=hardware.wue_l_per_kwh,
    )


def settled_footprint(
    configuration: Configuration, request: ImageRequest, deployment: Deployment, delivered: Delivered
) -> Footprint:
    """The footprint of what really came back."""
    return estimate(delivered_work(request, deployment, delivered), site(deployment), configuration.factors)


def hold_json(charge: Charge) -> dict[str, Any]:
    """A hold in the units people read, by the bound that a budget counts."""
    return {
        bound: {
            dimension.field: dimension.shown(amount)
            for dimension, amount in zip(Dimension, getattr(charge, bound).vector(), strict=True)
        }
        for bound in ("central", "high")
    }
