"""How the OpenAI Images API is spoken to a deployment: what goes through, what is renamed or dropped.

Pure: a request and a deployment in, bytes out. Refuses to know sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from gateway.images.request import ImageRequest
    from gateway.upstreams.deployments import Deployment

PATHS = {"images.generate": "/images/generations"}


def path(request: ImageRequest) -> str:
    """The path below a deployment's base URL."""
    return PATHS[request.route]


def body(request: ImageRequest, deployment: Deployment) -> bytes:
    """The body as it is sent: the fields that were read, in their order, with the deployment's model name.

    Written anew from what was priced, so that no other reader can find another meaning in it. Raises
    `InvalidRequest` when the deployment refuses unknown parameters and there are some.
    """
    fields = request.fields
    unknown = request.unknown_fields()
    if unknown and deployment.unknown_params == "refuse":
        raise InvalidRequest(
            f"'{unknown[0]}' is not a parameter that this model accepts.",
            code="unknown_parameter",
            param=unknown[0] if unknown[0].isidentifier() else None,
        )
    if deployment.unknown_params == "drop":
        fields = {name: value for name, value in fields.items() if name not in unknown}
    if deployment.upstream_model is not None:
        fields = fields | {"model": deployment.upstream_model}
    return msgspec.json.encode(fields)
