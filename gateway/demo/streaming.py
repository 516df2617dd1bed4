"""The stand-in's event streams: partial pictures, then the completed one, framed as OpenAI frames them.

Misbehaves on demand: breaks off between events or within one, ends too early, reports an error. Refuses to
draw; it is given pictures.
"""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any, Literal

from gateway.demo.answers import Job, UsageFamily, tokens
from gateway.demo.faults import Fault, FaultName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.demo.reply import Reply

Kind = Literal["image_generation", "image_edit"]
STREAM_FAULTS = (FaultName.STREAM_RESET, FaultName.STREAM_CUT, FaultName.STREAM_END, FaultName.STREAM_ERROR)


def framed(event: dict[str, Any]) -> bytes:
    """One event as it goes over the wire."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def error_frame() -> bytes:
    error = {"type": "server_error", "code": "server_error", "message": "The stream failed.", "param": None}
    return framed({"type": "error", "error": error})


def frames(job: Job, pictures: list[bytes], kind: Kind, usage: UsageFamily) -> Iterator[bytes]:
    """The events of every picture, one after the other."""
    for picture in pictures:
        facts = {
            "b64_json": base64.b64encode(picture).decode(),
            "background": "opaque",
            "created_at": int(time.time()),
            "output_format": job.output_format,
            "quality": job.quality,
            "size": job.size,
        }
        for index in range(job.partial_images):
            yield framed({"type": f"{kind}.partial_image", **facts, "partial_image_index": index})
        completed = {"type": f"{kind}.completed", **facts}
        if usage == "tokens":
            completed["usage"] = tokens(job, 1)
        yield framed(completed)


async def stream(reply: Reply, events: list[bytes], *, pause_s: float, fault: Fault | None) -> bool:
    """Sends events with a pause before each. False when the client left first."""
    name = fault.name if fault is not None and fault.name in STREAM_FAULTS else None
    whole = int(fault.amount) if fault is not None and name is not None else len(events)
    if fault is not None and fault.name is FaultName.STREAM_STALL:
        pause_s = fault.amount
    await reply.begin_stream()
    for event in events[:whole]:
        if await reply.client_leaves_within(pause_s):
            return False
        await reply.piece(event)
    if name is FaultName.STREAM_CUT:
        next_event = events[min(whole, len(events) - 1)]
        await reply.piece(next_event[: len(next_event) // 2])
    if name in (FaultName.STREAM_CUT, FaultName.STREAM_RESET):
        await reply.reset_later()
        return True
    if name is FaultName.STREAM_ERROR:
        await reply.piece(error_frame())
    await reply.end_stream()
    return True
