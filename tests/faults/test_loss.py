"""A store that forgot: everything (F10), or what a replica had not got yet (F5, F6)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import RedisError
from sqlalchemy import update

from gateway.budgets import recovery
from gateway.budgets.audit import audit
from gateway.budgets.holds import Denied, Held
from gateway.budgets.ledger import Ledger
from gateway.budgets.recovery import OpenHold, rebuild, turn_at
from gateway.budgets.wire import OrgKeys
from gateway.demo.standin import StandInSettings
from gateway.errors import LedgerUnavailable
from gateway.store.connection import connect
from gateway.store.keyspace import ORGS, journal_key, org_key
from gateway.store.tables import journal
from gateway.usage.archive import Archive
from gateway.usage.journal import JournalConsumer
from gateway.usage.record import encode
from gateway.usage.turns import Superseded
from tests.budgets.ledger_builders import ORG, charge, counter, end_lease, stored
from tests.faults.proxy import FaultProxy
from tests.faults.world import PLENTY, assert_exact, load, store_running, until
from tests.ports import free_port
from tests.running import gateway_running
from tests.usage.journals import record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from redis.asyncio import Redis

    from gateway.store.sql import Database

BUDGET = counter(energy=100)
TEAM = counter("team", scope={"team": "a"}, bound="high", energy=1000)
RECORD = encode(record())


def ledger_of(redis: Redis, database: Database, **settings: Any) -> Ledger:
    return Ledger(redis, lease_s=60, timeout_ms=5000, archive=Archive(database), **settings)


async def dumped(redis: Redis) -> dict[str, bytes]:
    return {str(key): await redis.dump(key) or b"" for key in await redis.keys("*")}


async def assert_counted_once(redis: Redis, database: Database) -> None:
    """The settlement of 7 uWh stands once in the counter and once in SQL, and they agree."""
    assert (await stored(redis, BUDGET))["s1"] == 7
    assert await in_sql(database) == [7]
    assert (await audit(redis, Archive(database), ORG)).differences == ()


async def with_history(redis: Redis, database: Database) -> Ledger:
    """One hold settled, one expired, one open; all but the open one are in SQL."""
    ledger = ledger_of(redis, database)
    for hold_id in ("settled", "expired", "open"):
        await ledger.reserve(ORG, hold_id, [charge(10)], [BUDGET, TEAM], RECORD)
    await ledger.settle(ORG, "settled", charge(7), RECORD)
    await ledger.dispatch(ORG, "expired", RECORD)
    await redis.zadd(OrgKeys(ORG).open_holds, {"expired": 1})
    assert await ledger.expiry.due() == 1
    await JournalConsumer(redis, database).drain_once()
    return ledger


async def noticing_a_loss(redis: Redis, database: Database, number: int) -> list[Ledger]:
    """The store forgets everything, and so many processes have heard of it."""
    await with_history(redis, database)
    await redis.flushall()
    ledgers = [ledger_of(redis, database) for _ in range(number)]
    for ledger in ledgers:
        with pytest.raises(LedgerUnavailable):
            await ledger.balances(ORG, [BUDGET])
    return ledgers


async def test_a_lost_ledger_is_refused_until_it_is_rebuilt_from_sql(
    redis: Redis, database: Database
) -> None:
    await with_history(redis, database)
    await redis.flushall()
    ledger = ledger_of(redis, database)  # a process that never saw it

    with pytest.raises(LedgerUnavailable, match="lost the ledger"):
        await ledger.reserve(ORG, "new", [charge(1)], [BUDGET], RECORD)
    assert await ledger.losses.rebuild() == 1

    with pytest.raises(LedgerUnavailable, match="admits again in"):
        await ledger.reserve(ORG, "new", [charge(1)], [BUDGET], RECORD)
    await redis.hset(OrgKeys(ORG).meta, "grace", 0)
    assert (await stored(redis, BUDGET))["s1"] == 17
    assert (await stored(redis, TEAM))["s1"] == 34
    denied = await ledger.reserve(ORG, "new", [charge(84)], [BUDGET], RECORD)
    assert isinstance(denied, Denied)
    assert (await audit(redis, Archive(database), ORG)).differences == ()


async def test_after_a_rebuild_an_ending_is_known_and_a_late_one_posts_the_difference(
    redis: Redis, database: Database
) -> None:
    await with_history(redis, database)
    await redis.flushall()
    ledger = ledger_of(redis, database)
    with pytest.raises(LedgerUnavailable):
        await ledger.settle(ORG, "settled", charge(7), RECORD, [BUDGET, TEAM])
    await ledger.losses.rebuild()

    again = await ledger.settle(ORG, "settled", charge(7), RECORD, [BUDGET, TEAM])
    late = await ledger.settle(ORG, "expired", charge(4), RECORD, [BUDGET, TEAM])
    orphan = await ledger.settle(ORG, "open", charge(9), RECORD, [BUDGET, TEAM])

    assert (again.kind, late.kind, orphan.kind) == ("duplicate", "late", "orphan")
    assert (await stored(redis, BUDGET))["s1"] == 7 + 4 + 9
    assert (await audit(redis, Archive(database), ORG)).differences == ()


async def test_an_open_hold_is_brought_back_once(redis: Redis, database: Database) -> None:
    ledger = await with_history(redis, database)
    hold = OpenHold(ORG, "open", charge(10), (BUDGET, TEAM), RECORD, sent=True)
    assert not await ledger.losses.restore(hold)
    await redis.flushall()
    with pytest.raises(LedgerUnavailable):
        await ledger.losses.restore(hold)
    await ledger.losses.rebuild()

    assert await ledger.losses.restore(hold)
    assert not await ledger.losses.restore(hold)

    assert (await stored(redis, BUDGET))["h1"] == 10
    assert ledger.losses.take_changed() == {ORG}
    assert (await ledger.settle(ORG, "open", charge(9), RECORD)).kind == "commit"
    assert (await stored(redis, TEAM))["h1"] == 0


async def test_only_one_process_rebuilds(redis: Redis, database: Database) -> None:
    ledgers = await noticing_a_loss(redis, database, 3)

    rebuilt = await asyncio.gather(*(ledger.losses.rebuild() for ledger in ledgers))

    assert sum(rebuilt) == 1
    assert (await stored(redis, BUDGET))["s1"] == 17


async def test_a_rebuild_that_broke_off_is_gone_on_with_by_its_process_at_once(
    redis: Redis, database: Database
) -> None:
    """Another one waits until the fence falls."""
    ledger, other = await noticing_a_loss(redis, database, 2)
    await redis.set(org_key(ORG, "fence"), f"{ledger.losses._process}:earlier", px=60_000)

    assert await other.losses.rebuild() == 0
    assert await ledger.losses.rebuild() == 1
    assert (await stored(redis, BUDGET))["s1"] == 17


async def scripts_run(redis: Redis) -> int:
    """How many scripts the store was asked to run by their digest."""
    calls: int = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    return calls


class _ArchiveWithHook(Archive):
    """SQL's memory, and something that happens when all but a rebuild's last call is done."""

    def __init__(self, database: Database, before_the_last: Callable[[], Awaitable[None]]) -> None:
        super().__init__(database)
        self._before_the_last = before_the_last

    async def rebuilt(self, org: str, epoch: str) -> None:
        await super().rebuilt(org, epoch)
        await self._before_the_last()


async def test_what_a_rebuild_that_broke_off_had_sent_opens_nothing_when_it_arrives_late(
    redis: Redis, redis_url: str, database: Database
) -> None:
    """It arrives when its process has begun again, and SQL was told of another turn."""
    history = await with_history(redis, database)
    lifetimes = history._lifetimes
    await redis.flushall()
    assert await rebuild(redis, Archive(database), ORG, lifetimes, process="p")  # the store knows the scripts
    await redis.flushall()

    async with FaultProxy(redis_url.removeprefix("unix://").partition("?")[0]) as proxy:
        slow = connect(f"redis://127.0.0.1:{proxy.port}", timeout_ms=250)

        async def stall() -> None:
            proxy.stall()

        async def flow() -> None:
            before = await scripts_run(redis)
            proxy.flow()

            async def arrived() -> bool:
                return await scripts_run(redis) > before

            await until(arrived)

        with pytest.raises(RedisError):
            await rebuild(slow, _ArchiveWithHook(database, stall), ORG, lifetimes, process="p")
        assert await rebuild(redis, _ArchiveWithHook(database, flow), ORG, lifetimes, process="p")
        await slow.aclose()
    await redis.sadd(ORGS, ORG)

    assert (await history.settle(ORG, "open", charge(9), RECORD, [BUDGET])).kind == "orphan"
    assert await JournalConsumer(redis, database).drain_once() == 1
    assert (await audit(redis, Archive(database), ORG)).differences == ()


async def test_a_rebuild_may_take_longer_than_its_fence_would_stand_without_it(
    redis: Redis, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifetimes = (await with_history(redis, database))._lifetimes
    await redis.flushall()
    monkeypatch.setattr(recovery, "FENCE_MS", 300)
    others: list[bool] = []

    async def long() -> None:
        for _ in range(10):
            others.append(await rebuild(redis, Archive(database), ORG, lifetimes, process="other"))
            await asyncio.sleep(0.1)

    assert await rebuild(redis, _ArchiveWithHook(database, long), ORG, lifetimes, process="p")

    assert others == [False] * 10
    assert (await stored(redis, BUDGET))["s1"] == 17


async def test_the_fence_of_a_process_that_died_falls(
    redis: Redis, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifetimes = (await with_history(redis, database))._lifetimes
    await redis.flushall()
    monkeypatch.setattr(recovery, "FENCE_MS", 300)
    stuck = asyncio.Event()

    async def die() -> None:
        stuck.set()
        await asyncio.sleep(60)

    dying = asyncio.create_task(rebuild(redis, _ArchiveWithHook(database, die), ORG, lifetimes, process="p"))
    await stuck.wait()
    dying.cancel()
    await asyncio.wait({dying})

    async def taken_over() -> bool:
        return await rebuild(redis, Archive(database), ORG, lifetimes, process="other")

    await until(taken_over, within_s=5)
    assert (await stored(redis, BUDGET))["s1"] == 17


async def test_who_comes_to_rebuild_when_it_is_done_stops_no_consumer(
    redis: Redis, database: Database
) -> None:
    first, late = await noticing_a_loss(redis, database, 2)
    assert await first.losses.rebuild() == 1
    await late.losses.rebuild()

    assert (await late.settle(ORG, "open", charge(9), RECORD, [BUDGET])).kind == "orphan"
    assert await JournalConsumer(redis, database).drain_once() == 1
    assert (await audit(redis, Archive(database), ORG)).differences == ()


async def test_a_rebuild_comes_behind_a_server_whose_clock_was_ahead(
    redis: Redis, database: Database
) -> None:
    await with_history(redis, database)
    hour_ahead_ms = time.time_ns() // 1_000_000 + 3_600_000
    await Archive(database).supersede(ORG, turn_at(hour_ahead_ms))
    await redis.flushall()
    ledger = ledger_of(redis, database)
    with pytest.raises(LedgerUnavailable):
        await ledger.balances(ORG, [BUDGET])

    assert await ledger.losses.rebuild() == 1

    assert (await ledger.settle(ORG, "open", charge(9), RECORD, [BUDGET])).kind == "orphan"
    assert await JournalConsumer(redis, database).drain_once() == 1
    assert (await audit(redis, Archive(database), ORG)).differences == ()


async def test_an_ending_that_a_replica_lacks_is_taken_from_sql(redis: Redis, database: Database) -> None:
    """The replica took over before it had the commit and the release; SQL has both."""
    ledger = ledger_of(redis, database)
    for hold_id in ("committed", "released"):
        await ledger.reserve(ORG, hold_id, [charge(10)], [BUDGET], RECORD)
    before = await dumped(redis)
    await ledger.settle(ORG, "committed", charge(6), RECORD)
    await ledger.release(ORG, "released", RECORD)
    await JournalConsumer(redis, database).drain_once()
    await redis.flushall()
    for key, value in before.items():
        await redis.restore(key, 0, value)

    assert await ledger.losses.adopt_endings(ORG) == 2
    assert await ledger.losses.adopt_endings(ORG) == 0

    fields = await stored(redis, BUDGET)
    assert (fields["s1"], fields["h1"]) == (6, 0)
    assert (await ledger.settle(ORG, "committed", charge(6), RECORD, [BUDGET])).kind == "duplicate"
    assert (await audit(redis, Archive(database), ORG)).differences == ()


async def take_over(redis: Redis, before: dict[str, bytes]) -> None:
    """Another server has the ledger from now on, as it was when `before` was dumped."""
    await redis.flushall()
    for key, value in before.items():
        await redis.restore(key, 0, value)
    await redis.hset(OrgKeys(ORG).meta, "run", "the-server-before")


async def in_sql(database: Database) -> list[int]:
    return [spent.amounts.energy_uwh for spent in (await Archive(database).spent(ORG)).values()]


async def test_endings_are_found_by_the_clock_that_wrote_them(redis: Redis, database: Database) -> None:
    """The replica's clock is an hour ahead of that of the server before it."""
    ledger = ledger_of(redis, database)
    await ledger.reserve(ORG, "h1", [charge(10)], [BUDGET], RECORD)
    before = await dumped(redis)
    await ledger.settle(ORG, "h1", charge(7), RECORD)
    await JournalConsumer(redis, database).drain_once()
    async with database.writing() as connection:
        await connection.execute(update(journal).values(at_ms=journal.c.at_ms - 3_600_000))
    await take_over(redis, before)

    assert await ledger.losses.adopt_endings(ORG) == 1

    await assert_counted_once(redis, database)


async def test_endings_are_found_although_the_clock_jumped_before_the_replica_took_over(
    redis: Redis, database: Database
) -> None:
    """One was settled, the clock went an hour ahead, and another was settled; the replica has neither."""
    ledger = ledger_of(redis, database)
    for hold_id in ("h1", "h2"):
        await ledger.reserve(ORG, hold_id, [charge(10)], [BUDGET], RECORD)
    before = await dumped(redis)
    await ledger.settle(ORG, "h1", charge(3), RECORD)
    await JournalConsumer(redis, database).drain_once()
    async with database.writing() as connection:
        await connection.execute(update(journal).values(at_ms=journal.c.at_ms - 3_600_000))
    await ledger.settle(ORG, "h2", charge(4), RECORD)
    await JournalConsumer(redis, database).drain_once()
    await take_over(redis, before)
    await ledger.expiry.due()

    assert await ledger.losses.adopt_endings(ORG) == 2

    await assert_counted_once(redis, database)


async def test_an_ending_that_the_store_has_forgotten_in_its_time_is_not_charged_again(
    redis: Redis, database: Database
) -> None:
    """Nobody asked for three hours; then a replica took over, which has everything but the tombstone."""
    ledger = ledger_of(redis, database)
    await ledger.reserve(ORG, "h1", [charge(10)], [BUDGET], RECORD)
    await ledger.settle(ORG, "h1", charge(7), RECORD)
    await JournalConsumer(redis, database).drain_once()
    async with database.writing() as connection:
        await connection.execute(update(journal).values(at_ms=journal.c.at_ms - 3 * 3_600_000))
    await redis.delete(OrgKeys(ORG).hold("h1"))
    await take_over(redis, await dumped(redis))

    assert await ledger.losses.adopt_endings(ORG) == 0

    await assert_counted_once(redis, database)


@pytest.mark.parametrize("reader_is_late", [True, False])
async def test_an_ending_that_a_consumer_had_in_hand_when_a_replica_took_over_counts_once(
    redis: Redis, database: Database, *, reader_is_late: bool
) -> None:
    """The old server's entry was read, the replica never had it, and its gateway sends the ending again.

    Its reader comes back before SQL hears of the new server's entry, or after it.
    """
    ledger = ledger_of(redis, database)
    await ledger.reserve(ORG, "h1", [charge(10)], [BUDGET], RECORD)
    reader, other = JournalConsumer(redis, database), JournalConsumer(redis, database)
    await other.drain_once()
    before = await dumped(redis)
    await ledger.settle(ORG, "h1", charge(7), RECORD)
    await reader._orgs()
    [(turn, delivered)] = await reader._read([ORG], ">")
    assert len(delivered["journal"]) == 1

    await take_over(redis, before)
    await ledger.expiry.due()
    assert ledger.losses.take_changed() == {ORG}
    assert await ledger.losses.adopt_endings(ORG) == 0
    assert (await ledger.settle(ORG, "h1", charge(7), RECORD, [BUDGET])).kind == "commit"
    if reader_is_late:
        await other.drain_once()
    with pytest.raises(Superseded):
        await reader._store(ORG, "journal", delivered["journal"], turn)
    await reader.drain_once()
    await other.drain_once()

    await assert_counted_once(redis, database)


async def test_an_ending_that_is_sent_again_before_sql_is_asked_counts_once(
    redis: Redis, database: Database
) -> None:
    """SQL has the ending already, and its gateway posts it to the replica before anyone compares the two."""
    ledger = ledger_of(redis, database)
    await ledger.reserve(ORG, "h1", [charge(10)], [BUDGET], RECORD)
    before = await dumped(redis)
    await ledger.settle(ORG, "h1", charge(7), RECORD)
    await JournalConsumer(redis, database).drain_once()
    await take_over(redis, before)

    assert (await ledger.settle(ORG, "h1", charge(7), RECORD, [BUDGET])).kind == "commit"
    await ledger.expiry.due()
    assert await ledger.losses.adopt_endings(ORG) == 0
    assert await JournalConsumer(redis, database).drain_once() == 0

    await assert_counted_once(redis, database)


@pytest.mark.parametrize("copied", ["after_the_mark", "before_the_mark"])
async def test_a_replica_that_lets_the_lease_of_what_was_settled_end_is_corrected_by_sql(
    redis: Redis, database: Database, copied: str
) -> None:
    """The settling gateway died with the old server, so the replica charges the hold, or releases what it
    takes for never sent; SQL knows better."""
    ledger = ledger_of(redis, database)
    await ledger.reserve(ORG, "h1", [charge(10)], [BUDGET], RECORD)
    before = await dumped(redis)
    await ledger.dispatch(ORG, "h1", RECORD)
    if copied == "after_the_mark":
        before = await dumped(redis)
    await ledger.settle(ORG, "h1", charge(7), RECORD)
    await JournalConsumer(redis, database).drain_once()
    await take_over(redis, before)
    await end_lease(redis, "h1")

    assert await ledger.expiry.due() == 1
    assert await ledger.losses.adopt_endings(ORG) == 1
    assert await JournalConsumer(redis, database).drain_once() == 0

    await assert_counted_once(redis, database)


async def test_a_process_that_started_after_a_replica_took_over_brings_it_what_sql_has(
    redis: Redis, database: Database
) -> None:
    """Every gateway that knew the old server is gone."""
    ledger = ledger_of(redis, database)
    await ledger.reserve(ORG, "h1", [charge(10)], [BUDGET], RECORD)
    before = await dumped(redis)
    await ledger.settle(ORG, "h1", charge(7), RECORD)
    await JournalConsumer(redis, database).drain_once()
    await take_over(redis, before)

    later = ledger_of(redis, database)
    await later.expiry.due()
    await later.balances(ORG, [BUDGET])

    assert later.losses.take_changed() == {ORG}
    assert await later.losses.adopt_endings(ORG) == 1
    assert (await stored(redis, BUDGET))["s1"] == 7
    assert (await audit(redis, Archive(database), ORG)).differences == ()


async def test_an_org_that_a_replica_has_not_heard_of_is_looked_after(
    redis: Redis, database: Database
) -> None:
    """It was listed when the replica had its ledger already; nobody that knows it lives, and nobody asks."""
    ledger = ledger_of(redis, database)
    await ledger.reserve(ORG, "h1", [charge(10)], [BUDGET], RECORD)
    await ledger.dispatch(ORG, "h1", RECORD)
    await end_lease(redis, "h1")
    await redis.srem(ORGS, ORG)
    await redis.delete(journal_key(ORG))

    assert await ledger_of(redis, database).expiry.due() == 1
    assert await JournalConsumer(redis, database).drain_once() == 1
    assert await in_sql(database) == [10]


async def test_another_server_admits_nothing_during_the_time_of_grace(
    redis: Redis, database: Database
) -> None:
    ledger = ledger_of(redis, database, grace_ms=300)
    await ledger.reserve(ORG, "h1", [charge(1)], [BUDGET], RECORD)
    await redis.hset(OrgKeys(ORG).meta, "run", "another-server")

    with pytest.raises(LedgerUnavailable, match="another server"):
        await ledger.reserve(ORG, "h2", [charge(1)], [BUDGET], RECORD)
    assert (await ledger.settle(ORG, "h1", charge(1), RECORD)).kind == "commit"
    await asyncio.sleep(0.35)

    assert isinstance(await ledger.reserve(ORG, "h2", [charge(1)], [BUDGET], RECORD), Held)


async def test_f10_a_flushed_store_is_rebuilt_while_work_is_in_flight(tmp_path: Path) -> None:
    zones = {"SE": StandInSettings(zone="SE", seconds_per_image=2 * 256)}
    async with (
        store_running(tmp_path / "store") as store,
        gateway_running(tmp_path, store.url, budgets=PLENTY, zones=zones, lease_s=30) as gateway,
    ):
        settled = await load(gateway.admin, per_s=10, seconds=1)
        in_flight = asyncio.create_task(load(gateway.admin, per_s=50, seconds=0.2))
        while len(gateway.generations()) < 20:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        await store.redis.flushall()

        refused = await load(gateway.admin, per_s=10, seconds=0.3)
        began = time.monotonic()

        assert set(settled.statuses) == set((await in_flight).statuses) == {200}
        assert set(refused.statuses) == {503}

        async def admits() -> bool:
            return (await load(gateway.admin, per_s=1, seconds=1)).statuses == [200]

        await until(admits, within_s=30)
        assert time.monotonic() - began < 30
        await assert_exact(store.redis, tmp_path / "data", list(gateway.standins.values()))


async def test_f5_a_promoted_replica_gets_back_what_it_lacks(tmp_path: Path) -> None:
    """Replication stalls for a second of traffic; then the primary is killed and the replica takes over."""
    zones = {"SE": StandInSettings(zone="SE", seconds_per_image=256)}
    async with (
        store_running(tmp_path / "store") as store,
        store_running(tmp_path / "replica") as replica,
        gateway_running(tmp_path, store.url, budgets=PLENTY, zones=zones, lease_s=30) as gateway,
    ):
        port = free_port()
        await store.redis.config_set("port", port)
        async with FaultProxy(("127.0.0.1", port)) as replication:
            await replica.redis.replicaof("127.0.0.1", replication.port)
            await until(lambda: is_replica(replica.redis))
            loading = asyncio.create_task(load(gateway.admin, per_s=10, seconds=7))
            await asyncio.sleep(2.5)
            replication.stall()
            await asyncio.sleep(1)
            await replica.redis.replicaof("NO", "ONE")
        store.proxy.target = replica.proxy.target
        store.proxy.reset_all()
        tally = await loading

        assert set(tally.statuses) <= {200, 503}
        assert tally.count(200) >= 15
        await assert_exact(replica.redis, tmp_path / "data", list(gateway.standins.values()))

        async def told() -> bool:
            return (await gateway.admin.get("/readyz")).json()["store"]["ledger_recovery"] is not None

        await until(told)
        health = await gateway.admin.get("/readyz")
        assert health.status_code == 200
        assert health.json()["store"]["ledger_recovery"]["unexplained_holds"] == 0


async def is_replica(redis: Redis) -> bool:
    facts = await redis.info("replication")
    return bool(facts["role"] == "slave" and facts["master_link_status"] == "up")
