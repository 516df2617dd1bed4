"""A store that is slow, full, gone or forgetful: the ledger refuses in time and loses nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from gateway.budgets.holds import Denied, Held
from gateway.budgets.ledger import Ledger
from gateway.errors import LedgerUnavailable
from gateway.store.connection import connect
from gateway.store.valkey import EmbeddedValkey
from tests.budgets.ledger_builders import ORG, RECORD, charge, counter, end_lease, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from redis.asyncio import Redis

BUDGET = counter(energy=100)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server of this test's own, to be mistreated."""
    with EmbeddedValkey.start(tmp_path) as server:
        yield server


@pytest.fixture
async def client(store: EmbeddedValkey) -> AsyncIterator[Redis]:
    redis = connect(store.url, timeout_ms=5000)
    yield redis
    await redis.aclose()


async def server_pid(redis: Redis) -> int:
    return int((await redis.info("server"))["process_id"])


async def test_a_frozen_store_is_given_up_within_the_deadline(client: Redis) -> None:
    ledger = Ledger(client, lease_s=60, timeout_ms=1000)
    await ledger.reserve(ORG, "h1", [charge(10)], [BUDGET], RECORD)
    pid = await server_pid(client)
    os.kill(pid, signal.SIGSTOP)
    try:
        calls = [
            ledger.reserve(ORG, "h2", [charge(10)], [BUDGET], RECORD),
            ledger.dispatch(ORG, "h1", "{}"),
            ledger.renew([(ORG, "h1")]),
            ledger.settle(ORG, "h1", charge(10), RECORD),
            ledger.release(ORG, "h1", RECORD),
            ledger.expiry.due(),
            ledger.balances(ORG, [BUDGET]),
            ledger.refused(ORG, "h3", RECORD),
            ledger.ping(),
        ]
        began = time.monotonic()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        took = time.monotonic() - began
    finally:
        os.kill(pid, signal.SIGCONT)

    assert {LedgerUnavailable} == {type(answer) for answer in answers}
    assert {"did not answer within 1000 ms"} == {str(answer).split("store ")[1] for answer in answers}
    assert took < 5.0  # one after the other they would take nine


async def test_a_reserve_that_timed_out_may_be_sent_again(client: Redis) -> None:
    ledger = Ledger(client, lease_s=60, timeout_ms=1000)
    await ledger.reserve(ORG, "h0", [charge(10)], [BUDGET], RECORD)
    pid = await server_pid(client)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(LedgerUnavailable):
            await ledger.reserve(ORG, "h1", [charge(10)], [BUDGET], RECORD)
    finally:
        os.kill(pid, signal.SIGCONT)

    answer = await ledger.reserve(ORG, "h1", [charge(10)], [BUDGET], RECORD)

    assert isinstance(answer, Held)
    assert (await stored(client, BUDGET))["h1"] == 20


async def test_a_cancelled_caller_stays_cancelled_and_its_connection_is_not_reused(client: Redis) -> None:
    ledger = Ledger(client, lease_s=60, timeout_ms=5000)
    await ledger.ping()
    pid = await server_pid(client)
    os.kill(pid, signal.SIGSTOP)
    try:
        call = asyncio.create_task(ledger.reserve(ORG, "h1", [charge(10)], [BUDGET], RECORD))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    finally:
        os.kill(pid, signal.SIGCONT)

    for n in range(5):
        (balance,) = await ledger.balances(ORG, [BUDGET])
        assert set(balance.used.values()) == {0}, n


async def test_a_store_that_is_gone_is_told_as_such(tmp_path: Path) -> None:
    redis = connect(f"unix://{tmp_path}/nobody.sock", timeout_ms=250)
    ledger = Ledger(redis, lease_s=60, timeout_ms=250)

    with pytest.raises(LedgerUnavailable, match="begin: the budget store failed: ConnectionError"):
        await ledger.reserve(ORG, "h1", [charge(1)], [BUDGET], RECORD)
    await redis.aclose()


async def test_a_full_store_refuses_to_reserve_but_still_settles(client: Redis) -> None:
    ledger = Ledger(client, lease_s=60, timeout_ms=500)
    for hold_id in ("settled", "released", "sent", "unsent"):
        assert isinstance(await ledger.reserve(ORG, hold_id, [charge(10)], [BUDGET], RECORD), Held)
    await client.config_set("maxmemory", "1mb")
    await client.config_set("maxmemory-policy", "noeviction")
    assert int((await client.info("memory"))["used_memory"]) > 1_000_000

    with pytest.raises(LedgerUnavailable, match="reserve: the budget store is full"):
        await ledger.reserve(ORG, "more", [charge(10)], [BUDGET], RECORD)
    await ledger.dispatch(ORG, "sent", "{}")
    await ledger.renew([(ORG, "sent")])
    assert (await ledger.settle(ORG, "settled", charge(9), RECORD)).kind == "commit"
    assert (await ledger.release(ORG, "released", RECORD)).kind == "release"
    await client.config_set("maxmemory", "0")
    await end_lease(client, "sent", "unsent")
    await client.config_set("maxmemory", "1mb")
    assert await ledger.expiry.due() == 2

    fields = await stored(client, BUDGET)
    assert (fields["s1"], fields["h1"]) == (19, 0)


async def test_a_script_flush_between_any_two_calls_goes_unnoticed(redis: Redis) -> None:
    ledger = Ledger(redis, lease_s=60, timeout_ms=2000)

    assert isinstance(await ledger.reserve(ORG, "h1", [charge(10)], [BUDGET], RECORD), Held)
    await redis.script_flush()
    await ledger.dispatch(ORG, "h1", "{}")
    await redis.script_flush()
    assert await ledger.renew([(ORG, "h1")]) == []
    await redis.script_flush()
    assert (await ledger.settle(ORG, "h1", charge(9), RECORD)).kind == "commit"
    await redis.script_flush()
    assert len(await ledger.balances(ORG, [BUDGET])) == 1


async def test_scripts_flushed_all_the_time_stop_nobody(redis: Redis) -> None:
    ledger = Ledger(redis, lease_s=60, timeout_ms=5000)

    async def flush() -> None:
        for _ in range(50):
            await redis.script_flush()

    answers, _ = await asyncio.gather(
        asyncio.gather(*(ledger.reserve(ORG, f"h{n}", [charge(10)], [BUDGET], RECORD) for n in range(50))),
        flush(),
    )

    assert (sum(isinstance(a, Held) for a in answers), sum(isinstance(a, Denied) for a in answers)) == (
        10,
        40,
    )


async def test_a_killed_store_comes_back_with_every_settled_amount(
    store: EmbeddedValkey, client: Redis
) -> None:
    ledger = Ledger(client, lease_s=60, timeout_ms=250)
    for n in range(5):
        await ledger.reserve(ORG, f"h{n}", [charge(10)], [BUDGET], RECORD)
    await ledger.settle(ORG, "h0", charge(7), RECORD)
    os.kill(await server_pid(client), signal.SIGKILL)

    for _ in range(100):
        try:
            await ledger.ping()
            break
        except LedgerUnavailable:
            await asyncio.sleep(0.05)

    fields = await stored(client, BUDGET)
    assert (fields["s1"], fields["h1"]) == (7, 40)
    assert (await ledger.settle(ORG, "h1", charge(8), RECORD)).kind == "commit"
