"""What routing sees: the signals of the grid, and the deployments with their zones and standing."""

import time
from typing import Any

import msgspec
from litestar import Router, get

from gateway.api.openapi import errors
from gateway.api.parts import Part
from gateway.footprint.estimate import estimate
from gateway.footprint.quantities import ImageWork
from gateway.identity.subject import Subject
from gateway.lifecycle.plan import Configuration, site
from gateway.lifecycle.serve import Images
from gateway.routing.fleet import Fleet
from gateway.routing.readings import hour_of
from gateway.routing.whereabouts import caution, places
from gateway.upstreams.deployments import Deployment
from gateway.usage.periods import rfc3339

MS_PER_HOUR = 3_600_000


class SignalsAnswer(msgspec.Struct):
    """Every zone with readings. `kind` is the one by which candidates are compared; `problems` names the
    sources that gave nothing when they were asked last."""

    data: list[dict[str, Any]]
    kind: str
    problems: dict[str, str]


class DeploymentsAnswer(msgspec.Struct):
    """Every deployment in the order of the file, with what routing knows of it. No URL, no credential."""

    data: list[dict[str, Any]]


@get("/signals", summary="Signals of the grid", responses=errors(401, 503))
async def signals(subject: Part[Subject], images: Part[Images]) -> SignalsAnswer:  # noqa: ARG001
    """Readings per zone: newest value, its hour, age, kind and source."""
    grid = images.grid
    rows = [
        {**row, "hour": rfc3339(int(row["hour"]) * MS_PER_HOUR)} for row in grid.as_json(hour_of(time.time()))
    ]
    return SignalsAnswer(data=rows, kind=grid.kind, problems=grid.problems)


@get("/deployments", summary="Deployments", responses=errors(401, 503))
async def deployments(
    subject: Part[Subject],  # noqa: ARG001
    images: Part[Images],
    configuration: Part[Configuration],
) -> DeploymentsAnswer:
    """Where deployments are, how sure that is, what the grid is like there, and which one leads."""
    listed = configuration.deployments.deployments
    return DeploymentsAnswer(data=[_deployment(one, configuration, images) for one in listed])


def _deployment(deployment: Deployment, configuration: Configuration, images: Images) -> dict[str, Any]:
    factors, grid = configuration.factors, images.grid
    image = estimate(ImageWork(deployment.footprint_model(deployment.models[0])), site(deployment), factors)
    yearly = image.carbon_use_g.central / image.energy_wh.central * 1000
    unsure = caution(deployment, image.zone)
    shown: dict[str, Any] = {
        "id": deployment.id,
        "models": list(deployment.models),
        "provider": deployment.location.provider,
        "region": deployment.location.region,
        "zone": image.zone,
        "pin": deployment.location.pin,
        "places": sorted(places(deployment, image.zone, factors)),
        "intensity": grid.intensity(
            image.zone,
            hour_of(time.time()),
            yearly_g_per_kwh=yearly,
            yearly_source=image.carbon_basis,
        ).as_json(),
        **_use(deployment, images.leases.fleet),
        "latency": {
            kind: {"p50_s": usual.p50_s, "p95_s": usual.p95_s}
            for kind, usual in sorted(images.latencies.of(deployment.id).items())
        },
        "leads": [model for model in deployment.models if grid.incumbent(model) == deployment.id],
        "ordered_by_signals": [model for model in deployment.models if grid.acts(model)],
    }
    if unsure is not None:
        shown["caution"] = unsure
    return shown


def _use(deployment: Deployment, fleet: Fleet) -> dict[str, Any]:
    """Slots and circuit, as all gateways share them, or as this one knows them where `shared` is false."""
    now = time.monotonic()
    sight, in_use = fleet.sight(deployment), fleet.in_use(deployment, now)
    limit = deployment.concurrency
    shown: dict[str, Any] = {
        "full": limit is not None and in_use >= limit,
        "in_use": in_use,
        "in_use_shared": fleet.shared,
        "circuit": sight.state_at(now),
        "failures_in_row": sight.failures,
        "ejections": sight.ejections,
    }
    if limit is not None:
        shown["concurrency"] = limit
    told = fleet.left_out(deployment, now)
    if told is not None:
        shown["left_out"] = told
    return shown


def grid_router() -> Router:
    """The routes below `/eco/v1` that show what routing sees."""
    return Router(path="/eco/v1", route_handlers=[signals, deployments], tags=["eco"])
