"""Image services that break and clients that leave (F13, F20): one clear answer, one charge."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import httpx
import pytest

from gateway.demo.standin import StandInSettings
from tests.faults.proxy import FaultProxy
from tests.faults.world import ASK, PLENTY, assert_exact, load, service, until
from tests.running import GENERATIONS, MODEL, UPSTREAM_MODEL, gateway_running

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tests.faults.world import Store


def behind(proxy: FaultProxy) -> list[dict[str, Any]]:
    return [
        {
            "id": "flux-se",
            "model": MODEL,
            "upstream_model": UPSTREAM_MODEL,
            "base_url": f"http://127.0.0.1:{proxy.port}/v1",
            "location": {"provider": "self", "zone": "SE", "pin": "region"},
            "hardware": {"gpu": "H100", "precision": "bf16"},
            "defaults": {"steps": 28, "size": "1024x1024"},
        }
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("reset", 502),
        ("cut", 502),
        ("malformed", 502),
        ("wrong_shape", 502),
        ("html", 502),
        ("stall:4", 504),
        ("stall_body:4", 504),
        ("huge:9", 502),
        ("gzip", 200),
    ],
)
async def test_f13_every_broken_answer_is_one_clear_error_and_one_charge(
    tmp_path: Path, store: Store, fault: str, status: int
) -> None:
    async with gateway_running(
        tmp_path,
        store.url,
        budgets=PLENTY,
        upstream_read_timeout_s=2,
        lease_s=5,
        max_answer_bytes_per_image=5_000_000,
    ) as gateway:
        answers = await load(gateway.admin, per_s=10, seconds=0.3, standin_fault=fault)

        assert set(answers.statuses) == {status}
        assert len(gateway.generations()) == 3  # never sent again
        await assert_exact(store.redis, tmp_path / "data", list(gateway.standins.values()))


@pytest.mark.parametrize("cut_after", [0, 40, 300])
async def test_f13_a_connection_cut_anywhere_in_the_answer_is_charged_and_not_sent_again(
    tmp_path: Path, store: Store, cut_after: int
) -> None:
    async with service() as images, FaultProxy(("127.0.0.1", images.port)) as proxy:
        proxy.faults.cut_replies_after = cut_after
        async with gateway_running(
            tmp_path, store.url, budgets=PLENTY, deployments=behind(proxy), lease_s=5
        ) as gateway:
            answers = await load(gateway.admin, per_s=10, seconds=0.3)

            assert set(answers.statuses) == {502}
            assert len(images.standin.generations) == 3
            await assert_exact(store.redis, tmp_path / "data", [images])


async def test_f13_an_endless_answer_ends_at_the_limit(tmp_path: Path, store: Store) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                writer.write(b" " * 65536)
                await writer.drain()

    async with await asyncio.start_server(endless, "127.0.0.1", 0) as server:
        proxy = FaultProxy(("127.0.0.1", 0), port=server.sockets[0].getsockname()[1])
        async with gateway_running(
            tmp_path,
            store.url,
            budgets=PLENTY,
            deployments=behind(proxy),
            lease_s=5,
            max_answer_bytes_per_image=5_000_000,
        ) as gateway:
            answer = await gateway.admin.post(GENERATIONS, json=ASK)

            assert answer.status_code == 502
            assert answer.headers["x-should-retry"] == "false"
            await assert_exact(store.redis, tmp_path / "data", [], unknown=1)


@pytest.mark.long
async def test_f20_clients_that_hang_up_at_random_are_charged_once(tmp_path: Path, store: Store) -> None:
    chance = random.Random(20)
    zones = {"SE": StandInSettings(zone="SE", seconds_per_image=0.5 * 256)}
    async with gateway_running(tmp_path, store.url, budgets=PLENTY, zones=zones, lease_s=5) as gateway:
        images = gateway.standins["SE"]

        async def one() -> None:
            patience_s = chance.uniform(0.0, 0.6) if chance.random() < 0.3 else 30
            with contextlib.suppress(httpx.TimeoutException):
                await gateway.admin.post(GENERATIONS, json=ASK, timeout=patience_s)

        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(one())
                await asyncio.sleep(0.03)

        async def idle() -> bool:
            return images.standin.in_flight == 0

        await until(idle)
        # One that left between the mark and the first byte is charged: nobody can know.
        await assert_exact(store.redis, tmp_path / "data", [images], unknown=10)
