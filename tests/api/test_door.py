"""Every answer has an id, and a request that could be read as two is read as none."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from gateway.api.door import new_request_id
from gateway.demo.standin import StandInSettings
from gateway.lifecycle import lanes
from tests.lifecycle.test_ladder import record_of
from tests.running import GENERATIONS, Gateway, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BODY = b'{"model":"starter-pack","prompt":"a","size":"64x64"}'


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    async with gateway_running(tmp_path, redis_url) as running:
        yield running


async def exchange(
    gateway: Gateway, headers: bytes, body: bytes = BODY
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Sends one request by hand; the status, the headers and the body that came back."""
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = b"POST " + GENERATIONS.encode() + b" HTTP/1.1\r\nContent-Type: application/json\r\n"
    writer.write(head + headers + b"Connection: close\r\n\r\n" + body)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    lines, _, rest = answer.partition(b"\r\n\r\n")
    first, *fields = lines.split(b"\r\n")
    pairs = dict(field.lower().split(b": ", 1) for field in fields)
    return int(first.split()[1]), pairs, rest


async def test_ids_are_random_and_never_repeat(gateway: Gateway) -> None:
    answers = [await gateway.admin.get(path) for path in ("/healthz", "/healthz", "/nowhere", "/v1/models")]

    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == len(answers)
    assert all(one.startswith("req_") and len(one) == len(new_request_id()) for one in ids)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (b"Host: a\r\nHost: b\r\nContent-Length: 52\r\n", 400, "ambiguous_headers"),
        (b"Host: a\r\nContent-Length: 52\r\n" + b"X-A: b\r\n" * 120, 431, "headers_too_large"),
        (b"Host: a\r\nContent-Length: 52\r\nX-A: " + b"b" * 40_000 + b"\r\n", 431, "headers_too_large"),
    ],
)
async def test_a_doubtful_head_is_refused_before_the_body_is_read(
    gateway: Gateway, headers: bytes, status: int, code: str
) -> None:
    key = (await gateway.key()).encode()

    got, fields, body = await exchange(gateway, headers + b"Authorization: Bearer " + key + b"\r\n")

    assert (got, json.loads(body)["error"]["code"]) == (status, code)
    assert fields[b"x-request-id"].startswith(b"req_")
    assert gateway.generations() == []


@pytest.mark.parametrize(
    "headers",
    [
        b"Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Host: a\r\nContent-Length: 52\r\nContent-Length: 5\r\n",
        b"Host: a\r\nContent-Length: -1\r\n",
        b"Host: a\r\nContent-Length: +52\r\n",
        b"Host: a\r\nTransfer-Encoding: chunked, identity\r\n",
        b"Host : a\r\nContent-Length: 52\r\n",
    ],
)
async def test_framing_that_readers_disagree_on_reaches_nobody(gateway: Gateway, headers: bytes) -> None:
    key = (await gateway.key()).encode()

    status, _, _ = await exchange(gateway, headers + b"Authorization: Bearer " + key + b"\r\n")

    assert status == 400
    assert gateway.generations() == []


async def begun(gateway: Gateway, key: str) -> asyncio.StreamWriter:
    """A request whose body does not come: the gateway is reading it from here on."""
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    fields = f"Host: a\r\nAuthorization: Bearer {key}\r\nExpect: 100-continue\r\n"
    head = f"POST {GENERATIONS} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 52\r\n"
    writer.write(f"{head}{fields}\r\n".encode())
    async with asyncio.timeout(10):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    return writer


async def test_a_request_waits_until_those_before_it_with_the_same_credential_are_read(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or are gone; the wait counts as time of the request."""
    monkeypatch.setattr(lanes, "KEPT_S", 60.0)
    key = await gateway.key()
    ada, other, nobody = await gateway.http(key), await gateway.member(), await gateway.http(None)
    slow = await begun(gateway, key)

    behind = asyncio.create_task(ada.post(GENERATIONS, json=json.loads(BODY)))
    beside = await asyncio.wait_for(other.post(GENERATIONS, json=json.loads(BODY)), 10)
    without = await asyncio.wait_for(nobody.post(GENERATIONS, json=json.loads(BODY)), 10)
    await asyncio.sleep(0.5)
    overtaken = behind.done()
    slow.close()
    waited = await asyncio.wait_for(behind, 10)
    record = await record_of(gateway, waited)

    assert (beside.status_code, without.status_code, waited.status_code) == (200, 401, 200)
    assert not overtaken
    assert record["duration_ms"] > 200


async def test_a_request_that_was_read_keeps_nobody_waiting_for_its_image(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "KEPT_S", 60.0)
    takes_long = {"SE": StandInSettings(zone="SE", stall_s=1.0)}
    async with gateway_running(tmp_path, redis_url, zones=takes_long) as gateway:
        ada = await gateway.member()
        answers = await asyncio.gather(*(ada.post(GENERATIONS, json=json.loads(BODY)) for _ in range(3)))
        most = gateway.standins["SE"].standin.most_in_flight

    assert [answer.status_code for answer in answers] == [200] * 3
    assert most == 3
