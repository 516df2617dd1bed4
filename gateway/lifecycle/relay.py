"""A stream on its way from an image service to a client, through the life that pays for it.

A slow client slows the service down; a client that left stops nothing but the copying. Nothing is reordered,
merged or held back. Refuses to know budgets and HTTP frameworks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from typing import TYPE_CHECKING, Literal

from gateway.errors import ApiError, OutcomeUnknown
from gateway.lifecycle import failures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.images.event_stream import StreamScan
    from gateway.lifecycle.annotation import Annotator
    from gateway.upstreams.answers import UpstreamStream

PIECES_ON_THE_WAY = 4
FINISH_WITHIN_S = 30.0
HEARTBEAT = b": working\n"
"""A comment line alone: an empty line behind it would be an event without data to some stock clients."""

Ending = Literal["ended", "client_gone"]


class Relay:
    """The pieces between the two. `complete` says at the end whether the body may end cleanly."""

    def __init__(self, gone: asyncio.Event) -> None:
        self.gone = gone
        self.complete = False
        self._pieces: deque[bytes] = deque()
        self._changed = asyncio.Condition()
        self._discarding = False
        self._ended = False

    @property
    def idle(self) -> bool:
        """Whether the client has taken everything so far."""
        return not self._pieces

    async def put(self, piece: bytes) -> None:
        """Takes a piece, as soon as the client has taken earlier ones."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._discarding or len(self._pieces) < PIECES_ON_THE_WAY)
            if piece and not self._discarding:
                self._pieces.append(piece)
                self._changed.notify_all()

    async def discard(self) -> None:
        """Nobody reads any more."""
        async with self._changed:
            self._discarding = True
            self._pieces.clear()
            self._changed.notify_all()

    async def end(self, *, complete: bool) -> None:
        """No more pieces; when not `complete`, the connection is to be broken off."""
        async with self._changed:
            self.complete, self._ended = complete, True
            self._changed.notify_all()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Every piece, until the end."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._pieces or self._ended)
                if not self._pieces:
                    return
                piece = self._pieces.popleft()
                self._changed.notify_all()
            yield piece


async def follow(
    stream: UpstreamStream,
    relay: Relay,
    scan: StreamScan,
    *,
    finish: bool,
    amend: Annotator | None,
    heartbeat_s: float | None = None,
) -> Ending:
    """Relays a stream to its end, or until the client leaves: then it is closed at once, unless `finish`.

    `amend` may add to a chunk, given where completed pictures end in it. After `heartbeat_s` without a byte
    from the service the client gets a comment. Raises `OutcomeUnknown` when the stream breaks off.
    """

    async def pump() -> None:
        async for chunk in with_silences(stream.chunks(), heartbeat_s):
            if chunk is None:
                if relay.idle and scan.takes_a_comment and not (amend is not None and amend.held):
                    await relay.put(HEARTBEAT)
                continue
            completed = scan.feed(chunk)
            await relay.put(chunk if amend is None else amend(chunk, completed))

    pumping = asyncio.ensure_future(pump())
    leaving = asyncio.ensure_future(relay.gone.wait())
    try:
        await asyncio.wait({pumping, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if pumping.done():
            await pumping
            return "ended"
        if finish:
            await relay.discard()
            with contextlib.suppress(TimeoutError, OutcomeUnknown):
                await asyncio.wait_for(pumping, FINISH_WITHIN_S)
        return "client_gone"
    finally:
        leaving.cancel()
        pumping.cancel()
        with contextlib.suppress(asyncio.CancelledError, OutcomeUnknown):
            await pumping
        await stream.close()


async def with_silences(chunks: AsyncIterator[bytes], after_s: float | None) -> AsyncIterator[bytes | None]:
    """The chunks, and a `None` for every `after_s` seconds in which there was none."""
    if after_s is None:
        async for chunk in chunks:
            yield chunk
        return
    coming: asyncio.Task[bytes | None] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(_next(chunks))
            if not (await asyncio.wait({coming}, timeout=after_s))[0]:
                yield None
                continue
            came, coming = coming.result(), None
            if came is None:
                return
            yield came
    finally:
        if coming is not None:
            coming.cancel()
            with contextlib.suppress(asyncio.CancelledError, OutcomeUnknown):
                await coming


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)


def error_event(error: ApiError) -> bytes:
    """An error as stock clients recognise it in a stream: with a nested `error` object."""
    return f"event: error\ndata: {json.dumps({'type': 'error', **error.body()})}\n\n".encode()


def broke_off() -> ApiError:
    """The service ended its stream without a picture and without an error, which is neither."""
    return failures.unknown(OutcomeUnknown("The image service's stream ended before the image was complete."))
