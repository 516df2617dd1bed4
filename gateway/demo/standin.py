"""A stand-in image service: a plain ASGI app that speaks the Images API and draws placeholder pictures.

It is no model and says so in every picture, header and model listing. It is slow on purpose, keeps a list of
what it received, and commits faults on demand (`faults`), so that a gateway in front of it meets what real
services do. Refuses to know the gateway: it would serve any client.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from gateway.demo.answers import BadRequest, Job, UsageFamily, error_answer, images_answer, read_job
from gateway.demo.conversations import (
    CHAT,
    RESPONSES,
    chat_answer,
    chat_frames,
    chat_job,
    response_answer,
    response_frames,
    response_job,
    wants_usage,
)
from gateway.demo.drawing import draw
from gateway.demo.faults import Fault, FaultName, UnknownFault, parse_fault
from gateway.demo.forms import SentFile, read_form
from gateway.demo.reply import REFUSALS, Receive, Reply, Scope, Send
from gateway.demo.streaming import Kind, frames, stream

_FAULT_HEADER, _FAULT_FIELD = "x-standin-fault", "standin_fault"
_KEPT_FILES = 64
_ROUTES = ("generations", "edits", "variations")
_CONVERSATIONS = (RESPONSES, CHAT)
_MEGAPIXEL = 1024 * 1024
_MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True, slots=True)
class StandInSettings:
    """One stand-in. `seconds_per_image` is for one megapixel at `steps` steps and scales with both; `stall_s`
    comes to it, whatever is asked.

    Of the requests beyond `capacity` at once each gets a 429 with Retry-After. `region` is told in
    `x-ms-region`, as Azure does.
    """

    zone: str
    model: str = "stand-in-model"
    seconds_per_image: float = 0.0
    steps: int = 28
    usage: UsageFamily = "none"
    api_key: str | None = None
    stall_s: float = 0.0
    capacity: int | None = None
    region: str | None = None


@dataclass(slots=True)
class Received:
    """One request as it came in. `json` is None when the body was neither a JSON object nor a form."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    json: dict[str, Any] | None
    files: list[SentFile] = field(default_factory=list)
    client_left: bool = False


@dataclass(slots=True)
class StandIn:
    """The service. `received` holds every request; `faults_to_come` strike the next requests, one each."""

    settings: StandInSettings
    received: list[Received] = field(default_factory=list)
    faults_to_come: deque[Fault] = field(default_factory=deque)
    in_flight: int = 0
    most_in_flight: int = 0
    turned_away: int = 0
    _files: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    @property
    def generations(self) -> list[Received]:
        """The requests for images among `received`."""
        return [one for one in self.received if one.path.startswith(("/v1/images/", *_CONVERSATIONS))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI; HTTP only."""
        assert scope["type"] == "http", "the server runs without lifespan and websockets"  # noqa: S101
        body = await _read_body(receive)
        if body is None:
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        received = Received(scope["method"], scope["path"], headers, body, _json_object(body))
        form = read_form(headers.get("content-type", ""), body)
        if form is not None:
            received.json, received.files = form
        self.received.append(received)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self._answer(
                received, Reply(scope, receive, send, self.settings.zone, self.settings.region)
            )
        finally:
            self.in_flight -= 1

    async def _answer(self, received: Received, reply: Reply) -> None:
        match received.method, received.path:
            case "POST", path if path.removeprefix("/v1/images/") in _ROUTES:
                await self._generate(received, reply)
            case "POST", path if path in _CONVERSATIONS:
                await self._generate(received, reply)
            case "GET", "/v1/models":
                await reply.json(200, self._models())
            case "GET", path if path.removeprefix("/files/") in self._files:
                media_type, content = self._files[path.removeprefix("/files/")]
                await reply.whole(200, content, media_type)
            case _:
                await reply.json(
                    404, error_answer("This stand-in has no such URL.", error_type="invalid_request_error")
                )

    def _models(self) -> dict[str, Any]:
        model = {"id": self.settings.model, "object": "model", "created": 0, "owned_by": "ecogate-stand-in"}
        return {"object": "list", "data": [model]}

    async def _generate(self, received: Received, reply: Reply) -> None:
        if received.json is None:
            await reply.bad_request("the body must be a JSON object", None)
            return
        try:
            fault = self._fault(received)
            job = _job(received.path, received.json)
        except BadRequest as error:
            await reply.bad_request(str(error), error.param)
            return
        except UnknownFault as error:
            await reply.bad_request(str(error), _FAULT_FIELD)
            return
        expected = self.settings.api_key
        if expected is not None and received.headers.get("authorization") != f"Bearer {expected}":
            fault = Fault(FaultName.REFUSED_KEY)
        if self.settings.capacity is not None and self.in_flight > self.settings.capacity:
            self.turned_away += 1
            fault = Fault(FaultName.RATE_LIMIT, 1)
        if fault is not None and fault.name in REFUSALS:
            await reply.refusal(fault)
            return
        seconds = self._seconds(job, fault)
        if job.stream and (fault is None or fault.name is not FaultName.IGNORE_STREAM):
            await self._stream(job, fault, seconds, received, reply)
            return
        if await reply.client_leaves_within(seconds):
            received.client_left = True
            return
        await self._deliver(job, fault, received, reply)

    async def _stream(
        self, job: Job, fault: Fault | None, seconds: float, received: Received, reply: Reply
    ) -> None:
        side = int(fault.amount) if fault is not None and fault.name is FaultName.SIZE else None
        padding = int(fault.amount * 1_000_000) if fault is not None and fault.name is FaultName.HUGE else 0
        count = int(fault.amount) if fault is not None and fault.name is FaultName.IMAGES else job.n
        pictures = await asyncio.to_thread(self._draw, job, count, side, padding)
        body = received.json or {}
        if received.path == RESPONSES:
            events = list(response_frames(self._conversation(received, job, pictures, fault), job))
        elif received.path == CHAT:
            answer = self._conversation(received, job, pictures, fault)
            events = list(chat_frames(answer, usage=wants_usage(body)))
        else:
            usage = "none" if fault is not None and fault.name is FaultName.NO_USAGE else self.settings.usage
            kind: Kind = "image_edit" if received.path.endswith("edits") else "image_generation"
            events = list(frames(job, pictures, kind, usage))
        stayed = await stream(reply, events, pause_s=seconds / len(events), fault=fault)
        received.client_left = not stayed

    def _fault(self, received: Received) -> Fault | None:
        asked = received.headers.get(_FAULT_HEADER) or (received.json or {}).get(_FAULT_FIELD)
        fault = parse_fault(str(asked)) if asked else None
        if fault is None and self.faults_to_come:
            fault = self.faults_to_come.popleft()
        return fault if fault is not None and fault.strikes(self.settings.zone) else None

    def _seconds(self, job: Job, fault: Fault | None) -> float:
        per_image = self.settings.seconds_per_image * job.width * job.height / _MEGAPIXEL
        stall = fault.amount if fault is not None and fault.name is FaultName.STALL else 0.0
        stall += self.settings.stall_s
        return stall + job.n * per_image * (job.steps or self.settings.steps) / self.settings.steps

    async def _deliver(self, job: Job, fault: Fault | None, received: Received, reply: Reply) -> None:
        name = fault.name if fault is not None else None
        amount = fault.amount if fault is not None else 0.0
        if name is FaultName.RESET:
            await reply.reset()
            return
        if name is FaultName.MALFORMED:
            await reply.whole(200, b'{"created": 1, "data": [', "application/json")
            return
        if name is FaultName.WRONG_SHAPE:
            await reply.json(200, {"ok": True})
            return
        if name is FaultName.SUCCESS_ERROR:
            await reply.json(200, {"error": {"message": "Provider returned error", "code": int(amount)}})
            return
        if name is FaultName.HTML:
            await reply.whole(200, b"<!doctype html><title>Hello</title>", "text/html")
            return
        count = int(amount) if name is FaultName.IMAGES else job.n
        side = int(amount) if name is FaultName.SIZE else None
        padding = int(amount * 1_000_000) if name is FaultName.HUGE else 0
        pictures = await asyncio.to_thread(self._draw, job, count, side, padding)
        body = json.dumps(self._whole(received, job, pictures, fault)).encode()
        match name:
            case FaultName.GZIP:
                await reply.whole(200, gzip.compress(body, 1), "application/json", encoding="gzip")
            case FaultName.CUT:
                await reply.half(body)
            case FaultName.STALL_BODY:
                await reply.with_silence(body, amount)
            case _:
                await reply.whole(200, body, "application/json")

    def _whole(
        self, received: Received, job: Job, pictures: list[bytes], fault: Fault | None
    ) -> dict[str, Any]:
        if received.path in _CONVERSATIONS:
            return self._conversation(received, job, pictures, fault)
        entries = [self._entry(job, picture, received) for picture in pictures]
        usage = "none" if fault is not None and fault.name is FaultName.NO_USAGE else self.settings.usage
        answer = images_answer(job, entries, created=int(time.time()), usage=usage)
        if fault is not None and fault.name is FaultName.SIZE:
            answer["size"] = f"{int(fault.amount)}x{int(fault.amount)}"
        return answer

    def _conversation(
        self, received: Received, job: Job, pictures: list[bytes], fault: Fault | None
    ) -> dict[str, Any]:
        name = fault.name if fault is not None else None
        make = response_answer if received.path == RESPONSES else chat_answer
        usage = self.settings.usage == "tokens" and name is not FaultName.NO_USAGE
        tool_usage = name is not FaultName.NO_TOOL_USAGE
        return make(received.json or {}, job, pictures, usage=usage, tool_usage=tool_usage)

    def _draw(self, job: Job, count: int, side: int | None, padding: int) -> list[bytes]:
        width, height = (job.width, job.height) if side is None else (side, side)
        label = f"{self.settings.zone} - nothing real was generated"
        return [
            draw(
                job.prompt, index, width=width, height=height, label=label, image_format=job.output_format
            ).ljust(padding, b"\0")
            for index in range(count)
        ]

    def _entry(self, job: Job, picture: bytes, received: Received) -> dict[str, str]:
        if job.response_format == "b64_json":
            return {"b64_json": base64.b64encode(picture).decode()}
        name = f"{uuid.uuid4().hex}.{job.output_format}"
        self._files[name] = (_MEDIA_TYPES[job.output_format], picture)
        while len(self._files) > _KEPT_FILES:
            del self._files[next(iter(self._files))]
        return {"url": f"http://{received.headers['host']}/files/{name}"}


def _job(path: str, body: dict[str, Any]) -> Job:
    """What a body asks to have drawn; raises BadRequest."""
    if path in _CONVERSATIONS:
        return response_job(body) if path == RESPONSES else chat_job(body)
    return read_job({"prompt": "a variation", **body} if path.endswith("variations") else body)


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body; None when the client left before its end."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
