"""Requests whose framing is hostile, on both servers: points 12 to 18, 27 and 92 to 98 of the table."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.api import bodies
from gateway.cli import connection
from gateway.cli.serve import KEEP_ALIVE_S
from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from tests.contract.behind import ASK, COMPLETED, PARTIAL, behind, give_images, images
from tests.processes import gateway_process
from tests.running import ADMIN_KEY, GENERATIONS, MODEL, budget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.demo.standin import StandIn
    from tests.contract.scripted import Exchange

BODY = json.dumps({"model": MODEL, "prompt": "a cat", "size": "64x64"}).encode()
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
TYPE = b"Content-Type: application/json"
SERVERS = {
    "uvicorn": ["-m", "gateway", "serve"],
    "granian": [
        "-m", "granian", "--interface", "asgi", "--factory", "--host", "127.0.0.1", "--port", "PORT",
        "gateway.app:create_app",
    ],
}  # fmt: skip


def chunks(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


def request(*fields: bytes, body: bytes = b"", line: bytes = b"") -> bytes:
    first = line or b"POST " + GENERATIONS.encode() + b" HTTP/1.1"
    key = b"Authorization: Bearer " + ADMIN_KEY.encode()
    return b"\r\n".join((first, b"Host: g", key, TYPE, *fields)) + b"\r\n\r\n" + body


SMUGGLED = request(LENGTH, body=BODY)
REFUSED = {
    "a length and chunks": request(b"Content-Length: 5", CHUNKED, body=chunks(BODY) + SMUGGLED),
    "chunks and a length": request(CHUNKED, LENGTH, body=chunks(BODY) + SMUGGLED),
    "two lengths": request(LENGTH, b"Content-Length: 5", body=BODY),
    "two lengths in one": request(LENGTH + b", 5", body=BODY),
    "a signed length": request(b"Content-Length: +%d" % len(BODY), body=BODY),
    "a negative length": request(b"Content-Length: -1", body=BODY),
    "a hexadecimal length": request(b"Content-Length: 0x10", body=BODY),
    "an unknown transfer coding": request(b"Transfer-Encoding: xchunked", body=chunks(BODY)),
    "chunked not last": request(b"Transfer-Encoding: chunked, identity", body=chunks(BODY)),
    "chunked twice": request(CHUNKED, CHUNKED, b"Transfer-Encoding: identity", body=chunks(BODY)),
    "a chunk longer than it says": request(CHUNKED, body=b"5\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk of no hexadecimal length": request(CHUNKED, body=b"zz\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk of 0x length": request(CHUNKED, body=b"0x%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"),
    "a chunk of negative length": request(CHUNKED, body=b"-5\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk with a bare end": request(CHUNKED, body=b"%x\r\n" % len(BODY) + BODY + b"XX0\r\n\r\n"),
    "a space before the colon": request(b"Content-Length : %d" % len(BODY), body=BODY),
    "a NUL in a header": request(LENGTH, b"X-A: a\0b", body=BODY),
    "a bare return in a header": request(LENGTH, b"X-A: a\rb", body=BODY),
    "a folded header": request(LENGTH, b"X-A: a\r\n b: c", body=BODY),
    "two hosts": request(b"Host: h", LENGTH, body=BODY),
    "no host of HTTP/1.1": request(LENGTH, body=BODY).replace(b"Host: g\r\n", b""),
    "no method": request(LENGTH, body=BODY, line=b"/v1/images/generations"),
    "an unknown version": request(LENGTH, body=BODY, line=b"POST /v1/images/generations HTTP/9.9"),
    "encoded bytes": request(LENGTH, b"Content-Encoding: gzip", body=BODY),
    "many headers": request(LENGTH, *[b"X-A: b"] * 120, body=BODY),
    "a large header": request(LENGTH, b"X-A: " + b"b" * 40_000, body=BODY),
    "a large credential": request(LENGTH, body=BODY).replace(ADMIN_KEY.encode(), b"b" * 16_000),
}
SEEN_AS_ONE: dict[str, set[str]] = {
    "uvicorn": set(),
    # hyper hides a length beside chunks, closes after the answer, and takes a host from elsewhere.
    "granian": {"a length and chunks", "chunks and a length", "no host of HTTP/1.1"},
}
CUT = {
    "a length and half of the body": request(LENGTH, body=BODY[:-1]),
    "a length beyond a whole document": request(b"Content-Length: 500", body=BODY),
    "chunks without their end": request(CHUNKED, body=chunks(BODY, end=b"")),
    "chunks with half an end": request(CHUNKED, body=chunks(BODY, end=b"0\r\n")),
}


@asynccontextmanager
async def served(directory: Path, redis_url: str, server: str) -> AsyncIterator[tuple[int, StandIn]]:
    """The port of a gateway process on that server, and the service behind it."""
    async with (
        serving(StandInSettings(zone="SE")) as service,
        gateway_process(
            directory,
            {"SE": service.base_url},
            budgets=[],
            command=SERVERS[server],
            ECOGATE_REDIS_URL=redis_url,
        ) as gateway,
    ):
        yield int(gateway.url.rpartition(":")[2]), service.standin


async def sent(port: int, raw: bytes, *, within_s: float = 20, hang_up: bool = False) -> bytes:
    """What comes back until the server closes, or until silence that follows an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        writer.write(raw)
        await writer.drain()
        if hang_up:
            writer.close()
            return b""
        while piece := await asyncio.wait_for(reader.read(65536), 1 if received else within_s):
            received += piece
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return received


@pytest.mark.parametrize("server", SERVERS)
async def test_no_doubtful_request_is_sent_on_or_answered_twice(
    tmp_path: Path, redis_url: str, server: str
) -> None:
    """14, 16, 27, 94 and 95."""
    async with served(tmp_path, redis_url, server) as (port, standin):
        answers = {name: await sent(port, raw) for name, raw in REFUSED.items()}
        await asyncio.gather(*(sent(port, raw, hang_up=True) for raw in CUT.values()))
        whole = await sent(port, request(LENGTH, b"Connection: close", body=BODY))
        parted = await sent(port, request(CHUNKED, body=chunks(BODY[:9], BODY[9:])))

        statuses = {name: int(answer[9:12]) for name, answer in answers.items()}
        accepted = {name for name, status in statuses.items() if status == 200}
        assert accepted == SEEN_AS_ONE[server]
        for name in accepted:
            del statuses[name]
        assert statuses.pop("encoded bytes") == 415
        assert {statuses.pop(name) for name in ("many headers", "a large header")} == {431}
        assert statuses.pop("a large credential") in (400, 401)
        assert set(statuses.values()) == {400}
        assert all(answer.count(b"HTTP/1.1 ") == 1 for answer in answers.values())
        assert whole.startswith(b"HTTP/1.1 200 ")
        assert parted.startswith(b"HTTP/1.1 200 ")
        assert len(standin.generations) == 2 + len(accepted)
        assert {one.headers["content-length"] for one in standin.generations} == {
            str(len(standin.generations[0].body))
        }
        if server == "uvicorn":
            bodies = [json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in answers.values()]
            assert all(set(body["error"]) >= {"message", "type", "param", "code"} for body in bodies)
            assert all(b"x-request-id: req_" in answer for answer in answers.values())


async def test_a_head_that_does_not_end_is_ended(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """95: by its deadline however slowly it comes, by its size however fast."""
    monkeypatch.setattr(connection, "HEAD_DEADLINE_S", 0.5)
    async with behind(tmp_path, redis_url, give_images) as here:
        async with here.connection() as (reader, writer):
            answer = asyncio.create_task(reader.read())
            for character in b"GET /v1/models HTTP/1.1\r\nHost: a":
                writer.write(bytes([character]))
                await asyncio.sleep(0.05)
                if answer.done():
                    break
            slow = await asyncio.wait_for(answer, 5)
        large = await here.raw(b"GET / HTTP/1.1\r\nX-A: " + b"a" * 200_000)
        good = await here.post()

        assert slow.startswith(b"HTTP/1.1 408 ")
        assert large.startswith(b"HTTP/1.1 431 ")
        assert b'"code":"headers_too_large"' in large
        assert good.status_code == 200


async def test_a_body_that_comes_too_slowly_is_ended_and_reaches_nobody(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S36: the deadline grows with what came, so only senders that dawdle meet it."""
    monkeypatch.setattr(bodies, "BODY_DEADLINE_S", 0.5)
    async with behind(tmp_path, redis_url, give_images, budgets=[budget()]) as here:
        json_head = here.head("Content-Type: application/json", "Content-Length: 500", "Connection: close")
        form_head = here.head(
            "Content-Type: multipart/form-data; boundary=b", "Transfer-Encoding: chunked",
            "Connection: close", path="/v1/images/edits",
        )  # fmt: skip

        answers = [await here.raw(json_head + BODY), await here.raw(form_head + chunks(b"--b\r\n", end=b""))]

        assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
        assert all(b'"code":"request_timeout"' in answer for answer in answers)
        assert here.service.exchanges == []
        assert await here.budgets() == (0, 0)


async def test_old_and_closing_clients_get_their_answer_in_a_frame_they_know(
    tmp_path: Path, redis_url: str
) -> None:
    """98: HTTP/1.0 knows no chunks, and `Connection: close` is kept."""
    async with behind(tmp_path, redis_url, give_images) as here:
        length = f"Content-Length: {len(BODY)}"
        kind = "Content-Type: application/json"
        old = await here.raw(here.head(length, kind, version="1.0") + BODY)
        closing = await here.raw(here.head(length, kind, "Connection: close") + BODY)

        for answer in (old, closing):
            head, _, body = answer.partition(b"\r\n\r\n")
            assert f"content-length: {len(images())}".encode() in head
            assert b"transfer-encoding" not in head
            assert body == images()


async def test_a_stream_in_http_1_0_lasts_until_its_connection_closes(tmp_path: Path, redis_url: str) -> None:
    """98: a proxy that speaks HTTP/1.0 to what is behind it, as nginx long did, passes on what it gets."""

    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        for piece in (PARTIAL, COMPLETED, b""):
            await exchange.chunk(piece)

    async with behind(tmp_path, redis_url, script, budgets=[budget()]) as here:
        body = json.dumps({**ASK, "stream": True}).encode()
        ask = here.head(f"Content-Length: {len(body)}", "Content-Type: application/json", version="1.0")
        old = await here.raw(ask + body)
        models = await here.raw(here.head(method="GET", path="/v1/models", version="1.0"))

        head, _, events = old.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert b"content-length" not in head
        assert b"connection: close" in head
        assert events == PARTIAL + COMPLETED
        assert await here.budgets() == (1, 0)
        assert b"content-length" in models.partition(b"\r\n\r\n")[0]


async def test_a_second_request_behind_a_refusal_is_answered_as_itself(
    tmp_path: Path, redis_url: str
) -> None:
    """94: the body that nobody read is skipped, or the connection closes; it is never taken for a request."""
    async with behind(tmp_path, redis_url, give_images) as here:
        inner = here.head(f"Content-Length: {len(BODY)}", "Content-Type: application/json") + BODY
        wrong = here.head(f"Content-Length: {len(inner)}", "Content-Type: application/json")
        wrong = wrong.replace(here.key.encode(), b"nonsense") + inner
        large = here.head("Content-Length: 2000000", "Content-Type: application/json") + b" " * 2_000_000
        models = here.head("Connection: close", method="GET", path="/v1/models")

        behind_401, behind_413 = await here.raw(wrong + models), await here.raw(large + models)

        assert behind_401.startswith(b"HTTP/1.1 401 ")
        assert behind_413.startswith(b"HTTP/1.1 413 ")
        for answers in (behind_401, behind_413):
            assert answers.count(b"HTTP/1.1 ") == 1 + answers.count(b'"object":"list"')
        assert here.service.exchanges == []


async def test_a_form_that_waits_to_be_asked_for_sends_nothing_when_it_is_refused(
    tmp_path: Path, redis_url: str
) -> None:
    """15: `Expect: 100-continue` gets the final answer at once, or 100 and then the answer."""
    async with behind(tmp_path, redis_url, give_images) as here:
        wanted = here.head(
            f"Content-Length: {len(BODY)}", "Content-Type: application/json", "Expect: 100-continue",
            "Connection: close",
        )  # fmt: skip
        async with here.connection() as (reader, writer):
            writer.write(wanted)
            asked_for = await reader.readuntil(b"\r\n\r\n")
            writer.write(BODY)
            answer = await reader.read()
        refused = await here.raw(wanted.replace(here.key.encode(), b"nonsense"))

        assert asked_for.startswith(b"HTTP/1.1 100 ")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert refused.startswith(b"HTTP/1.1 401 ")


async def test_an_offer_of_another_protocol_is_left_alone(tmp_path: Path, redis_url: str) -> None:
    """S26: some Java clients offer h2c with every request; it is answered as if they had not."""
    async with behind(tmp_path, redis_url, give_images) as here:
        offer = ("Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
        length = f"Content-Length: {len(BODY)}"
        kind = "Content-Type: application/json"
        async with here.connection() as (reader, writer):
            writer.write(here.head(length, kind, *offer, "Upgrade: h2c") + BODY)
            line = await asyncio.wait_for(reader.readline(), 5)
        models = here.head("Upgrade: websocket", "Connection: Upgrade", method="GET", path="/v1/models")
        async with here.connection() as (reader, writer):
            writer.write(models)
            other = await asyncio.wait_for(reader.readline(), 5)

        assert line == b"HTTP/1.1 200 OK\r\n"
        assert len(here.service.exchanges) == 1
        assert other == b"HTTP/1.1 200 OK\r\n"


async def test_one_connection_serves_fifty_calls_and_the_gateway_is_not_the_first_to_close(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """93: the stock Python client keeps its one connection, and the service keeps ours."""
    opened: list[object] = []
    made = connection.Connection.connection_made

    def counted(self: connection.Connection, transport: asyncio.Transport) -> None:
        opened.append(self)
        made(self, transport)

    monkeypatch.setattr(connection.Connection, "connection_made", counted)
    async with behind(tmp_path, redis_url, give_images) as here:
        client = await here.gateway.openai(here.key)
        opened.clear()

        for _ in range(50):
            await client.images.generate(**ASK)

        assert len(opened) == 1
        assert here.service.connections == 1
        assert KEEP_ALIVE_S >= 75
