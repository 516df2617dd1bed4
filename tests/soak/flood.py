"""A flood of requests that a budget refuses, from a process of its own and as cheap as it can be.

`python -m tests.soak.flood URL KEY REQUESTS SECONDS` sends them evenly, as long as the gateway keeps up, over
two hundred connections, and ends with an error at the first answer that is not 402. What is to be measured
beside it shares neither its event loop nor the cost of a full HTTP client.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

from tests.faults.world import ASK
from tests.running import GENERATIONS

CONNECTIONS = 200


async def flood(host: str, port: int, key: str, requests: int, seconds: float) -> None:
    body = json.dumps(ASK).encode()
    head = f"POST {GENERATIONS} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n"
    asked = f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    numbers = iter(range(requests))
    began = time.monotonic()

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for number in numbers:
            await asyncio.sleep(max(0.0, began + number * seconds / requests - time.monotonic()))
            writer.write(asked)
            status, *fields = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            assert b" 402 " in status, status
            [length] = [int(field[15:]) for field in fields if field.startswith(b"content-length:")]
            await reader.readexactly(length)
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(one_connection())


if __name__ == "__main__":
    url, key, requests, seconds = sys.argv[1:]
    place = urlsplit(url)
    assert place.hostname is not None
    assert place.port is not None
    asyncio.run(flood(place.hostname, place.port, key, int(requests), float(seconds)))
