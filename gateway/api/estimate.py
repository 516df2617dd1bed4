"""`POST /eco/v1/estimate`: the same body as a real request, answered with its price and its verdict."""

from typing import Annotated, Any

from litestar import Request, post
from litestar.params import QueryParameter

from gateway.api.bodies import read_json
from gateway.api.openapi import EstimateOperation, errors
from gateway.api.parts import Part
from gateway.identity.subject import Subject
from gateway.images.request import read_generation
from gateway.lifecycle.dry_run import dry_run
from gateway.lifecycle.serve import Images


@post(
    "/estimate",
    status_code=200,
    tags=["eco"],
    summary="Estimate a request",
    operation_class=EstimateOperation,
    responses=errors(400, 401, 404, 408, 413, 415, 503),
)
async def estimate(
    request: Request[Any, Any, Any],
    subject: Part[Subject],
    images: Part[Images],
    explain: Annotated[bool, QueryParameter(description="Show every step, factor and source")] = False,
) -> dict[str, Any]:
    """What this body would cost, where it would go and whether budgets would admit it; nothing is sent."""
    return await dry_run(images, subject, read_generation(await read_json(request)), explain=explain)
