"""Many requests from a process of its own, by a client that costs next to nothing.

`python -m tests.soak.flood URL KEY REQUESTS SECONDS CONNECTIONS MODEL` sends them evenly over that time, as
long as who is asked keeps up, and writes JSON to its standard output: the status of each answer, and its
seconds since the request was due. A full HTTP client would take longer over a thousand connections than the
gateway does, and what is measured must not share an event loop with who asks.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

from tests.faults.world import ASK
from tests.running import GENERATIONS, MODEL

Answers = list[tuple[int, float]]


async def flooded(
    url: str, key: str, requests: int, seconds: float, connections: int, *, model: str = MODEL
) -> Answers:
    """The answers to a flood that another process sends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak.flood", url, key),
        *map(str, (requests, seconds, connections)),
        model,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    assert process.returncode == 0
    return [(int(status), float(took)) for status, took in json.loads(told)]


async def flood(
    url: str, key: str, requests: int, seconds: float, connections: int, *, model: str
) -> Answers:
    place = urlsplit(url)
    body = json.dumps(ASK | {"model": model}).encode()
    head = f"POST {GENERATIONS} HTTP/1.1\r\nhost: {place.netloc}\r\nauthorization: Bearer {key}\r\n"
    asked = f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    numbers = iter(range(requests))
    answers: Answers = []
    began = time.monotonic()

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        for number in numbers:
            due = began + number * seconds / requests
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            writer.write(asked)
            status, *fields = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            [length] = [int(field[15:]) for field in fields if field.startswith(b"content-length:")]
            await reader.readexactly(length)
            answers.append((int(status.split()[1]), time.monotonic() - due))
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one_connection())
    return answers


if __name__ == "__main__":
    url, key, requests, seconds, connections, model = sys.argv[1:]
    answers = asyncio.run(flood(url, key, int(requests), float(seconds), int(connections), model=model))
    sys.stdout.write(json.dumps(answers))
