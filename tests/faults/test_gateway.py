"""The gateway is killed, stopped or frozen (F14-F17): what was sent is charged, what was not is not."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from redis.asyncio import Redis

from gateway.budgets.scripts import Script
from gateway.store.sql import open_database
from tests.faults.world import (
    ASK,
    ORG,
    PLENTY,
    ask,
    assert_exact,
    charged,
    quiet,
    service,
    until,
)
from tests.processes import gateway_process
from tests.running import GENERATIONS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.world import Store

SETTINGS = {"ECOGATE_LEASE_S": "5"}


async def note_marked(store: Store, holds: set[str]) -> None:
    """Runs until it is cancelled: adds the holds that are marked as sent; the store itself tells."""
    dispatch = Script.load("dispatch").sha
    endless = Redis.from_url(store.server.url, socket_timeout=None)
    async with endless as redis, redis.monitor() as monitor:
        async for told in monitor.listen():
            words = str(told["command"]).split(" ")
            if words[0].upper() == "EVALSHA" and words[1] == dispatch:
                holds.add(words[5])


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_f14_gateways_killed_every_three_seconds_charge_exactly_what_was_marked_as_sent(
    tmp_path: Path, store: Store
) -> None:
    """Two gateways in turns for two minutes; fifty clients always have a request at one that lives."""
    shared = {
        "ECOGATE_REDIS_URL": store.url,
        "ECOGATE_DATABASE_URL": f"sqlite:///{tmp_path / 'usage.sqlite3'}",
        **SETTINGS,
    }
    alive: list[httpx.AsyncClient] = []
    over = asyncio.Event()

    async def asking(number: int) -> list[int]:
        statuses: list[int] = []
        while not over.is_set():
            if alive:
                with contextlib.suppress(httpx.TransportError):
                    answer = await alive[number % len(alive)].post(GENERATIONS, json=ASK)
                    statuses.append(answer.status_code)
            await asyncio.sleep(0.1)
        return statuses

    async def turns(home: Path, first_s: float) -> int:
        """A gateway that lives for four seconds once it is ready, again and again: its kills."""
        kills = 0
        await asyncio.sleep(first_s)
        while time.monotonic() < ends:
            async with (
                gateway_process(home, services, budgets=PLENTY, **shared) as gateway,
                gateway.client() as client,
            ):
                alive.append(client)
                await asyncio.sleep(4)
                alive.remove(client)
                gateway.send(signal.SIGKILL)
                await gateway.ended()
                kills += 1
        return kills

    async with service(seconds_per_image=2.0) as images:
        services = {"SE": images.base_url}
        holds: set[str] = set()
        watching = asyncio.create_task(note_marked(store, holds))
        ends = time.monotonic() + 120
        clients = [asyncio.create_task(asking(number)) for number in range(50)]
        kills = await asyncio.gather(turns(tmp_path / "one", 0), turns(tmp_path / "two", 3))
        over.set()
        statuses = [status for each in await asyncio.gather(*clients) for status in each]
        async with gateway_process(tmp_path / "one", services, budgets=PLENTY, **shared):
            database = await open_database(shared["ECOGATE_DATABASE_URL"], tmp_path)
            try:
                found = await quiet(store.redis, database, within_s=5 + 5)  # the lease, and as long again
                paid = await charged(database)
            finally:
                await database.close()
        assert not watching.done()
        watching.cancel()
        await asyncio.wait([watching])

    assert min(kills) >= 2
    assert set(statuses) <= {200, 503}
    assert found.differences == ()
    assert paid == len(holds) >= len(images.standin.generations) > 50


@pytest.mark.long
@pytest.mark.parametrize(
    ("step", "images_made", "images_charged"),
    [
        ("before_reserve", 0, 0),
        ("after_reserve", 0, 0),
        ("before_mark", 0, 0),
        ("after_mark", 0, 1),
        ("before_upstream", 0, 1),
        ("after_first_byte", 1, 1),
        ("after_upstream", 1, 1),
        ("before_settle", 1, 1),
        ("after_settle", 1, 1),
        ("before_reply", 1, 1),
    ],
)
async def test_f15_a_gateway_killed_at_any_step_leaves_what_the_rules_say(
    tmp_path: Path, store: Store, step: str, images_made: int, images_charged: int
) -> None:
    home = tmp_path / "gateway"
    async with (
        service() as images,
        gateway_process(
            home,
            {"SE": images.base_url},
            budgets=PLENTY,
            command=("-m", "tests.faults.crashing", "serve"),
            ECOGATE_REDIS_URL=store.url,
            CRASH_AT=step,
            **SETTINGS,
        ) as doomed,
    ):
        assert await ask(doomed) is None
        await doomed.ended()
        async with gateway_process(
            home, {"SE": images.base_url}, budgets=PLENTY, ECOGATE_REDIS_URL=store.url, **SETTINGS
        ):
            database = await open_database(None, home / "data")
            try:
                found = await quiet(store.redis, database)
                assert found.differences == ()
                assert len(images.standin.generations) == images_made
                assert await charged(database) == images_charged
            finally:
                await database.close()


@pytest.mark.long
async def test_f16_sigterm_finishes_fifty_requests_of_ten_seconds(tmp_path: Path, store: Store) -> None:
    home = tmp_path / "gateway"
    async with (
        service(seconds_per_image=10.0) as images,
        gateway_process(
            home, {"SE": images.base_url}, budgets=PLENTY, ECOGATE_REDIS_URL=store.url
        ) as gateway,
    ):
        asking = [asyncio.create_task(ask(gateway)) for _ in range(50)]

        async def all_sent() -> bool:
            return len(images.standin.generations) == 50

        await until(all_sent)
        gateway.send(signal.SIGTERM)
        await asyncio.sleep(1)
        assert await ask(gateway) is None  # new connections are refused

        assert await asyncio.gather(*asking) == [200] * 50
        assert await gateway.ended() == 0
        await assert_exact(store.redis, home / "data", [images])


@pytest.mark.long
async def test_f17_a_gateway_frozen_past_its_lease_posts_the_difference_when_it_resumes(
    tmp_path: Path, store: Store
) -> None:
    shared = {"ECOGATE_REDIS_URL": store.url, **SETTINGS}
    async with (
        service(seconds_per_image=2.0) as images,
        gateway_process(tmp_path / "frozen", {"SE": images.base_url}, budgets=PLENTY, **shared) as frozen,
        gateway_process(
            tmp_path / "awake",
            {"SE": images.base_url},
            budgets=PLENTY,
            **shared,
            ECOGATE_DATABASE_URL=f"sqlite:///{tmp_path / 'frozen' / 'data' / 'ecogate.sqlite3'}",
        ),
    ):
        asking = asyncio.create_task(ask(frozen))

        async def sent() -> bool:
            return len(images.standin.generations) == 1

        await until(sent)
        frozen.send(signal.SIGSTOP)
        database = await open_database(None, tmp_path / "frozen" / "data")
        try:

            async def expired() -> bool:
                return await charged(database) == 1

            began = time.monotonic()
            await until(expired)
            assert time.monotonic() - began > 1
            frozen.send(signal.SIGCONT)
            assert await asking == 200
            found = await quiet(store.redis, database, ORG)
            assert found.differences == ()
            assert await charged(database) == 1
        finally:
            frozen.send(signal.SIGCONT)
            await database.close()
