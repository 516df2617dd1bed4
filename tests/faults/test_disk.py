"""The store's disk: the end of its file lost in the middle of a command (F7), and no space left (F8)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.demo.standin import StandInSettings
from gateway.lifecycle.settlement import Settlements
from tests.faults.servers import filled, server_running
from tests.faults.world import PLENTY, assert_exact, load, until
from tests.running import gateway_running

if TYPE_CHECKING:
    from pathlib import Path

PASSES = 5
ZONES = {"SE": StandInSettings(zone="SE", seconds_per_image=1.5 * 256)}


def cut_the_end(directory: Path, part: float) -> int:
    """Takes this part of the append-only file away from its end; answers how many bytes that were."""
    [file] = (directory / "appendonlydir").glob("*.incr.aof")
    content = file.read_bytes()
    end = int(len(content) * (1 - part))
    while content[end - 2 : end] == b"\r\n":  # in the middle of a word, whatever the length
        end -= 1
    file.write_bytes(content[:end])
    return len(content) - end


@pytest.mark.long
async def test_f7_what_a_power_cut_takes_from_the_file_is_brought_back_by_the_gateways(
    tmp_path: Path,
) -> None:
    async with (
        server_running(tmp_path / "store") as server,
        server.client() as redis,
        gateway_running(tmp_path, server.url, budgets=PLENTY, zones=ZONES, lease_s=30) as gateway,
    ):
        assert set((await load(gateway.admin, per_s=10, seconds=1)).statuses) == {200}
        under_way = asyncio.create_task(load(gateway.admin, per_s=10, seconds=3))
        await asyncio.sleep(2)
        await server.kill()
        assert cut_the_end(server.directory, 0.1) > 1000
        await server.start()
        tally = await under_way

        assert set(tally.statuses) <= {200, 503}
        assert tally.count(200) >= 10

        async def admits() -> bool:
            return (await load(gateway.admin, per_s=1, seconds=1)).statuses == [200]

        await until(admits)
        await assert_exact(redis, tmp_path / "data", list(gateway.standins.values()))


@pytest.mark.long
async def test_f8_a_full_disk_refuses_new_work_and_keeps_the_settlements_of_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's directory is a file system of 2 MB in a namespace of its own."""
    async with (
        server_running(tmp_path / "store", tmpfs_mb=2) as server,
        server.client() as redis,
        gateway_running(tmp_path, server.url, budgets=PLENTY, zones=ZONES, lease_s=60) as gateway,
    ):
        assert set((await load(gateway.admin, per_s=10, seconds=0.5)).statuses) == {200}
        under_way = asyncio.create_task(load(gateway.admin, per_s=20, seconds=0.5))
        while len(gateway.generations()) < 15:
            await asyncio.sleep(0.02)
        with filled(server):
            answers = [await under_way]

            async def refuses() -> bool:
                answers.append(await load(gateway.admin, per_s=10, seconds=0.5))
                return set(answers[-1].statuses) == {503}

            await until(refuses)
            assert set(answers[0].statuses) == {200}
            assert set(answers[-1].codes) == {"budget_store_unavailable"}
        passes = 0
        real = Settlements.flush

        async def counted(settlements: Settlements) -> None:
            nonlocal passes
            passes += settlements.waiting > 0
            await real(settlements)

        # Passes over what waits, one each half second, from the return of space on; the leases last a minute.
        monkeypatch.setattr(Settlements, "flush", counted)
        await assert_exact(redis, tmp_path / "data", list(gateway.standins.values()))
        assert 1 <= passes <= PASSES

        async def admits() -> bool:
            return (await load(gateway.admin, per_s=1, seconds=1)).statuses == [200]

        await until(admits)
