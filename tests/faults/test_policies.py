"""Policies change under load (F23): what a gateway has not read yet admits nothing once another has."""

from __future__ import annotations

import asyncio
import os
from itertools import count
from typing import TYPE_CHECKING, Any

import yaml
from sqlalchemy import select

from gateway.budgets.editions import IN_FORCE, KNOWN
from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from gateway.store.sql import open_database
from gateway.store.tables import journal
from gateway.usage.record import decode
from tests.faults.world import ORG, PLENTY, load, quiet, store_running
from tests.processes import gateway_process

if TYPE_CHECKING:
    from pathlib import Path

MEASURED_LATE_MS = 3000
"""A request's duration is taken before its settlement is sent: where every core is busy that is a while, and
what was admitted in time looks as if it had begun so much later. The script's own order has its own tests."""


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


async def test_f23_policies_that_are_swapped_forth_and_back_under_load_never_go_back_unseen(
    tmp_path: Path,
) -> None:
    """The files change every 50 ms, then slowly, then rest on the first text with an old date."""
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
            files = [tmp_path / name / "policies" / "budgets.yaml" for name in ("one", "two")]
            swapping = asyncio.create_task(_swap(files))
            before = await asyncio.gather(*(load(client, per_s=5, seconds=8) for client in (first, second)))
            await swapping
            await asyncio.sleep(2)
            settled = await asyncio.gather(*(load(client, per_s=5, seconds=2) for client in (first, second)))
            in_force = str(await store.redis.hget(IN_FORCE, "version"))
            known: Any = await store.redis.zrange(KNOWN, 0, -1, withscores=True)
            database = await open_database(None, tmp_path / "one" / "data")
            try:
                assert (await quiet(store.redis, database, ORG)).open_holds == 0
            finally:
                await database.close()
    assert {status for tally in settled for status in tally.statuses} == {200}
    assert {status for tally in before for status in tally.statuses} == {200, 503}
    numbers = {str(version): int(number) for version, number in known if version != in_force}
    assert len(numbers) >= 2
    admitted = sorted([*await _admitted(tmp_path / "one"), *await _admitted(tmp_path / "two")])
    newest = [0]
    for number, ended_ms, started_ms in [(numbers.get(v, 0), end, start) for end, start, v in admitted]:
        earlier = [
            n
            for n, (end, _, _) in zip(newest[1:], admitted, strict=False)
            if end < started_ms - MEASURED_LATE_MS
        ]
        assert not number or number >= max(earlier, default=0), ended_ms
        newest.append(number)


async def _admitted(directory: Path) -> list[tuple[float, float, str]]:
    """When each request was settled, when it began, and by which version of the policies it was admitted."""
    database = await open_database(None, directory / "data")
    try:
        async with database.reading() as connection:
            rows = await connection.execute(select(journal.c.at_ms, journal.c.record))
            records = [(row.at_ms, decode(row.record)) for row in rows]
    finally:
        await database.close()
    return [(at, at - (one.duration_ms or 0), one.policy_version or "") for at, one in records]


async def _swap(files: list[Path]) -> None:
    """Each file by itself; every text is another one, but for the last, which is the first."""
    first = files[0].read_text()
    texts = (yaml.safe_dump({"budgets": [PLENTY[0] | {"limits": {"images": n}}]}) for n in count(1000))
    for number in range(40):
        files[number % 2].write_text(next(texts))
        await asyncio.sleep(0.05)
    for _ in range(3):
        text = next(texts)
        for file in files:
            file.write_text(text)
            await asyncio.sleep(0.9)
    for file in files:
        file.write_text(first)
        os.utime(file, (1_000_000_000, 1_000_000_000))
