"""The gateway is killed, stopped or frozen (F14-F17): what was sent is charged, what was not is not."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest

from gateway.store.sql import open_database
from tests.faults.world import (
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

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.world import Store

SETTINGS = {"ECOGATE_LEASE_S": "5"}


@pytest.mark.long
async def test_f14_work_in_flight_of_killed_gateways_is_charged_as_it_was_held(
    tmp_path: Path, store: Store
) -> None:
    home = tmp_path / "gateway"
    async with service(seconds_per_image=1.0) as images:
        for _ in range(3):
            async with gateway_process(
                home, {"SE": images.base_url}, budgets=PLENTY, ECOGATE_REDIS_URL=store.url, **SETTINGS
            ) as gateway:
                asking = [asyncio.create_task(ask(gateway)) for _ in range(20)]
                before = len(images.standin.generations)

                async def sent(before: int = before) -> bool:
                    return len(images.standin.generations) >= before + 5

                await until(sent)
                gateway.send(signal.SIGKILL)
                await gateway.ended()
                await asyncio.gather(*asking)
        async with gateway_process(
            home, {"SE": images.base_url}, budgets=PLENTY, ECOGATE_REDIS_URL=store.url, **SETTINGS
        ) as gateway:
            assert await ask(gateway) in {200, 503}
            # A hold may be marked whose request had not left yet: charged, since nobody can know.
            await assert_exact(store.redis, home / "data", [images], unknown=60)


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
async def test_f16_sigterm_finishes_what_is_in_flight(tmp_path: Path, store: Store) -> None:
    home = tmp_path / "gateway"
    async with (
        service(seconds_per_image=4.0) as images,
        gateway_process(
            home, {"SE": images.base_url}, budgets=PLENTY, ECOGATE_REDIS_URL=store.url
        ) as gateway,
    ):
        asking = [asyncio.create_task(ask(gateway)) for _ in range(30)]

        async def all_sent() -> bool:
            return len(images.standin.generations) == 30

        await until(all_sent)
        gateway.send(signal.SIGTERM)
        await asyncio.sleep(1)
        assert await ask(gateway) is None  # new connections are refused

        assert await asyncio.gather(*asking) == [200] * 30
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
