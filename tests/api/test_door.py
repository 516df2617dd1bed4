"""Every answer has an id, and a request that could be read as two is read as none."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from gateway.api.door import new_request_id
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
