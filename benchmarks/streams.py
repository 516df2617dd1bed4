"""How long the gateway keeps an event of a stream, and whether its bytes are those of the service.

    .venv/bin/python benchmarks/streams.py [--streams 8] [--events 40] [--kilobytes 1500]

Starts an upstream that writes events of that size every 50 ms and notes when it began each, `ecogate serve`
with the embedded Valkey, and clients that note when the last byte of each event came, all on one clock. The
same is measured straight to the upstream, because a large event needs its time without a gateway. The bar is
50 ms between the two at the 99th percentile. Exits with 1 above it, or when a byte differs.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parent))
from full_path import ADMIN_KEY, BODY, ready

BAR_MS = 50.0
PAUSE_S = 0.05
PORT = 18082
KIND = "image_generation.partial_image"


def events(count: int, kilobytes: int) -> list[bytes]:
    """All events of one stream, the last of them completed."""
    picture = "iVBORw0KGgoAAAANSUhEUgAABAAAAAQA" + "A" * (kilobytes * 1000)
    kinds = [KIND] * (count - 1) + ["image_generation.completed"]
    return [
        f'event: {kind}\ndata: {{"type": "{kind}", "b64_json": "{picture}", "n": {number}}}\n\n'.encode()
        for number, kind in enumerate(kinds)
    ]


async def upstream(port_file: str, stream: list[bytes]) -> None:
    """Streams to whoever asks; each event's number and start go into a comment before it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(asked.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for event in stream:
            await asyncio.sleep(PAUSE_S)
            writer.write(b": %.6f\n" % time.monotonic() + event)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    Path(port_file).write_text(str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


async def delays(url: str, streams: int, expected: str) -> list[float]:
    """Milliseconds from the start of each event at the service to its last byte here."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
    body = json.dumps({**json.loads(BODY), "stream": True})
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one() -> list[float]:
            took: list[float] = []
            digest, pending = hashlib.sha256(), b""
            async with session.post(f"{url}/v1/images/generations", data=body, headers=headers) as response:
                assert response.status == 200, await response.text()
                async for chunk in response.content.iter_any():
                    pending += chunk
                    if not pending.endswith(b"\n\n"):
                        continue
                    now = time.monotonic()
                    for event in pending.split(b"\n\n")[:-1]:
                        began, _, rest = event.partition(b"\n")
                        took.append((now - float(began[2:])) * 1000)
                        digest.update(rest + b"\n\n")
                    pending = b""
            assert digest.hexdigest() == expected, "the bytes differ"
            return took

        return sorted(
            took for each in await asyncio.gather(*(one() for _ in range(streams))) for took in each
        )


def told(name: str, took: list[float]) -> float:
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    print(f"{name}: {len(took)} events, p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {took[-1]:.1f} ms")
    return p99


async def measure(streams: int, stream: list[bytes], folder: Path, arguments: list[str]) -> bool:
    port_file = folder / "port"
    service = subprocess.Popen([sys.executable, __file__, "--upstream", str(port_file), *arguments])
    while not (port_file.exists() and port_file.read_text()):
        await asyncio.sleep(0.02)
    straight = f"http://127.0.0.1:{port_file.read_text()}"
    (folder / "deployments.yaml").write_text(
        f"deployments: [{{id: one, model: gpt-image-2, base_url: '{straight}/v1', location: {{zone: SE}}}}]"
    )
    gateway = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--port", str(PORT), "--data-dir", str(folder / "data"),
         "--deployments", str(folder / "deployments.yaml")],
        env={**os.environ, "ECOGATE_ADMIN_KEY": ADMIN_KEY},
    )  # fmt: skip
    expected = hashlib.sha256(b"".join(stream)).hexdigest()
    try:
        await ready(f"http://127.0.0.1:{PORT}")
        without = told("straight", await delays(straight, streams, expected))
        through = told("through the gateway", await delays(f"http://127.0.0.1:{PORT}", streams, expected))
    finally:
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(30)
        service.terminate()
    print(
        f"added at p99: {through - without:.1f} ms (bar: {BAR_MS:g} ms); every byte as the service wrote it"
    )
    return through - without < BAR_MS


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--streams", type=int, default=8)
    options.add_argument("--events", type=int, default=40)
    options.add_argument("--kilobytes", type=int, default=1500)
    options.add_argument("--upstream", help=argparse.SUPPRESS)
    asked = options.parse_args()
    stream = events(asked.events, asked.kilobytes)
    if asked.upstream:
        asyncio.run(upstream(asked.upstream, stream))
        return
    arguments = ["--events", str(asked.events), "--kilobytes", str(asked.kilobytes)]
    with tempfile.TemporaryDirectory() as folder:
        held = asyncio.run(measure(asked.streams, stream, Path(folder), arguments))
    sys.exit(not held)


if __name__ == "__main__":
    main()
