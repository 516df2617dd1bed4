"""Answers with images: every byte and every header that the gateway adds to one is added here.

A value that is not known has no header; none is ever 0 for want of knowledge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litestar.types import Receive, Scope, Send

    from gateway.footprint.quantities import Footprint
    from gateway.lifecycle.ask import Served

CHUNK_BYTES = 256 * 1024
QUANTITIES = ("ecogate-energy-wh", "ecogate-water-ml", "ecogate-carbon-g")

HEADERS = {
    "ecogate-energy-wh": "Facility energy of the whole request in Wh, central estimate",
    "ecogate-energy-wh-low": "Lower bound of the energy in Wh",
    "ecogate-energy-wh-high": "Upper bound of the energy in Wh",
    "ecogate-water-ml": "Water consumed on site and at power plants in mL, central estimate",
    "ecogate-water-ml-low": "Lower bound of the water in mL",
    "ecogate-water-ml-high": "Upper bound of the water in mL",
    "ecogate-carbon-g": "Carbon, use and embodied, in gCO2e, central estimate",
    "ecogate-carbon-g-low": "Lower bound of the carbon in gCO2e",
    "ecogate-carbon-g-high": "Upper bound of the carbon in gCO2e",
    "ecogate-basis": "`settled`: computed from what came back; `estimate`: from what was asked",
    "ecogate-deployment": "The deployment that did the work",
    "ecogate-zone": "Its electricity zone, where that is known",
    "ecogate-decision": "`allow`; a refused request has an error instead",
    "ecogate-budget-remaining": "The tightest budget that the caller may see, as `name;dimension=remaining`",
    "ecogate-warning": "What makes the figures weaker than usual",
    "ecogate-upstream-request-id": "The image service's own id of the request",
}
"""Every header that an answer with images may have, with its meaning."""
ALWAYS = frozenset(name for name in HEADERS if name.startswith(QUANTITIES)) | {
    "ecogate-basis",
    "ecogate-deployment",
    "ecogate-decision",
}
"""Those that every such answer has."""


def shown(value: float) -> str:
    """A number as a header carries it: six significant digits, no exponent for ordinary sizes."""
    return f"{value:.6g}"


class ImageAnswer:
    """An ASGI application that sends one served answer, byte for byte as the service gave it."""

    def __init__(self, served: Served) -> None:
        self._served = served

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        answer = self._served.answer
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": answer.status,
                    "headers": [(name.encode(), value.encode("latin-1")) for name, value in self._headers()],
                }
            )
            answer.body.seek(0)
            while chunk := answer.body.read(CHUNK_BYTES):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            answer.close()

    def _headers(self) -> Iterator[tuple[str, str]]:
        served, answer = self._served, self._served.answer
        yield from answer.headers
        yield "content-length", str(answer.length)
        yield from footprint_headers(served.footprint)
        yield "ecogate-basis", served.basis
        yield "ecogate-deployment", served.route.deployment.id
        if served.footprint.zone is not None:
            yield "ecogate-zone", served.footprint.zone
        yield "ecogate-decision", served.decision
        if served.remaining is not None:
            yield "ecogate-budget-remaining", served.remaining
        if served.warnings:
            yield "ecogate-warning", "; ".join(served.warnings).encode("ascii", "replace").decode()
        if answer.request_id is not None:
            yield "ecogate-upstream-request-id", answer.request_id


def footprint_headers(footprint: Footprint) -> Iterator[tuple[str, str]]:
    """Energy, water and carbon of the whole request, central estimate and band."""
    quantities = (footprint.energy_wh, footprint.water_ml, footprint.carbon_g)
    for name, quantity in zip(QUANTITIES, quantities, strict=True):
        yield name, shown(quantity.central)
        yield f"{name}-low", shown(quantity.low)
        yield f"{name}-high", shown(quantity.high)
