"""A gateway, its store behind a fault proxy, its image service, and one question: is the ledger exact?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from gateway.budgets.audit import Audit, audit
from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from gateway.store.connection import connect
from gateway.store.keyspace import journal_key
from gateway.store.sql import open_database
from gateway.store.valkey import EmbeddedValkey
from gateway.usage.archive import Archive
from gateway.usage.journal import JournalConsumer
from tests.faults.proxy import FaultProxy
from tests.running import GENERATIONS, MODEL, budget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from redis.asyncio import Redis

    from gateway.demo.serving import Running
    from gateway.store.sql import Database
    from tests.processes import GatewayProcess

ORG = "default"  # the org of the admin key
ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}
PLENTY = [budget("everyone", per=[], limits={"images": 100_000})]


async def ask(gateway: GatewayProcess) -> int | None:
    """The status of one request, or None when the connection broke."""
    async with gateway.client() as client:
        with contextlib.suppress(httpx.TransportError):
            return (await client.post(GENERATIONS, json=ASK)).status_code
    return None


@dataclass
class Store:
    """A Valkey of this test's own, reached through a proxy at `url`, and directly by `redis`."""

    server: EmbeddedValkey
    proxy: FaultProxy
    redis: Redis

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.proxy.port}/0"

    async def pid(self) -> int:
        return int((await self.redis.info("server"))["process_id"])

    async def kill(self) -> None:
        """SIGKILL; the supervisor starts it again from its append-only file."""
        os.kill(await self.pid(), signal.SIGKILL)

    @contextlib.asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        pid = await self.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    async def back(self) -> None:
        await until(self._answers)

    async def _answers(self) -> bool:
        with contextlib.suppress(Exception):
            return bool(await self.redis.ping())
        return False


@contextlib.asynccontextmanager
async def store_running(directory: Path) -> AsyncIterator[Store]:
    server = await asyncio.to_thread(EmbeddedValkey.start, directory)
    redis = connect(server.url, timeout_ms=5000)
    try:
        async with FaultProxy(server.url.removeprefix("unix://")) as proxy:
            yield Store(server, proxy, redis)
    finally:
        await redis.aclose()
        await asyncio.to_thread(server.stop)


@contextlib.asynccontextmanager
async def scripts_forgotten(store: Store) -> AsyncIterator[None]:
    """The store forgets its scripts twenty times a second. No call of that is left open behind the block."""
    over = asyncio.Event()

    async def flush() -> None:
        while not over.is_set():
            await store.redis.script_flush()
            await asyncio.sleep(0.05)

    flushing = asyncio.create_task(flush())
    try:
        yield
    finally:
        over.set()
        await flushing


@dataclass
class Tally:
    """What the clients saw: statuses in order, how long each took, and who hung up.

    `began_ms` has the moment (UTC since 1970) just before each request was sent, by its id.
    """

    statuses: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    codes: list[str | None] = field(default_factory=list)
    began_ms: dict[str, float] = field(default_factory=dict)

    def count(self, status: int) -> int:
        return self.statuses.count(status)


async def load(client: httpx.AsyncClient, *, per_s: float, seconds: float, **ask: Any) -> Tally:
    """An open loop: requests start on time, however long the earlier ones take."""
    tally = Tally()

    async def one() -> None:
        began, began_ms = time.monotonic(), time.time() * 1000
        answer = await client.post(GENERATIONS, json=ASK | ask)
        tally.ids.append(answer.headers["x-request-id"])
        tally.began_ms[tally.ids[-1]] = began_ms
        tally.seconds.append(time.monotonic() - began)
        tally.statuses.append(answer.status_code)
        error = answer.json().get("error") if answer.status_code != 200 else None
        tally.codes.append(error["code"] if error else None)

    async with asyncio.TaskGroup() as group:
        began = time.monotonic()
        for number in range(int(per_s * seconds)):
            await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
            group.create_task(one())
    return tally


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 40) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.1)


async def quiet(redis: Redis, database: Database, org: str = ORG, within_s: float = 40) -> Audit:
    """The audit once nothing is held any more and everything is in SQL. Drains what no gateway drains."""
    consumer = JournalConsumer(redis, database, claim_idle_ms=500)
    archive = Archive(database)
    seen = Audit(org, 0, -1, ())

    async def settled() -> bool:
        nonlocal seen
        await consumer.drain_once()
        seen = await audit(redis, archive, org)
        return seen.open_holds == 0 and await redis.xlen(journal_key(org)) == 0

    await until(settled, within_s)
    await settled()  # what ended between the last drain and the look
    return seen


async def charged(database: Database, org: str = ORG, budget: str = "everyone") -> int:
    """How many images SQL says were charged to a shared budget."""
    sums = await Archive(database).spent(org)
    return sum(spent.amounts.images for bucket, spent in sums.items() if bucket.counter.startswith(budget))


async def assert_exact(
    redis: Redis, directory: Path, services: list[Running], *, org: str = ORG, unknown: int = 0
) -> None:
    """I2, I3 and I17 hold, nothing is held, and exactly what the services made is charged.

    `unknown` is how many images may be charged beyond that, because nobody can know whether they were made.
    """
    database = await open_database(None, directory)
    try:
        found = await quiet(redis, database, org)
        assert found.differences == ()
        made = sum(int((one.json or {}).get("n", 1)) for s in services for one in s.standin.generations)
        assert made <= await charged(database, org) <= made + unknown
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def service(seconds_per_image: float = 0.0) -> AsyncIterator[Running]:
    """One image service; the time is that of one 64x64 image."""
    settings = StandInSettings(zone="SE", seconds_per_image=seconds_per_image * 256)
    async with serving(settings) as running:
        yield running
