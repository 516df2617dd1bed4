"""What happened is posted, even when the ledger does not answer at the time."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from gateway.budgets.amounts import Amounts, Charge
from gateway.budgets.ledger import Ledger
from gateway.budgets.recovery import OpenHold
from gateway.budgets.wire import OrgKeys
from gateway.demo.standin import StandInSettings
from gateway.lifecycle.settlement import Settlements
from gateway.lifecycle.unposted import Posting
from gateway.store.keyspace import journal_key
from gateway.store.valkey import EmbeddedValkey
from gateway.telemetry import Telemetry
from tests.running import GENERATIONS, MODEL, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}


async def images_of(client: httpx.AsyncClient) -> dict[str, Any]:
    """The budget of images, as soon as the store answers again."""
    answer = await client.get("/eco/v1/budgets")
    while answer.status_code == 503:
        await asyncio.sleep(0.05)
        answer = await client.get("/eco/v1/budgets")
    rows = answer.json()["data"]
    images: dict[str, Any] = next(row for row in rows if row["dimension"] == "images")
    return images


async def test_a_settlement_waits_for_a_store_that_hangs_and_is_posted_once(tmp_path: Path) -> None:
    zones = {"SE": StandInSettings(zone="SE", seconds_per_image=100)}
    store = await asyncio.to_thread(EmbeddedValkey.start, tmp_path / "store")
    try:
        async with (
            Redis.from_url(store.url) as admin,
            gateway_running(
                tmp_path, store.url, budgets=[budget()], zones=zones, store_timeout_ms=100
            ) as gateway,
        ):
            pid = (await admin.info("server"))["process_id"]
            client = await gateway.member()
            sending = asyncio.create_task(client.post(GENERATIONS, json=ASK | {"n": 2}))
            while not gateway.generations():
                await asyncio.sleep(0.01)
            os.kill(pid, signal.SIGSTOP)
            try:
                answer = await sending
                refused = await client.post(GENERATIONS, json=ASK)
            finally:
                os.kill(pid, signal.SIGCONT)

            assert answer.status_code == 200
            assert answer.headers["ecogate-basis"] == "settled"
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "budget_store_unavailable")
            async with asyncio.timeout(10):
                while (images := await images_of(client))["used"] != 2:
                    await asyncio.sleep(0.05)
            assert images["held"] == 0
            assert len(gateway.generations()) == 1
            assert "ecogate_settle_retries_total" in (await gateway.admin.get("/metrics")).text
    finally:
        await asyncio.to_thread(store.stop)


async def test_a_lease_is_renewed_as_long_as_the_work_lasts(tmp_path: Path, redis_url: str) -> None:
    zones = {"SE": StandInSettings(zone="SE", seconds_per_image=6.5 * 256)}
    async with gateway_running(tmp_path, redis_url, budgets=[budget()], zones=zones, lease_s=5) as gateway:
        client = await gateway.member()

        answer = await client.post(GENERATIONS, json=ASK)

        assert answer.status_code == 200
        await asyncio.sleep(0.3)
        record = (await client.get(f"/eco/v1/requests/{answer.headers['x-request-id']}")).json()
        assert [entry["kind"] for entry in record["entries"]] == ["commit"]


async def test_a_hold_whose_life_ended_without_a_posting_is_renewed_no_longer(redis: Redis) -> None:
    ledger = Ledger(redis, lease_s=1, timeout_ms=5000)
    settlements = Settlements(ledger, Telemetry.start().metrics, lease_s=1)
    amounts = Amounts(1, 1, 1, 1)
    charge = Charge(amounts, amounts)
    await ledger.reserve("acme", "h1", [charge], [], "{}")
    settlements.opened(OpenHold("acme", "h1", charge, (), "{}"))
    renewing = asyncio.create_task(settlements.renew())
    try:
        await asyncio.sleep(1.6)
        assert await ledger.expiry.due() == 0

        settlements.left("h1")

        async with asyncio.timeout(10):
            while not await ledger.expiry.due():
                await asyncio.sleep(0.1)
    finally:
        renewing.cancel()


async def test_a_new_server_hears_of_the_newest_settlements_first(redis: Redis) -> None:
    """A replica lacks the newest, and the process may die while it tells."""
    ledger = Ledger(redis, lease_s=60, timeout_ms=5000)
    settlements = Settlements(ledger, Telemetry.start().metrics, lease_s=60)
    charge = Charge(Amounts(1, 1, 1, 1), Amounts(1, 1, 1, 1))
    for hold in ("first", "second", "third"):
        await ledger.reserve("acme", hold, [charge], [], "{}")
        assert await settlements.post(Posting("acme", hold, charge, "{}", ()))
    names = OrgKeys("acme")
    await redis.delete(journal_key("acme"), *map(names.hold, ("first", "second", "third")))
    await redis.hset(names.meta, "run", "another server")
    healing = asyncio.create_task(settlements.expire())
    try:
        async with asyncio.timeout(10):
            while await redis.xlen(journal_key("acme")) < 3:
                await asyncio.sleep(0.05)
    finally:
        healing.cancel()

    told: Any = await redis.xrange(journal_key("acme"))
    assert [fields["hold"] for _, fields in told] == ["third", "second", "first"]
