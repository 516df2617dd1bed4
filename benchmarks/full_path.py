"""CPU per request of the full path against the same request straight to the image service.

    .venv/bin/python benchmarks/full_path.py [--shape small] [--requests 2000] [--concurrency 16]

Starts an upstream that does no work, `ecogate serve` with the embedded Valkey and three budgets, and a load
generator, all on loopback. CPU time is the sum of user and system time of each process and its children from
/proc, so waiting is not counted. The generator's own cost is the difference that both rows share.

Shapes: `small`, an answer with a URL; `large`, one with 1.5 MB of base64; `stream`, two partial images and
the completed one of 6 kB each; `edit`, a form with a file of 1 MB; `denied`, refused by a budget, which the
upstream does not see.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

SHAPES = ("small", "large", "stream", "edit", "denied")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
MADE = {
    "size": "1024x1024",
    "quality": "low",
    "usage": {"input_tokens": 12, "output_tokens": 196, "total_tokens": 208},
}
ASKED = {"model": "gpt-image-2", "prompt": "a cat", "size": "1024x1024", "quality": "low"}
FILE = b"\x89PNG\r\n\x1a\n" + bytes(1_000_000)
ADMIN_KEY = "benchmark-admin-key-0123456789-abcdefghij"
POLICIES = """\
budgets:
  - name: org
    limits: {energy: ORG_ENERGY, water: 1000 m3, carbon: 100 t}
    window: {kind: calendar, every: month}
  - name: team
    per: [team]
    limits: {energy: 100 MWh, water: 1000 m3, carbon: 100 t}
    window: {kind: calendar, every: month}
  - name: user
    per: [user]
    limits: {energy: 100 MWh, water: 1000 m3, carbon: 100 t}
    window: {kind: calendar, every: day}
"""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def answer_of(shape: str) -> bytes:
    """The whole answer of the upstream, with its head."""
    picture = "A" * (1_500_000 if shape == "large" else 6_000)
    if shape == "stream":
        partial = {"type": "image_generation.partial_image", "b64_json": picture}
        events = [partial | {"partial_image_index": number} for number in range(2)]
        events.append({"type": "image_generation.completed", "b64_json": picture} | MADE)
        body = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events).encode()
        return HEAD % (b"text/event-stream", len(body)) + body
    image = {"b64_json": picture} if shape == "large" else {"url": f"http://127.0.0.1/files/{'0' * 64}.png"}
    body = json.dumps({"created": 1763900000, "data": [image]} | MADE).encode()
    return HEAD % (b"application/json", len(body)) + body


async def upstream(port_file: str, shape: str) -> None:
    """Answers every request at once, until it is ended."""
    whole = answer_of(shape)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(whole)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2 * len(FILE))
    Path(port_file).write_text(str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


def cpu_s(pid: int) -> float:
    """User and system time of a process and its living children, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_s(int(child)) for child in children)


def asked_in(shape: str) -> dict[str, Any]:
    """The body of a request, as the client library takes it."""
    if shape != "edit":
        return {"json": ASKED | ({"stream": True, "partial_images": 2} if shape == "stream" else {})}
    form = aiohttp.FormData(ASKED)
    form.add_field("image", FILE, filename="a.png", content_type="image/png")
    return {"data": form}


async def load(shape: str, url: str, requests: int, concurrency: int) -> tuple[float, list[float]]:
    """Wall time in seconds, and each request's latency in milliseconds."""
    latencies: list[float] = []
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    expected = 402 if shape == "denied" else 200
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def worker(count: int) -> None:
            for _ in range(count):
                started = time.perf_counter()
                async with session.post(url, headers=headers, **asked_in(shape)) as response:
                    await response.read()
                    if response.status != expected:
                        raise RuntimeError(await response.text())
                latencies.append((time.perf_counter() - started) * 1000)

        started = time.perf_counter()
        await asyncio.gather(*(worker(requests // concurrency) for _ in range(concurrency)))
        return time.perf_counter() - started, latencies


async def ready(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(200):
            try:
                async with session.get(f"{url}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
    raise RuntimeError("the gateway was not ready within 10 s")


async def measure(shape: str, requests: int, concurrency: int, folder: Path) -> None:
    port_file = folder / "port"
    service = subprocess.Popen([sys.executable, __file__, "--shape", shape, "--upstream", str(port_file)])
    while not (port_file.exists() and port_file.read_text()):
        await asyncio.sleep(0.02)
    upstream_url = f"http://127.0.0.1:{port_file.read_text()}/v1"
    (folder / "deployments.yaml").write_text(
        f"deployments: [{{id: one, model: gpt-image-2, base_url: '{upstream_url}', location: {{zone: SE}}}}]"
    )
    (folder / "policies").mkdir()
    (folder / "policies" / "budgets.yaml").write_text(
        POLICIES.replace("ORG_ENERGY", "0.01 Wh" if shape == "denied" else "100 MWh")
    )
    gateway = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--port", "18080", "--data-dir", str(folder / "data"),
         "--deployments", str(folder / "deployments.yaml"), "--policies", str(folder / "policies")],
        env={**os.environ, "ECOGATE_ADMIN_KEY": ADMIN_KEY},
    )  # fmt: skip
    try:
        await ready("http://127.0.0.1:18080")
        path = "images/edits" if shape == "edit" else "images/generations"
        targets = {
            "straight to the service": (f"{upstream_url}/{path}", [service.pid]),
            "through the gateway": (f"http://127.0.0.1:18080/v1/{path}", [service.pid, gateway.pid]),
        }
        if shape == "denied":
            del targets["straight to the service"]
        for name, (url, pids) in targets.items():
            await load(shape, url, requests // 5, concurrency)
            before = [cpu_s(pid) for pid in pids]
            wall_s, latencies = await load(shape, url, requests, concurrency)
            spent_ms = [(cpu_s(pid) - start) * 1000 for pid, start in zip(pids, before, strict=True)]
            latencies.sort()
            count = len(latencies)
            print(
                f"{name:24} {sum(spent_ms) / count:7.3f} CPU-ms/request "
                f"({', '.join(f'{one / count:.3f}' for one in spent_ms)}; service, gateway with its Valkey)  "
                f"{count / wall_s:6.0f} requests/s  p50 {latencies[count // 2]:.2f} ms  "
                f"p99 {latencies[count * 99 // 100]:.2f} ms"
            )
    finally:
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(20)
        service.kill()
        service.wait()


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--requests", type=int, default=2000)
    options.add_argument("--concurrency", type=int, default=16)
    options.add_argument("--shape", choices=SHAPES, default="small")
    options.add_argument("--upstream")
    chosen = options.parse_args()
    if chosen.upstream:
        asyncio.run(upstream(chosen.upstream, chosen.shape))
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(chosen.shape, chosen.requests, chosen.concurrency, Path(folder)))


if __name__ == "__main__":
    main()
