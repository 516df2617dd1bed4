"""L2, L4 and F16: what a burst, a flood and a stop cost those who are served."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import httpx

from tests.faults.world import PLENTY, ask, assert_exact, load, service, store_running
from tests.processes import gateway_process
from tests.running import ADMIN_KEY, budget
from tests.soak.flood import flooded
from tests.soak.rows import Row, at_most, family, holds, memory_mb, percentiles_ms

if TYPE_CHECKING:
    from pathlib import Path

AT_ONCE, ROOM = 1000, 600
FLOOD, FLOOD_S, CONNECTIONS, STEADY_PER_S = 10_000, 10, 200, 20
IN_FLIGHT, IMAGE_S = 50, 10.0


async def l2(home: Path) -> list[Row]:
    """A thousand at once with room for six hundred, and an image service that takes five seconds."""
    return [row for workers in (1, 2) for row in await _burst(home / str(workers), workers)]


async def _burst(home: Path, workers: int) -> list[Row]:
    home.mkdir()
    budgets = [PLENTY[0] | {"limits": {"images": ROOM}}]
    async with store_running(home / "store") as store, service(seconds_per_image=5.0) as images:
        shared = {
            "ECOGATE_REDIS_URL": store.server.url,
            "ECOGATE_STORE_TIMEOUT_MS": "250",
            "ECOGATE_WORKERS": str(workers),
        }
        async with gateway_process(
            home / "gateway", {"SE": images.base_url}, budgets=budgets, **shared
        ) as gateway:
            answers = await flooded(gateway.url, ADMIN_KEY, AT_ONCE, 0, AT_ONCE)
            most_mb = max(memory_mb(pid, most=True) for pid in family(gateway.process.pid))
            await assert_exact(store.redis, home / "gateway" / "data", [images])
    statuses = [status for status, _ in answers]
    refused = [seconds for status, seconds in answers if status != 200]
    exactly = statuses.count(200) == ROOM and set(statuses) <= {200, 402, 429}
    what = f"L2, {workers} {'worker' if workers == 1 else 'workers'}:"
    return [
        holds(f"{what} exactly as many are admitted as have room, the others hear 402 or 429", true=exactly),
        at_most(f"{what} a refusal, 99 of 100", percentiles_ms(refused)[1] / 1000, 2, "s"),
        at_most(f"{what} memory of a process", most_mb, 250, "MB"),
    ]


async def l4(home: Path) -> list[Row]:
    """One key is refused 1,000 times a second, or as fast as the machine answers; another one works."""
    budgets = [budget("poor", match={"team": ["poor"]}, limits={"images": 0}), *PLENTY]
    async with store_running(home / "store") as store, service() as images:
        services = {"SE": images.base_url}
        async with (
            gateway_process(
                home / "gateway", services, budgets=budgets, ECOGATE_REDIS_URL=store.url
            ) as gateway,
            gateway.client() as steady,
        ):
            body = {"org": "default", "team": "poor", "user": "p", "role": "member"}
            key = (await steady.post("/eco/v1/keys", json=body)).json()["key"]
            await load(steady, per_s=STEADY_PER_S, seconds=5)
            alone = await load(steady, per_s=STEADY_PER_S, seconds=2 * FLOOD_S)
            began = time.monotonic()
            flood = asyncio.create_task(flooded(gateway.url, key, FLOOD, FLOOD_S, CONNECTIONS))
            beside = await load(steady, per_s=STEADY_PER_S, seconds=2 * FLOOD_S)
            refused = {status for status, _ in await flood} == {402}
            took_s = time.monotonic() - began
            await assert_exact(store.redis, home / "gateway" / "data", [images])
    (median, late), (quiet_median, quiet_late) = percentiles_ms(beside.seconds), percentiles_ms(alone.seconds)
    return [
        Row("L4 refusals", f"{FLOOD} in {took_s:.0f} s, {FLOOD / took_s:.0f} per second", refused),
        holds("L4 every answer of the other key is 200", true={*alone.statuses, *beside.statuses} == {200}),
        Row("L4 the other key alone, median and 99 of 100", f"{quiet_median:.1f}, {quiet_late:.1f} ms", True),
        Row("L4 what it waits longer, median", f"{median - quiet_median:.1f} ms", True),
        at_most("L4 what it waits longer, 99 of 100", late - quiet_late, 20, "ms"),
    ]


async def f16(home: Path) -> list[Row]:
    """SIGTERM with fifty requests of ten seconds in flight."""
    async with store_running(home / "store") as store, service(seconds_per_image=IMAGE_S) as images:
        services = {"SE": images.base_url}
        async with gateway_process(
            home / "gateway", services, budgets=PLENTY, ECOGATE_REDIS_URL=store.url
        ) as gateway:
            asking = [asyncio.create_task(ask(gateway)) for _ in range(IN_FLIGHT)]
            while len(images.standin.generations) < IN_FLIGHT:
                await asyncio.sleep(0.02)
            began = time.monotonic()
            gateway.send(signal.SIGTERM)
            async with gateway.client() as late:
                refused_s = await _refuses(late) - began
            served = await asyncio.gather(*asking)
            code = await gateway.ended()
            ended_s = time.monotonic() - began
        await assert_exact(store.redis, home / "gateway" / "data", [images])
    return [
        holds("F16 what was in flight is answered, exit code 0", true=set(served) == {200} and code == 0),
        at_most("F16 from SIGTERM to the first connection that is refused", refused_s, 1, "s"),
        at_most("F16 from SIGTERM to the end", ended_s, 15, "s"),
    ]


async def _refuses(client: httpx.AsyncClient) -> float:
    """The moment at which a new connection is refused."""
    while True:
        try:
            await client.get("/healthz", headers={"connection": "close"})
        except httpx.TransportError:
            return time.monotonic()
        await asyncio.sleep(0.02)
