"""Answers with images: every byte and every header that the gateway adds to one is added here.

A value that is not known has no header; none is ever 0 for want of knowledge.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.images.strict_json import plain_name
from gateway.upstreams.answers import ANSWER_HEADER_PREFIX, UpstreamAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from litestar.types import ASGIApp, HTTPResponseStartEvent, Receive, Scope, Send

    from gateway.footprint.quantities import Footprint
    from gateway.lifecycle.ask import Served
    from gateway.lifecycle.relay import Relay

CHUNK_BYTES = 256 * 1024
STREAM_HEADERS = [("cache-control", "no-cache"), ("x-accel-buffering", "no")]
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
    "ecogate-decision": (
        "`allow`, `downgrade`, `reroute` or `warn`, see the headers below; `unenforced`: the store was away"
    ),
    "ecogate-rerouted": "Where budgets moved the request, as `from=flux-pl, to=flux-eco`",
    "ecogate-downgraded": "What was made lighter to fit the budgets, as `quality=low, size=512x512`",
    "ecogate-budget-remaining": "The tightest budget that the caller may see, as `name;dimension=remaining`",
    "ecogate-warning": "What makes the figures weaker than usual, and what budgets warn of",
    "ecogate-dropped-params": "Parameters that this image service does not take and was not sent",
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


def answer_app(served: Served, limits: Mapping[str, str]) -> ASGIApp:
    """What sends a served answer; `limits` say how the caller's key stands."""
    headers = [*served_headers(served, limits)]
    if served.relay is not None:
        return StreamAnswer(served.answer.status, headers, served.relay)
    assert isinstance(served.answer, UpstreamAnswer), "what is no stream was spooled"  # noqa: S101
    return ImageAnswer(headers, served.answer, served.member)


class ImageAnswer:
    """An ASGI application that sends one spooled answer, byte for byte as the service gave it.

    When the client asked for the footprint, the JSON object gets one more member.
    """

    def __init__(self, headers: list[tuple[str, str]], answer: UpstreamAnswer, member: bytes | None) -> None:
        self._headers = headers
        self._answer = answer
        self._member = member

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        answer = self._answer
        member = self._member if answer.media_type.endswith("json") else None
        try:
            until = _closing_brace(answer) if member is not None else answer.length
            length = answer.length + len(member or b"")
            headers = [*self._headers, ("content-length", str(length))]
            await send(_start(answer.status, headers))
            answer.body.seek(0)
            while chunk := answer.body.read(min(CHUNK_BYTES, until - answer.body.tell())):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            rest = (member or b"") + answer.body.read()
            await send({"type": "http.response.body", "body": rest, "more_body": False})
        finally:
            answer.close()


class StreamAnswer:
    """An ASGI application that sends a stream as it comes and says when the client leaves it.

    A stream that may not end cleanly is left without its end, so that the server breaks the connection.
    """

    def __init__(self, status: int, headers: list[tuple[str, str]], relay: Relay) -> None:
        self._status = status
        self._headers = headers
        self._relay = relay

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        relay = self._relay
        watcher = asyncio.ensure_future(_watch(receive, relay.gone))
        headers = [*self._headers, *STREAM_HEADERS]
        try:
            await send(_start(self._status, headers))
            async for piece in relay.pieces():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if relay.complete:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            relay.gone.set()
            watcher.cancel()


async def _watch(receive: Receive, gone: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


def _start(status: int, headers: list[tuple[str, str]]) -> HTTPResponseStartEvent:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


def _closing_brace(answer: UpstreamAnswer) -> int:
    """Where the object ends; the scan has read it, so there is one, with nothing but blanks behind."""
    position = max(0, answer.length - CHUNK_BYTES)
    answer.body.seek(position)
    return position + answer.body.read().rindex(b"}")


def served_headers(served: Served, limits: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The service's headers that may pass, and ours."""
    answer = served.answer
    yield from answer.headers if not limits else _without_limits(answer.headers)
    yield from limits.items()
    if served.footprint is not None:
        yield from footprint_headers(served.footprint)
        yield "ecogate-basis", served.basis
    yield "ecogate-deployment", served.route.deployment.id
    if served.footprint is not None and served.footprint.zone is not None:
        yield "ecogate-zone", served.footprint.zone
    yield "ecogate-decision", served.decision
    if served.downgraded is not None:
        yield "ecogate-downgraded", served.downgraded.encode("ascii", "replace").decode()
    if served.rerouted is not None:
        yield "ecogate-rerouted", served.rerouted.encode("ascii", "replace").decode()
    if served.remaining is not None:
        yield "ecogate-budget-remaining", served.remaining
    if served.warnings:
        yield "ecogate-warning", "; ".join(served.warnings).encode("ascii", "replace").decode()
    if dropped := [name for name in answer.left_out if plain_name(name)]:
        yield "ecogate-dropped-params", ", ".join(dropped)
    if answer.request_id is not None:
        yield "ecogate-upstream-request-id", answer.request_id


def _without_limits(headers: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """A service's own limits are those of all who use its deployment, and one name cannot mean both."""
    return ((name, value) for name, value in headers if not name.startswith(ANSWER_HEADER_PREFIX))


def footprint_headers(footprint: Footprint) -> Iterator[tuple[str, str]]:
    """Energy, water and carbon of the whole request, central estimate and band."""
    quantities = (footprint.energy_wh, footprint.water_ml, footprint.carbon_g)
    for name, quantity in zip(QUANTITIES, quantities, strict=True):
        yield name, shown(quantity.central)
        yield f"{name}-low", shown(quantity.low)
        yield f"{name}-high", shown(quantity.high)
