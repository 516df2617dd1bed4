"""Upstream 429s when several gateways share deployments of little capacity.

    .venv/bin/python benchmarks/herding.py [--gateways 8] [--seconds 60] [--load 0.72] [--blind]

Starts stand-in image services in three zones, each of which answers 429 above its capacity, real gateways as
processes with one Redis between them, and clients that ask at random moments at the given share of the total
capacity. Prints what came back and how many upstream 429s there were per 100 requests; the target is below 1.
`--blind` declares no capacity, for comparison. It ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import aiohttp
import yaml

from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from gateway.store.valkey import EmbeddedValkey

ZONES = ("SE", "FR", "PL")
ADMIN_KEY = "benchmark-admin-key-0123456789-abcdefghij"
READY_WITHIN_S = 240
REQUEST_S = 120


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def write_deployments(path: Path, urls: dict[str, str], capacity: int | None) -> None:
    """One deployment per zone; without a capacity gateways know nothing of each other."""
    entries = [
        {
            "id": f"flux-{zone.lower()}",
            "model": "flux",
            "upstream_model": "black-forest-labs/FLUX.1-dev",
            "base_url": url,
            "location": {"provider": "self", "zone": zone, "pin": "region"},
            "hardware": {"gpu": "H100", "precision": "bf16"},
            **({"capacity": {"concurrency": capacity}} if capacity is not None else {}),
        }
        for zone, url in urls.items()
    ]
    path.write_text(yaml.safe_dump({"deployments": entries, "routing": {"retries": {"max_attempts": 3}}}))


async def ready(url: str) -> None:
    async with aiohttp.ClientSession() as http, asyncio.timeout(READY_WITHIN_S):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{url}/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.2)


async def load(urls: list[str], per_s: float, seconds: float) -> tuple[Counter[int], list[float]]:
    """Requests at random moments, each to a gateway of its own choice."""
    statuses: Counter[int] = Counter()
    durations: list[float] = []
    body = {"model": "flux", "prompt": "a cat", "size": "64x64"}
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    timeout = aiohttp.ClientTimeout(total=REQUEST_S)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http,
        asyncio.TaskGroup() as group,
    ):

        async def one() -> None:
            began = time.monotonic()
            url = f"{random.choice(urls)}/v1/images/generations"  # noqa: S311 - no secret
            async with http.post(url, json=body, headers=headers) as answer:
                await answer.read()
                statuses[answer.status] += 1
            durations.append(time.monotonic() - began)

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            group.create_task(one())
            await asyncio.sleep(random.expovariate(per_s))
    return statuses, durations


async def main(options: argparse.Namespace) -> None:
    capacity = None if options.blind else options.capacity
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(EmbeddedValkey.start(folder / "store"))
        # Stand-ins scale with pixels and steps: a stall is the same for every request.
        standins = [
            await stack.enter_async_context(
                serving(StandInSettings(zone=zone, capacity=options.capacity, stall_s=options.image_s))
            )
            for zone in ZONES
        ]
        file = folder / "deployments.yaml"
        urls = {zone: one.base_url for zone, one in zip(ZONES, standins, strict=True)}
        write_deployments(file, urls, capacity)
        gateways = []
        for number in range(options.gateways):
            port = free_port()
            settings = {
                "ECOGATE_PORT": str(port),
                "ECOGATE_DEPLOYMENTS": str(file),
                "ECOGATE_DATA_DIR": str(folder / f"gateway-{number}"),
                "ECOGATE_REDIS_URL": store.url,
                "ECOGATE_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/gateways.sqlite3",
                "ECOGATE_ADMIN_KEY": ADMIN_KEY,
                "ECOGATE_KEY_PEPPER": "p" * 40,
                "ECOGATE_STORE_TIMEOUT_MS": "5000",
            }
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve"],
                env={**os.environ, **settings},
                stdout=subprocess.DEVNULL,
                stderr=(folder / f"gateway-{number}.log").open("wb"),
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            gateways.append(f"http://127.0.0.1:{port}")
            await ready(gateways[-1])
        slots = options.capacity * len(ZONES)
        per_s = options.load * slots / options.image_s
        statuses, durations = await load(gateways, per_s, options.seconds)
    asked = sum(statuses.values())
    turned_away = sum(one.standin.turned_away for one in standins)
    shares = {
        one.standin.settings.zone: f"{len(one.standin.generations) - one.standin.turned_away}"
        for one in standins
    }
    print(
        f"{options.gateways} gateways, {slots} slots, {options.image_s:g} s per image, {per_s:.2f} requests/s"
    )
    print(f"capacity {'not declared' if capacity is None else 'declared and shared'}")
    print(f"{asked} requests: {dict(sorted(statuses.items()))}; made in {shares}")
    print(f"most at once: {[one.standin.most_in_flight for one in standins]} of {options.capacity} each")
    print(f"upstream 429s: {turned_away}, {100 * turned_away / asked:.2f} per 100 requests (target: < 1)")
    print(f"seconds per request: median {statistics.median(durations):.2f}, longest {max(durations):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateways", type=int, default=8)
    parser.add_argument("--capacity", type=int, default=8, help="slots of each of the three deployments")
    parser.add_argument("--image-s", type=float, default=4.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--load", type=float, default=0.72)
    parser.add_argument("--blind", action="store_true")
    asyncio.run(main(parser.parse_args()))
