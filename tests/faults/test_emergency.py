"""An allowance for when the store is down is never passed, however many processes die while they use it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from typing import TYPE_CHECKING

import pytest

from gateway.store.sql import open_database
from tests.faults.world import ORG, ask, assert_exact, charged, service, until
from tests.processes import gateway_process
from tests.running import budget

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.world import Store
    from tests.processes import GatewayProcess

LIMIT, ALLOWANCE, PROCESSES = 6, 12, 3
BUDGET = budget(
    "everyone",
    per=[],
    limits={"images": LIMIT},
    on_store_down="allow",
    emergency={"limits": {"images": ALLOWANCE}, "processes": PROCESSES},
)


async def storm(gateways: list[GatewayProcess], dice: random.Random) -> int:
    """Everybody asks at once while the store is away, and somebody is killed; answers how many were."""
    asking = [
        asyncio.create_task(ask(gateway)) for gateway in gateways for _ in range(ALLOWANCE // PROCESSES + 3)
    ]
    doomed = dice.sample(gateways, dice.randint(1, 2))
    for gateway in doomed:
        await asyncio.sleep(dice.random() * 0.8)
        gateway.send(signal.SIGKILL)
        await gateway.ended()
    await asyncio.gather(*asking)
    return len(doomed)


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_processes_that_are_killed_in_two_outages_of_one_window_pass_no_more_than_the_allowance(
    tmp_path: Path, store: Store, seed: int
) -> None:
    dice = random.Random(seed)
    data = tmp_path / "data"
    shared = {"ECOGATE_REDIS_URL": store.url, "ECOGATE_DATA_DIR": str(data), "ECOGATE_LEASE_S": "5"}
    async with service(seconds_per_image=0.4) as images, contextlib.AsyncExitStack() as stack:

        async def started() -> list[GatewayProcess]:
            return [
                await stack.enter_async_context(
                    gateway_process(
                        tmp_path / f"g{dice.getrandbits(64):x}",
                        {"SE": images.base_url},
                        budgets=[BUDGET],
                        **shared,
                    )
                )
                for _ in range(PROCESSES)
            ]

        gateways = await started()
        for gateway in gateways:
            assert await ask(gateway) == 200
        for _ in range(2):
            store.proxy.faults.refusing = True
            store.proxy.reset_all()
            await storm(gateways, dice)
            store.proxy.faults.refusing = False
            for gateway in gateways:
                if gateway.process.returncode is None:
                    gateway.send(signal.SIGTERM)
                    await gateway.ended()
            gateways = await started()
        passed = len(images.standin.generations) - PROCESSES
        assert 0 < passed <= ALLOWANCE

        async def all_posted() -> bool:
            return all(_is_settled(path) for path in (data / "emergency").glob("*.jsonl"))

        await until(all_posted)
        await assert_exact(store.redis, data, [images], unknown=ALLOWANCE)
        database = await open_database(None, data)
        try:
            assert await charged(database, ORG) <= LIMIT + ALLOWANCE
            assert await charged(database, ORG) <= PROCESSES + ALLOWANCE
        finally:
            await database.close()
        assert await ask(gateways[0]) in {200, 402}


def _is_settled(path: Path) -> bool:
    """Whether every use in a seat's file has its line that says that it was posted."""
    lines = path.read_text().splitlines()
    uses = {line.split('"')[3] for line in lines if line.startswith("[")}
    posted = {line.strip('"') for line in lines if line.startswith('"')}
    return uses <= posted


async def test_what_a_process_that_died_let_pass_is_charged_once_by_the_next_one(
    tmp_path: Path, store: Store
) -> None:
    data = tmp_path / "data"
    shared = {"ECOGATE_REDIS_URL": store.url, "ECOGATE_DATA_DIR": str(data)}
    async with service(seconds_per_image=0.5) as images:
        services = {"SE": images.base_url}
        async with gateway_process(tmp_path / "one", services, budgets=[BUDGET], **shared) as doomed:
            assert await ask(doomed) == 200
            store.proxy.faults.refusing = True
            store.proxy.reset_all()
            assert await ask(doomed) == 200
            asking = asyncio.create_task(ask(doomed))

            async def sent() -> bool:
                return len(images.standin.generations) == 3

            await until(sent)
            doomed.send(signal.SIGKILL)
            await doomed.ended()
            assert await asking is None
        store.proxy.faults.refusing = False
        for _ in range(2):  # the second finds that everything is done
            async with gateway_process(tmp_path / "next", services, budgets=[BUDGET], **shared):
                database = await open_database(None, data)
                try:

                    async def all_charged() -> bool:
                        return _is_settled(data / "emergency" / "seat-1.jsonl")

                    await until(all_charged)
                    await assert_exact(store.redis, data, [images])
                    assert await charged(database, ORG) == 3
                finally:
                    await database.close()
