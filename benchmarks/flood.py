"""How long one key waits while another is refused ten thousand times (L4 of the load plan).

A gateway with its own store and a stand-in that answers at once. A steady key asks twenty times a second,
first alone and then beside a flood of refused requests from another key; the difference is what the flood
costs it. Run on a machine that does nothing else: `python benchmarks/flood.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults.world import ASK, PLENTY, load, service, store_running
from tests.processes import gateway_process
from tests.running import GENERATIONS, budget

STEADY_PER_S = 20


async def refused(client: httpx.AsyncClient, requests: int, seconds: float) -> None:
    """An even flood: each request starts on time, as long as the gateway keeps up."""
    places = asyncio.Semaphore(200)

    async def one() -> None:
        async with places:
            assert (await client.post(GENERATIONS, json=ASK)).status_code == 402

    async with asyncio.TaskGroup() as group:
        began = time.monotonic()
        for number in range(requests):
            await asyncio.sleep(max(0.0, began + number * seconds / requests - time.monotonic()))
            group.create_task(one())


async def measure(home: Path, requests: int, seconds: float) -> None:
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
            async with gateway.client(key) as poor:
                await load(steady, per_s=STEADY_PER_S, seconds=2)  # warm
                alone = await load(steady, per_s=STEADY_PER_S, seconds=seconds)
                began = time.monotonic()
                flood = asyncio.create_task(refused(poor, requests, seconds))
                beside = await load(steady, per_s=STEADY_PER_S, seconds=seconds)
                await flood
                took = time.monotonic() - began
    print(f"{requests} refusals in {took:.1f} s, {requests / took:.0f} per second")
    figures = {}
    for name, tally in (("alone", alone), ("beside the flood", beside)):
        assert set(tally.statuses) == {200}
        cuts = quantiles((1000 * second for second in tally.seconds), n=100, method="inclusive")
        figures[name] = cuts[98]
        print(f"steady key {name}: median {cuts[49]:.1f} ms, 99 of 100 within {cuts[98]:.1f} ms")
    print(f"the flood costs it {figures['beside the flood'] - figures['alone']:.1f} ms at 99 of 100")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ecogate-flood-") as folder:
        asyncio.run(measure(Path(folder), given.requests, given.seconds))


if __name__ == "__main__":
    main()
