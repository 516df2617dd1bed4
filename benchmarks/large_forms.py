"""Peak memory of the gateway while the largest form that OpenAI allows passes: 16 pictures of 50 MB.

    .venv/bin/python benchmarks/large_forms.py [--files 16] [--megabytes 50]

Starts an image service that keeps the form on disk, `ecogate serve` with the embedded Valkey, and sends one
edit from a raw connection. What the gateway's process grew by is its peak resident set size (VmHWM) against
that after a small form; the bar is 64 MB. Exits with 1 above it, or when a file did not arrive in its bytes.
Needs twice the size of the form on the temporary disk.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from full_path import ADMIN_KEY, ready
from large_answers import memory_mb

BAR_MB = 64
PORT = 18085
BOUNDARY = b"----a-boundary-of-the-benchmark"
FIELDS = {"model": "gpt-image-2", "prompt": "a cat", "size": "1024x1024", "quality": "low"}
ANSWER = b'{"created": 1, "data": [{"b64_json": "iVBORw0KGgoAAAANSUhEUgAABAAAAAQA"}]}'
PIECE = 1 << 20


async def service(folder: Path) -> asyncio.Server:
    """Keeps each form that comes in a file, then answers with a picture."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).lower()
        left = int(asked.partition(b"content-length:")[2].partition(b"\r\n")[0])
        with (folder / "received").open("wb") as kept:
            while left:
                piece = await reader.read(min(PIECE, left))
                if not piece:
                    break
                kept.write(piece)
                left -= len(piece)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))
        await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def digests(path: Path) -> list[str]:
    """The SHA-256 of every file in the form that was kept."""
    found = []
    with path.open("rb") as kept, mmap.mmap(kept.fileno(), 0, access=mmap.ACCESS_READ) as form:
        mark = b"\r\n" + form[: form.find(b"\r\n")]
        place = form.find(b"filename=")
        while place != -1:
            begins = form.find(b"\r\n\r\n", place) + 4
            ends = form.find(mark, begins)
            digest = hashlib.sha256()
            for start in range(begins, ends, PIECE):
                digest.update(form[start : min(start + PIECE, ends)])
            found.append(digest.hexdigest())
            place = form.find(b"filename=", ends)
    return found


async def edit(files: int, content: bytes) -> tuple[str, float]:
    """Sends one edit; the first line of the answer, and the seconds until then."""
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (BOUNDARY, name.encode(), value.encode())
        for name, value in FIELDS.items()
    ]
    heads = [
        b'--%b\r\nContent-Disposition: form-data; name="image[]"; filename="%d.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" % (BOUNDARY, number)
        for number in range(files)
    ]
    tail = b"--%b--\r\n" % BOUNDARY
    length = sum(map(len, parts)) + sum(map(len, heads)) + files * (len(content) + 2) + len(tail)
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    started = time.perf_counter()
    writer.write(
        b"POST /v1/images/edits HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer %b\r\nConnection: close\r\n"
        b"Content-Type: multipart/form-data; boundary=%b\r\nContent-Length: %d\r\n\r\n"
        % (ADMIN_KEY.encode(), BOUNDARY, length)
    )
    writer.writelines(parts)
    for head in heads:
        writer.write(head)
        for start in range(0, len(content), PIECE):
            writer.write(content[start : start + PIECE])
            await writer.drain()
        writer.write(b"\r\n")
    writer.write(tail)
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n")[0].decode(), time.perf_counter() - started


async def measure(files: int, megabytes: int, folder: Path) -> bool:
    server = await service(folder)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    (folder / "deployments.yaml").write_text(
        f"deployments: [{{id: one, model: gpt-image-2, base_url: '{url}', location: {{zone: SE}}}}]"
    )
    gateway = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--port", str(PORT), "--data-dir", str(folder / "data"),
         "--deployments", str(folder / "deployments.yaml")],
        env={**os.environ, "ECOGATE_ADMIN_KEY": ADMIN_KEY, "ECOGATE_STORE_TIMEOUT_MS": "5000",
             "TMPDIR": str(folder)},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    content = os.urandom(megabytes * 1_000_000)
    try:
        await ready(f"http://127.0.0.1:{PORT}")
        await edit(1, content[:1000])
        before = memory_mb(gateway.pid, "VmHWM")
        line, seconds = await edit(files, content)
        peak = memory_mb(gateway.pid, "VmHWM")
    finally:
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(30)
        server.close()
    intact = digests(folder / "received") == [hashlib.sha256(content).hexdigest()] * files
    print(f"one form of {files} x {megabytes} MB: {line}, {seconds:.1f} s, every file intact: {intact}")
    more = peak - before
    print(f"gateway: {before:.0f} MB after a small form, {more:.0f} MB more at the peak (bar: {BAR_MB} MB)")
    return line.split()[1] == "200" and intact and more < BAR_MB


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--files", type=int, default=16)
    options.add_argument("--megabytes", type=int, default=50)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        held = asyncio.run(measure(asked.files, asked.megabytes, Path(folder)))
    sys.exit(not held)


if __name__ == "__main__":
    main()
