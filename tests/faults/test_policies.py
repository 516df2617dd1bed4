"""Policies change under load (F23): what a gateway has not read yet admits nothing once another has."""

from __future__ import annotations

import asyncio
import os
from itertools import count
from typing import TYPE_CHECKING

import yaml
from sqlalchemy import select

from gateway.budgets.editions import IN_FORCE
from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from gateway.store.sql import open_database
from gateway.store.tables import journal
from gateway.usage.record import decode
from tests.faults.world import ORG, PLENTY, load, quiet, store_running
from tests.processes import gateway_process

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis


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
            over = asyncio.Event()
            watching = asyncio.create_task(_numbers(store.redis, over))
            swapping = asyncio.create_task(_swap(files))
            before = await asyncio.gather(*(load(client, per_s=5, seconds=8) for client in (first, second)))
            await swapping
            await asyncio.sleep(2)
            settled = await asyncio.gather(*(load(client, per_s=5, seconds=2) for client in (first, second)))
            over.set()
            numbers = await watching
            database = await open_database(None, tmp_path / "one" / "data")
            try:
                assert (await quiet(store.redis, database, ORG)).open_holds == 0
            finally:
                await database.close()
    assert {status for tally in settled for status in tally.statuses} == {200}
    assert {status for tally in before for status in tally.statuses} == {200, 503}
    admitted = {**await _admitted(tmp_path / "one"), **await _admitted(tmp_path / "two")}
    assert len({version for _, version in admitted.values()} & numbers.keys()) >= 2
    began = {request: ms for tally in (*before, *settled) for request, ms in tally.began_ms.items()}
    for request, (_, version) in admitted.items():
        earlier = [
            min(numbers[older])
            for ended_ms, older in admitted.values()
            if ended_ms < began[request] and older in numbers
        ]
        assert version not in numbers or max(numbers[version]) >= max(earlier, default=0), request


async def _numbers(redis: Redis, over: asyncio.Event) -> dict[str, set[int]]:
    """The numbers under which each text was in force until it is `over`; one can come into force again."""
    numbers: dict[str, set[int]] = {}
    while not over.is_set():
        version, number = await redis.hmget(IN_FORCE, ["version", "number"])
        if version is not None:
            numbers.setdefault(str(version), set()).add(int(str(number)))
        await asyncio.sleep(0.01)
    return numbers


async def _admitted(directory: Path) -> dict[str, tuple[float, str]]:
    """When each request was settled, and by which version of the policies it was admitted."""
    database = await open_database(None, directory / "data")
    try:
        async with database.reading() as connection:
            settled = journal.c.kind == "commit"  # what was refused as too old is released
            rows = await connection.execute(select(journal.c.at_ms, journal.c.record).where(settled))
            records = [(row.at_ms, decode(row.record)) for row in rows]
    finally:
        await database.close()
    return {one.id: (at, one.policy_version or "") for at, one in records}


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
