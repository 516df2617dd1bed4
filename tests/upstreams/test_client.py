"""Did the work surely not start? Asked on real sockets, because only they break in every way."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from gateway.demo.faults import parse_fault
from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from gateway.errors import NotStarted, OutcomeUnknown, Rejected, UpstreamFailure
from gateway.images.request import ImageRequest, read_generation
from gateway.upstreams.answers import UpstreamAnswer, UpstreamStream
from gateway.upstreams.client import Upstream, Upstreams
from gateway.upstreams.deployments import Deployment
from gateway.upstreams.refusals import error_in_success

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.demo.serving import Running

MAX_BYTES = 50_000_000
TRACEPARENT = f"00-{'1' * 32}-{'2' * 16}-01"
SECRET = "sk-upstream-secret-value"


def asked(**fields: Any) -> ImageRequest:
    return read_generation(json.dumps({"prompt": "cat", "model": "m", "size": "64x64", **fields}).encode())


def deployment(base_url: str, **fields: Any) -> Deployment:
    return Deployment("one", ("m",), base_url, SecretStr(SECRET), **fields)


@asynccontextmanager
async def upstream_to(
    base_url: str, *, read_timeout_s: float = 5.0, **fields: Any
) -> AsyncIterator[Upstream]:
    upstreams = Upstreams(connect_timeout_s=1.0, read_timeout_s=read_timeout_s)
    try:
        yield upstreams.to(deployment(base_url, **fields))
    finally:
        await upstreams.close()


@pytest.fixture
async def standin() -> AsyncIterator[Running]:
    async with serving(StandInSettings(zone="SE", api_key=SECRET)) as running:
        yield running


async def send(upstream: Upstream, request: ImageRequest, **headers: str) -> UpstreamAnswer:
    answer = await upstream.send(request, trace_headers=headers, max_answer_bytes=MAX_BYTES)
    assert isinstance(answer, UpstreamAnswer)
    return answer


async def body_of(upstream: Upstream, request: ImageRequest, **headers: str) -> bytes:
    answer = await send(upstream, request, **headers)
    with closing(answer):
        body = answer.read()
        assert answer.status == 200
        assert answer.length == len(body)
        return body


async def failure(upstream: Upstream, request: ImageRequest) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as error:
        await send(upstream, request)
    assert SECRET not in str(error.value)
    assert "127.0.0.1" not in str(error.value)
    return error.value


@asynccontextmanager
async def raw_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that does with a connection what `handle` does; keeps the requests that reached it."""
    requests: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line
        )
        requests.append(head + await reader.readexactly(length))
        try:
            await handle(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", requests


async def test_an_answer_comes_back_byte_for_byte(standin: Running) -> None:
    async with upstream_to(standin.base_url) as upstream:
        body = await body_of(upstream, asked(n=2))

    assert len(json.loads(body)["data"]) == 2


async def test_the_service_receives_the_fields_in_order_with_its_own_model_and_credential(
    standin: Running,
) -> None:
    async with upstream_to(standin.base_url, upstream_model="real/name") as upstream:
        await body_of(upstream, asked(seed=7, extra=None), traceparent=TRACEPARENT)

    received = standin.standin.generations[0]
    assert received.json == {
        "prompt": "cat", "model": "real/name", "size": "64x64", "seed": 7, "extra": None,
    }  # fmt: skip
    assert received.headers["authorization"] == f"Bearer {SECRET}"
    assert set(received.headers) == {
        "host", "accept", "accept-encoding", "user-agent", "authorization", "content-type", "content-length",
        "connection", "traceparent",
    }  # fmt: skip


async def test_unknown_parameters_are_forwarded_or_dropped(standin: Running) -> None:
    async with upstream_to(standin.base_url, unknown_params="drop") as upstream:
        await body_of(upstream, asked(seed=7, novelty=1))
    assert standin.standin.generations[0].json == {"prompt": "cat", "model": "m", "size": "64x64", "seed": 7}


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        ("rate_limit:7", NotStarted, 429),
        ("overload:3", NotStarted, 503),
        ("refused_key", NotStarted, 401),
        ("unavailable", Rejected, 503),
        ("error", Rejected, 500),
        ("content_policy", Rejected, 400),
        ("reset", OutcomeUnknown, None),
        ("cut", OutcomeUnknown, None),
    ],
)
async def test_every_failure_is_told_by_whether_the_work_started(
    standin: Running, fault: str, kind: type[UpstreamFailure], status: int | None
) -> None:
    standin.standin.faults_to_come.append(parse_fault(fault))

    async with upstream_to(standin.base_url) as upstream:
        error = await failure(upstream, asked())

    assert type(error) is kind
    assert error.status == status
    assert len(standin.standin.generations) == 1
    assert upstream.in_flight == 0


async def test_the_wish_of_a_rate_limited_service_is_kept(standin: Running) -> None:
    standin.standin.faults_to_come.append(parse_fault("rate_limit:7"))

    async with upstream_to(standin.base_url) as upstream:
        error = await failure(upstream, asked())

    assert isinstance(error, NotStarted)
    assert error.retry_after_s == 7.0


async def test_nobody_listening_means_that_nothing_started() -> None:
    async with upstream_to("http://127.0.0.1:1/v1") as upstream:
        assert isinstance(await failure(upstream, asked()), NotStarted)


async def test_an_unknown_host_means_that_nothing_started() -> None:
    async with upstream_to("http://nowhere.invalid/v1") as upstream:
        assert isinstance(await failure(upstream, asked()), NotStarted)


async def test_silence_means_that_nobody_knows() -> None:
    async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async with (
        raw_server(silent) as (base_url, requests),
        upstream_to(base_url, read_timeout_s=0.2) as upstream,
    ):
        error = await failure(upstream, asked())

    assert isinstance(error, OutcomeUnknown)
    assert error.timed_out
    assert len(requests) == 1


async def test_a_connection_that_closes_after_the_request_means_that_nobody_knows() -> None:
    async def close(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        return None

    async with raw_server(close) as (base_url, requests), upstream_to(base_url) as upstream:
        error = await failure(upstream, asked())

    assert isinstance(error, OutcomeUnknown)
    assert len(requests) == 1, "the request was sent again"


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_broken_answer_means_that_nobody_knows(answer: bytes) -> None:
    async def broken(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with raw_server(broken) as (base_url, requests), upstream_to(base_url) as upstream:
        assert isinstance(await failure(upstream, asked()), OutcomeUnknown)
    assert len(requests) == 1


async def test_a_redirect_is_not_followed(standin: Running) -> None:
    async def elsewhere(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        location = f"{standin.base_url}/images/generations".encode()
        writer.write(b"HTTP/1.1 307 Moved\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with raw_server(elsewhere) as (base_url, _), upstream_to(base_url) as upstream:
        assert isinstance(await failure(upstream, asked()), NotStarted)
    assert standin.standin.received == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            b'{"error":{"message":"no cats","code":"moderation_blocked","type":"t","param":"prompt"}}',
            "no cats",
        ),
        (b'{"error":"no cats"}', "no cats"),
        (b'{"detail":"no cats"}', "no cats"),
        (b"<html>no cats</html>", "The image service refused the request."),
        (f'{{"error":{{"message":"key {SECRET} is bad"}}}}'.encode(), "key *** is bad"),
    ],
)
async def test_an_error_is_told_in_one_shape_without_our_secrets(body: bytes, message: str) -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()

    async with raw_server(refuse) as (base_url, _), upstream_to(base_url) as upstream:
        error = await failure(upstream, asked())

    assert isinstance(error, Rejected)
    assert error.error["message"] == message


async def test_a_compressed_answer_is_decoded_and_capped(standin: Running) -> None:
    standin.standin.faults_to_come.append(parse_fault("gzip"))
    async with upstream_to(standin.base_url) as upstream:
        assert json.loads(await body_of(upstream, asked()))["data"]

        standin.standin.faults_to_come.append(parse_fault("gzip"))
        with pytest.raises(OutcomeUnknown, match="larger"):
            await upstream.send(asked(), trace_headers={}, max_answer_bytes=100)


async def test_a_large_answer_is_spooled_and_complete(standin: Running) -> None:
    standin.standin.faults_to_come.append(parse_fault("huge:3"))

    async with upstream_to(standin.base_url) as upstream:
        body = await body_of(upstream, asked())

    assert len(body) > 3_000_000


@pytest.mark.parametrize("ends", ["closed", "reset"])
async def test_what_came_before_a_stream_broke_is_given_to_a_reader_who_was_busy_meanwhile(ends: str) -> None:
    """The last picture and the end of the connection are both there when its reader comes back."""
    read, last = asyncio.Event(), b"data: the last picture\n\n"

    async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"5\r\nfirst\r\n")
        await read.wait()
        writer.write(b"%x\r\n%b\r\n" % (len(last), last))
        await writer.drain()
        if ends == "reset":
            await asyncio.sleep(0.1)
            writer.transport.abort()

    async with raw_server(break_off) as (base_url, _), upstream_to(base_url) as upstream:
        answer = await upstream.send(asked(stream=True), trace_headers={}, max_answer_bytes=MAX_BYTES)
        assert isinstance(answer, UpstreamStream)
        chunks = answer.chunks()
        assert await anext(chunks) == b"first"
        read.set()
        await asyncio.sleep(0.3)

        assert await anext(chunks) == last
        with pytest.raises(OutcomeUnknown):
            await anext(chunks)
        await answer.close()


async def test_cancelling_closes_the_connection_at_once() -> None:
    closed = asyncio.Event()

    async def wait_for_end(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()

    async with raw_server(wait_for_end) as (base_url, requests), upstream_to(base_url) as upstream:
        sending = asyncio.create_task(send(upstream, asked()))
        while not requests:
            await asyncio.sleep(0.01)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.wait_for(closed.wait(), 10)

    assert upstream.in_flight == 0


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        ({"code": 400}, True),
        ({"code": "429"}, True),
        ({"code": 408}, False),
        ({"code": 502}, False),
        ({"code": True}, False),
        ({"code": "contentFilter"}, True),
        ({"code": "moderation_blocked"}, True),
        ({"code": "server_error"}, False),
        ({"type": "invalid_request_error"}, True),
        ({"type": "server_error", "message": "invalid_request_error"}, False),
        ("some words", False),
        (None, False),
        (["400"], False),
    ],
)
def test_only_an_error_about_the_request_itself_says_that_nothing_ran(error: object, refused: bool) -> None:
    assert isinstance(error_in_success(error), Rejected if refused else OutcomeUnknown)
