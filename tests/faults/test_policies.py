"""Policies change under load (F23): what a gateway has not read yet admits nothing once another has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import yaml

from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from gateway.store.sql import open_database
from tests.faults.world import ORG, PLENTY, load, quiet, store_running
from tests.processes import gateway_process

if TYPE_CHECKING:
    from pathlib import Path


async def test_f23_a_limit_that_is_lowered_under_load_holds_on_every_gateway(tmp_path: Path) -> None:
    """Two gateways, each with its own copy of the policies; the second copy is changed a second later."""
    async with (
        store_running(tmp_path / "store") as store,
        serving(StandInSettings(zone="SE")) as images,
    ):
        services = {"SE": images.base_url}
        shared = {"ECOGATE_REDIS_URL": store.url}
        async with (
            gateway_process(tmp_path / "one", services, budgets=PLENTY, **shared) as one,
            gateway_process(tmp_path / "two", services, budgets=PLENTY, **shared) as two,
            one.client() as first,
            two.client() as second,
        ):
            assert (await load(first, per_s=5, seconds=1)).count(200) == 5
            assert (await load(second, per_s=5, seconds=1)).count(200) == 5
            closed = yaml.safe_dump({"budgets": [PLENTY[0] | {"limits": {"images": 11}}]})
            (tmp_path / "one" / "policies" / "budgets.yaml").write_text(closed)
            await asyncio.sleep(2)
            assert (await load(first, per_s=5, seconds=1)).statuses == [200, 402, 402, 402, 402]

            stale = await load(second, per_s=5, seconds=1)
            (tmp_path / "two" / "policies" / "budgets.yaml").write_text(closed)
            await asyncio.sleep(2)
            fresh = await load(second, per_s=5, seconds=1)

            assert set(stale.statuses) == {503}
            assert set(fresh.statuses) == {402}
            assert len(images.standin.generations) == 11
        database = await open_database(None, tmp_path / "one" / "data")
        try:
            assert (await quiet(store.redis, database, ORG)).open_holds == 0
        finally:
            await database.close()
