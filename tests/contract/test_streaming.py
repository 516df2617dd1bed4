"""Streams through the gateway, byte by byte: points 47 to 60 of the conformance table."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from gateway.demo.standin import StandInSettings
from gateway.lifecycle.relay import HEARTBEAT
from tests.contract.behind import ASK, COMPLETED, PARTIAL, b64, behind, event, images
from tests.lifecycle.reading import recorded
from tests.running import GENERATIONS, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.scripted import Exchange

STREAM: dict[str, Any] = {**ASK, "stream": True, "partial_images": 1}


async def read(client: httpx.AsyncClient, body: dict[str, Any]) -> tuple[httpx.Headers, bytes]:
    """A whole streamed answer, or what came of it before it broke."""
    received = b""
    async with client.stream("POST", GENERATIONS, json=body) as answer:
        with contextlib.suppress(httpx.RemoteProtocolError):
            async for chunk in answer.aiter_raw():
                received += chunk
    return answer.headers, received


async def test_what_the_service_writes_arrives_in_its_bytes_and_before_it_goes_on(
    tmp_path: Path, redis_url: str
) -> None:
    """47: the service waits for the client between events, so nothing may be held back on the way."""
    strange = b'id: 7\r\nevent: image_generation.something_new\r\ndata: {"type":"x"}\r\n\r\n'
    pieces = [PARTIAL, b": a comment\n", strange, PARTIAL[:10], PARTIAL[10:-1], PARTIAL[-1:], COMPLETED]
    arrived = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        for piece in pieces:
            await exchange.chunk(piece)
            await asyncio.wait_for(arrived.wait(), 10)
            arrived.clear()
        await exchange.chunk(b"")

    async with behind(tmp_path, redis_url, script) as here:
        seen: list[bytes] = []
        async with here.client.stream("POST", GENERATIONS, json=STREAM) as answer:
            async for chunk in answer.aiter_raw():
                seen.append(chunk)
                arrived.set()

        assert seen == pieces
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        assert {"content-length", "content-encoding"}.isdisjoint(answer.headers)
        record = await recorded(here.client, answer.headers["x-request-id"])
        assert (record["images"], record["usage"]["output_tokens"]) == (1, 5)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "*/*"])
async def test_the_accept_header_decides_nothing(tmp_path: Path, redis_url: str, accept: str) -> None:
    """49 and 50: `stream` in the body and the service's content type decide."""

    async def script(exchange: Exchange) -> None:
        if exchange.json.get("prompt") == "no streams":
            await exchange.answer(images())
            return
        await exchange.begin_stream()
        await exchange.chunk(COMPLETED)
        await exchange.chunk(b"")

    async with behind(tmp_path, redis_url, script) as here:
        here.client.headers["accept"] = accept

        headers, streamed = await read(here.client, STREAM)
        plain = await here.client.post(GENERATIONS, json={**STREAM, "prompt": "no streams"})

        assert (headers["content-type"], streamed) == ("text/event-stream", COMPLETED)
        assert (plain.headers["content-type"], plain.content) == ("application/json", images())
        assert plain.headers["ecogate-basis"] == "settled"


async def test_a_line_of_eight_megabytes_passes_whole_and_is_counted(tmp_path: Path, redis_url: str) -> None:
    """52: no limit on a line, whatever the cuts."""
    long = json.dumps({"type": "image_generation.completed", "b64_json": b64() + "A" * 8_000_000})
    stream = f"event: image_generation.completed\r\ndata: {long}\r\n\r\n".encode()

    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        for start in range(0, len(stream), 70_001):
            await exchange.chunk(stream[start : start + 70_001])
        await exchange.chunk(b"")

    async with behind(tmp_path, redis_url, script) as here:
        headers, received = await read(here.client, STREAM)

        assert received == stream
        assert (await recorded(here.client, headers["x-request-id"]))["images"] == 1


@pytest.mark.parametrize("ends", ["cleanly", "by breaking off"])
async def test_a_stream_without_its_completed_event_is_an_error_and_an_estimate(
    tmp_path: Path, redis_url: str, ends: str
) -> None:
    """51 and 54: stock clients raise; the record says that the charge is estimated."""

    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        await exchange.chunk(PARTIAL)
        if ends == "cleanly":
            await exchange.chunk(b"")
        else:
            await asyncio.sleep(0.1)
            exchange.writer.close()

    async with behind(tmp_path, redis_url, script, budgets=[budget()]) as here:
        headers, received = await read(here.client, STREAM)
        client = await here.gateway.openai(here.key)
        with pytest.raises(openai.APIError, match="charged as estimated"):
            [one async for one in await client.images.generate(**STREAM)]

        assert received.startswith(PARTIAL + b"event: error\ndata: ")
        record = await recorded(here.client, headers["x-request-id"])
        assert (record["outcome"], record["usage_basis"]) == ("unknown", "estimated")
        assert await here.budgets() == (2, 0)


async def test_a_limit_reached_by_others_does_not_touch_a_stream_that_runs(
    tmp_path: Path, redis_url: str
) -> None:
    """55: what was admitted is finished, and nothing of ours is put between its events."""
    go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if not exchange.json.get("stream"):
            await exchange.answer(images())
            return
        await exchange.begin_stream()
        await exchange.chunk(PARTIAL)
        await go_on.wait()
        await exchange.chunk(COMPLETED)
        await exchange.chunk(b"")

    async with behind(tmp_path, redis_url, script, budgets=[budget(limits={"images": 2})]) as here:
        streaming = asyncio.create_task(read(here.client, STREAM))
        while not here.service.exchanges:
            await asyncio.sleep(0.01)
        last = await here.post()
        refused = await here.post()
        go_on.set()

        assert (last.status_code, refused.status_code) == (200, 429)
        assert (await streaming)[1] == PARTIAL + COMPLETED
        assert await here.budgets() == (2, 0)


async def test_silence_is_left_alone_unless_heartbeats_are_wanted(tmp_path: Path, redis_url: str) -> None:
    """53: off by default; then comment lines without an empty line, between events only."""

    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        for piece in (PARTIAL, COMPLETED[:20], COMPLETED[20:]):
            await asyncio.sleep(0.4)
            await exchange.chunk(piece)
        await exchange.chunk(b"")

    async with behind(tmp_path, redis_url, script) as here:
        assert (await read(here.client, STREAM))[1] == PARTIAL + COMPLETED
    async with behind(tmp_path, redis_url, script, stream_heartbeat_s=0.1) as here:
        received = (await read(here.client, STREAM))[1]

    assert received.replace(HEARTBEAT, b"") == PARTIAL + COMPLETED
    before, _, between = received.partition(PARTIAL)
    assert before
    assert before == HEARTBEAT * before.count(HEARTBEAT)
    assert between.partition(COMPLETED)[0] == HEARTBEAT * between.count(HEARTBEAT)
    assert between.endswith(COMPLETED)
    assert HEARTBEAT.endswith(b"\n")
    assert not HEARTBEAT.endswith(b"\n\n")


async def test_a_heartbeat_never_parts_the_end_of_a_line(tmp_path: Path, redis_url: str) -> None:
    """53: a service may fall silent between the two characters of a line's end, or with a brace held back."""
    one = event("image_generation.completed").replace(b"\n", b"\r\n")

    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        for piece in (one[:-1], one[-1:], COMPLETED[:-2], COMPLETED[-2:]):
            await exchange.chunk(piece)
            await asyncio.sleep(0.3)
        await exchange.chunk(b"")

    async with behind(tmp_path, redis_url, script, stream_heartbeat_s=0.05) as here:
        received = (await read(here.client, STREAM))[1]
        here.client.headers["ecogate-include"] = "footprint"
        annotated = (await read(here.client, STREAM))[1]

    assert received.replace(HEARTBEAT, b"") == one + COMPLETED
    assert received.startswith(one + HEARTBEAT)
    assert COMPLETED in received
    first, second = (line for line in annotated.splitlines() if line.startswith(b"data: "))
    assert all("ecogate" in json.loads(line[6:]) for line in (first, second))


@pytest.mark.parametrize("setting", ["abort", "finish"])
async def test_a_client_that_leaves_ends_the_work_or_lets_it_finish(
    tmp_path: Path, redis_url: str, setting: str
) -> None:
    """56 and 57, at the service: its connection closes at once, or its work is taken in and settled."""
    closed: list[bool] = []
    go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        streamed = bool(exchange.json.get("stream"))
        if streamed:
            await exchange.begin_stream()
            await exchange.chunk(PARTIAL)
        if setting == "abort":
            closed.append(await asyncio.wait_for(exchange.left(), 10))
        else:
            await go_on.wait()
            await (exchange.chunk(COMPLETED) if streamed else exchange.answer(images()))
            if streamed:
                await exchange.chunk(b"")

    wanted = {"on_disconnect": setting}
    async with behind(tmp_path, redis_url, script, budgets=[budget()], deployment=wanted) as here:
        async with here.client.stream("POST", GENERATIONS, json=STREAM) as answer:
            await anext(answer.aiter_raw())
        request = here.head("Content-Type: application/json", f"Content-Length: {len(json.dumps(ASK))}")
        async with here.connection() as (_, writer):
            writer.write(request + json.dumps(ASK).encode())
            while len(here.service.exchanges) < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        go_on.set()

        async with asyncio.timeout(10):
            while await here.budgets() != (2, 0):
                await asyncio.sleep(0.02)
        assert closed == ([True, True] if setting == "abort" else [])
        record = await recorded(here.client, answer.headers["x-request-id"])
        assert record["outcome"] == ("client_gone" if setting == "abort" else "delivered")


async def test_a_client_that_does_not_read_slows_the_service_down(tmp_path: Path, redis_url: str) -> None:
    """97: what nobody reads is not taken in, so the gateway's memory does not grow with the answer."""
    total, step = 40_000_000, 100_000
    taken = 0

    async def script(exchange: Exchange) -> None:
        nonlocal taken
        await exchange.begin_stream()
        while taken < total:
            await exchange.chunk(b":" + b"x" * (step - 2) + b"\n")
            taken += step
        await exchange.chunk(COMPLETED)
        await exchange.chunk(b"")

    async with behind(tmp_path, redis_url, script) as here:
        async with here.client.stream("POST", GENERATIONS, json=STREAM) as answer:
            chunks = answer.aiter_raw()
            await anext(chunks)
            before = -1
            while before != taken:
                before = taken
                await asyncio.sleep(0.3)

            assert taken < total / 2
            rest = [chunk async for chunk in chunks]

        assert taken == total
        assert rest[-1].endswith(COMPLETED[-100:])


async def test_a_hundred_slow_streams_do_not_hold_up_a_list_of_models(tmp_path: Path, redis_url: str) -> None:
    """60: the models come while every stream is still open."""
    zones = {"SE": StandInSettings(zone="SE")}
    async with gateway_running(tmp_path, redis_url, zones=zones) as gateway:
        client = await gateway.member()
        standin = gateway.standins["SE"].standin
        slow = {**STREAM, "standin_fault": "stream_stall:60"}
        streams = [asyncio.create_task(read(client, slow)) for _ in range(100)]
        async with asyncio.timeout(60):
            while standin.most_in_flight < 100:
                await asyncio.sleep(0.02)

        listed = await client.get("/v1/models")

        assert listed.status_code == 200
        assert standin.in_flight == 100
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
