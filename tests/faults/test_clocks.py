"""Clocks that are wrong: a gateway's (F18), the store's (F19). Windows follow the store's; it is told."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from gateway.demo.standin import StandInSettings
from tests.faults.servers import bent, server_running
from tests.faults.world import PLENTY, assert_exact, load, service, store_running, until
from tests.processes import gateway_process
from tests.running import gateway_running

if TYPE_CHECKING:
    from pathlib import Path

HOUR_S = 3600
HOURLY = [PLENTY[0] | {"window": {"kind": "calendar", "every": "hour"}}]


def hour() -> int:
    return int(time.time()) // HOUR_S * HOUR_S * 1000


@pytest.mark.long
@pytest.mark.parametrize("offset", ["+1h", "-1h"])
async def test_f18_a_gateway_whose_clock_is_an_hour_off_counts_in_the_same_windows(
    tmp_path: Path, offset: str
) -> None:
    async with store_running(tmp_path / "store") as store, service() as images:
        shared = {"ECOGATE_REDIS_URL": store.url}
        services = {"SE": images.base_url}
        first = hour()
        async with (
            gateway_process(tmp_path / "right", services, budgets=HOURLY, **shared) as right,
            gateway_process(
                tmp_path / "wrong", services, budgets=HOURLY, **shared, **bent(FAKETIME=offset)
            ) as wrong,
            right.client() as client,
            wrong.client() as bent_client,
        ):
            assert (await load(client, per_s=10, seconds=1)).statuses == [200] * 10
            assert (await load(bent_client, per_s=10, seconds=1)).statuses == [200] * 10
            ready = await bent_client.get("/readyz")
            metrics = (await bent_client.get("/metrics")).text
            counters = [str(key) async for key in store.redis.scan_iter("eg:{default}:c:*")]

        assert ready.status_code == 200
        assert "s from this machine's; windows follow the store's" in ready.json()["store"]["clock_alarm"]
        told = next(line for line in metrics.splitlines() if line.startswith("ecogate_store_clock_offset"))
        assert abs(float(told.split()[-1])) == pytest.approx(HOUR_S, abs=60)
        assert {int(key.rpartition(":")[2]) for key in counters} <= {first, hour()}


@pytest.mark.long
async def test_f18_a_gateway_whose_clock_is_a_day_off_admits_nothing(tmp_path: Path) -> None:
    async with store_running(tmp_path / "store") as store, service() as images:
        async with (
            gateway_process(
                tmp_path / "wrong",
                {"SE": images.base_url},
                budgets=HOURLY,
                waits_for="/healthz",
                ECOGATE_REDIS_URL=store.url,
                **bent(FAKETIME="+1d"),
            ) as wrong,
            wrong.client() as client,
        ):
            refused = await load(client, per_s=10, seconds=0.5)
            ready = await client.get("/readyz")

        assert set(refused.statuses) == {503}
        assert set(refused.codes) == {"budget_store_unavailable"}
        assert ready.status_code == 503
        assert "one of the two is wrong" in ready.json()["checks"]["ledger"]
        assert images.standin.generations == []


@pytest.mark.long
async def test_f19_a_store_whose_clock_jumps_forward_is_told_and_counts_on(tmp_path: Path) -> None:
    """All leases are over at once: what is in flight is charged as held, then corrected by its settlement."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    zones = {"SE": StandInSettings(zone="SE", seconds_per_image=3 * 256)}
    async with (
        server_running(tmp_path / "store", environment=bent(FAKETIME_TIMESTAMP_FILE=str(clock))) as server,
        server.client() as redis,
        gateway_running(tmp_path, server.url, budgets=HOURLY, zones=zones) as gateway,
    ):
        under_way = asyncio.create_task(load(gateway.admin, per_s=10, seconds=2))
        await asyncio.sleep(2.5)
        clock.write_text("+1h")
        began = time.monotonic()

        async def told() -> bool:
            return (await gateway.admin.get("/readyz")).json()["store"]["clock_alarm"] is not None

        await until(told, within_s=60)
        assert time.monotonic() - began < 60
        assert (await under_way).statuses == [200] * 20
        assert set((await load(gateway.admin, per_s=10, seconds=1)).statuses) == {200}
        await assert_exact(redis, tmp_path / "data", list(gateway.standins.values()))
        async for key in redis.scan_iter("eg:{default}:c:*"):
            assert min(map(int, (await redis.hgetall(key)).values())) >= 0
