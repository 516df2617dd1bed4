"""Peak memory of the gateway while many large answers pass at once.

    .venv/bin/python benchmarks/large_answers.py [--answers 50] [--megabytes 20] [--client-mb-per-s 0]

Starts an upstream that answers with a picture of that size in base64, `ecogate serve` with the embedded
Valkey, and a client that reads all answers at once and keeps none. The peak is the resident set size of the
gateway's process (VmHWM); the bar is 250 MB. Exits with 1 above it, or when an answer is not intact.
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

BAR_MB = 250
PORT = 18081


def answer(megabytes: int) -> tuple[bytes, bytes]:
    """Head and body of an answer with one picture of about that size."""
    body = json.dumps(
        {
            "created": 1,
            "data": [{"b64_json": "iVBORw0KGgoAAAANSUhEUgAABAAAAAQA" + "A" * (megabytes * 1_000_000)}],
            "usage": {"input_tokens": 12, "output_tokens": 196, "total_tokens": 208},
        }
    ).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head, body


async def upstream(port_file: str, megabytes: int) -> None:
    """Answers every request with the same picture, until it is ended."""
    head, body = answer(megabytes)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(asked.partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(head)
                for start in range(0, len(body), 1 << 20):
                    writer.write(body[start : start + (1 << 20)])
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    Path(port_file).write_text(str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


def memory_mb(pid: int, name: str) -> float:
    """`VmRSS` or `VmHWM` of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


async def read_all(answers: int, mb_per_s: float) -> set[str]:
    """The digests of all answers, read at once, each not faster than `mb_per_s` (0: as fast as it comes)."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
    url = f"http://127.0.0.1:{PORT}/v1/images/generations"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one() -> str:
            digest = hashlib.sha256()
            async with session.post(url, data=BODY, headers=headers) as response:
                assert response.status == 200, await response.text()
                async for chunk in response.content.iter_chunked(65536):
                    digest.update(chunk)
                    if mb_per_s:
                        await asyncio.sleep(len(chunk) / 1e6 / mb_per_s)
            return digest.hexdigest()

        return set(await asyncio.gather(*(one() for _ in range(answers))))


async def measure(answers: int, megabytes: int, mb_per_s: float, folder: Path) -> bool:
    port_file = folder / "port"
    service = subprocess.Popen(
        [sys.executable, __file__, "--upstream", str(port_file), "--megabytes", str(megabytes)]
    )
    while not (port_file.exists() and port_file.read_text()):
        await asyncio.sleep(0.02)
    url = f"http://127.0.0.1:{port_file.read_text()}/v1"
    (folder / "deployments.yaml").write_text(
        f"deployments: [{{id: one, model: gpt-image-2, base_url: '{url}', location: {{zone: SE}}}}]"
    )
    gateway = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--port", str(PORT), "--data-dir", str(folder / "data"),
         "--deployments", str(folder / "deployments.yaml")],
        env={**os.environ, "ECOGATE_ADMIN_KEY": ADMIN_KEY},
    )  # fmt: skip
    try:
        await ready(f"http://127.0.0.1:{PORT}")
        await read_all(1, 0)
        idle = memory_mb(gateway.pid, "VmRSS")
        started = time.perf_counter()
        digests = await read_all(answers, mb_per_s)
        seconds = time.perf_counter() - started
        peak = memory_mb(gateway.pid, "VmHWM")
    finally:
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(30)
        service.terminate()
    intact = digests == {hashlib.sha256(answer(megabytes)[1]).hexdigest()}
    rate = answers * megabytes / seconds
    print(f"{answers} answers of {megabytes} MB at once: {seconds:.1f} s ({rate:.0f} MB/s), intact: {intact}")
    print(f"gateway: {idle:.0f} MB before, {peak:.0f} MB at the peak (bar: {BAR_MB} MB)")
    return intact and peak < BAR_MB


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--answers", type=int, default=50)
    options.add_argument("--megabytes", type=int, default=20)
    options.add_argument("--client-mb-per-s", type=float, default=0)
    options.add_argument("--upstream", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.upstream:
        asyncio.run(upstream(asked.upstream, asked.megabytes))
        return
    with tempfile.TemporaryDirectory() as folder:
        held = asyncio.run(measure(asked.answers, asked.megabytes, asked.client_mb_per_s, Path(folder)))
    sys.exit(not held)


if __name__ == "__main__":
    main()
