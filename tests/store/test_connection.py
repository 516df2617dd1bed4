"""Connections that never repeat a call, and servers that are refused."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.errors import StoreAway, StoreError
from gateway.store.connection import MAX_CONNECTIONS, ServerWatch, check_server, connect
from gateway.store.server import find_server
from tests.faults.proxy import FaultProxy
from tests.faults.servers import SERVICE, answers, sentinels_of, server_running
from tests.faults.world import until
from tests.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis

    from gateway.store.valkey import EmbeddedValkey


async def test_texts_come_back_as_texts(redis: Redis) -> None:
    await redis.set("name", "été")

    assert await redis.get("name") == "été"


@pytest.mark.parametrize("url", ["http://store", "", "redis://:se%cret@host:port", "unix:/x?db=a"])
def test_a_url_that_is_not_one_of_redis_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(StoreError, match="must start with redis://") as refused:
        connect(url, timeout_ms=100)
    assert "cret" not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_a_call_is_sent_once_even_if_its_reply_is_lost(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    async def cut_before_the_reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay to the store, and hang up where the reply to INCR would pass."""
        upstream, downstream = await asyncio.open_unix_connection(unquote(redis_url.removeprefix("unix://")))
        while sent := await reader.read(65536):
            downstream.write(sent)
            received = await upstream.read(65536)
            if b"INCR" in sent:
                break
            writer.write(received)
        for stream in (downstream, writer):
            stream.close()
            await stream.wait_closed()

    path = tmp_path / "relay.sock"
    async with await asyncio.start_unix_server(cut_before_the_reply, path):
        relayed = connect(f"unix://{path}", timeout_ms=500)
        with pytest.raises(RedisConnectionError):
            await relayed.incr("spent")
        await relayed.aclose()

    assert await redis.get("spent") == "1"


async def test_a_client_that_is_closed_leaves_no_connection_to_sentinels(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "sentinel.conf"
    file.write_text(f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n")
    process = await asyncio.create_subprocess_exec(
        str(find_server()), str(file), "--sentinel", stdout=asyncio.subprocess.DEVNULL
    )
    watching = connect(f"redis://127.0.0.1:{port}", timeout_ms=5000)
    try:
        await until(lambda: answers(watching))
        primary = connect(f"redis+sentinel://127.0.0.1:{port}/budgets", timeout_ms=5000)
        with pytest.raises(RedisConnectionError, match="No master found"):
            await primary.ping()
        assert len(await watching.client_list()) == 2

        await primary.aclose()

        async def alone() -> bool:
            return len(await watching.client_list()) == 1

        await until(alone)
    finally:
        await watching.aclose()
        process.kill()
        await process.wait()


async def test_a_new_connection_says_hello_and_nothing_else_before_its_first_call(
    redis: Redis, redis_url: str
) -> None:
    """Each exchange more is taken from the deadline of the call that waits for it."""
    await redis.config_resetstat()
    another = connect(redis_url, timeout_ms=5000)
    await another.ping()
    await another.aclose()

    seen = set(await redis.info("commandstats"))
    assert seen == {"cmdstat_config|resetstat", "cmdstat_hello", "cmdstat_ping"}


async def test_a_sentinel_that_was_away_while_many_asked_is_asked_again(tmp_path: Path) -> None:
    async with (
        server_running(tmp_path / "primary") as server,
        sentinels_of(server, tmp_path, count=2) as sentinels,
    ):
        for port in sentinels:
            watching = connect(f"redis://127.0.0.1:{port}", timeout_ms=5000)
            await until(lambda watching=watching: answers(watching))  # type: ignore[misc]
            await watching.aclose()
        first, second = sentinels
        async with FaultProxy(("127.0.0.1", first)) as proxy:
            places = f"127.0.0.1:{proxy.port},127.0.0.1:{second}"
            primary = connect(f"redis+sentinel://{places}/{SERVICE}", timeout_ms=5000)
            proxy.faults.refusing = True
            assert await asyncio.gather(*(primary.ping() for _ in range(20))) == [True] * 20

            proxy.faults.refusing = False
            sentinels[second].kill()
            await sentinels[second].wait()
            await primary.connection_pool.disconnect()

            assert await primary.ping()
            await primary.aclose()


async def test_more_calls_than_connections_wait_for_their_turn(redis: Redis) -> None:
    answers = await asyncio.gather(*(redis.incr("calls") for _ in range(4 * MAX_CONNECTIONS)))

    assert sorted(answers) == list(range(1, 4 * MAX_CONNECTIONS + 1))
    assert len(await redis.client_list()) <= MAX_CONNECTIONS


async def test_connections_that_were_reset_while_idle_cost_no_call(valkey: EmbeddedValkey) -> None:
    async with FaultProxy(valkey.url.removeprefix("unix://")) as proxy:
        client = connect(f"redis://127.0.0.1:{proxy.port}/0", timeout_ms=5000)
        await asyncio.gather(*(client.ping() for _ in range(5)))
        proxy.reset_all()
        await asyncio.sleep(0.1)

        assert await asyncio.gather(*(client.ping() for _ in range(5))) == [True] * 5
        await client.aclose()


async def test_our_own_server_is_good_enough(redis: Redis) -> None:
    assert abs(await check_server(redis)) < 5


@pytest.mark.parametrize(
    ("ahead_s", "alarm", "trouble"),
    [(4, False, False), (-6, True, False), (3600, True, False), (-25_000, True, True), (86_400, True, True)],
)
async def test_clocks_that_differ_are_told_and_those_of_another_day_admit_nothing(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, *, ahead_s: int, alarm: bool, trouble: bool
) -> None:
    told: list[float] = []
    watch = ServerWatch(redis, looked=told.append)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() - ahead_s)

    await watch.look()

    assert told == [pytest.approx(ahead_s, abs=3)]
    assert (watch.clock_alarm is not None, watch.trouble is not None) == (alarm, trouble)
    monkeypatch.setattr(time, "time", right)
    await watch.look()
    assert (watch.clock_alarm, watch.trouble) == (None, None)


async def test_a_server_that_may_evict_budgets_is_refused(redis: Redis) -> None:
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(StoreError, match="set maxmemory-policy to noeviction"):
            await check_server(redis)
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")


async def test_a_server_that_does_not_answer_is_told(tmp_path: Path) -> None:
    redis = connect(f"unix://{tmp_path}/nobody.sock", timeout_ms=100)

    with pytest.raises(StoreError, match="does not answer"):
        await check_server(redis)
    await redis.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://nowhere",
        "redis+cluster://host:port",
        "redis+sentinel://host:26379",
        "redis+sentinel://secret@:1/service",
        "redis+cluster://",
    ],
)
def test_a_url_of_several_servers_that_is_not_well_formed_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StoreError, match="well formed") as refused:
        connect(url, timeout_ms=100)
    assert "secret" not in str(refused.value)


async def test_sentinels_and_clusters_are_named_by_their_schemes() -> None:
    sentinel = connect("redis+sentinel://:pw@one:26379,two:26380/budgets", timeout_ms=100)
    assert getattr(sentinel.connection_pool, "service_name") == "budgets"  # noqa: B009
    assert sentinel.connection_pool.connection_kwargs["password"] == "pw"
    await sentinel.aclose()
    with pytest.raises(StoreAway):
        await check_server(connect("redis+cluster://127.0.0.1:1", timeout_ms=100))


def test_a_connection_that_the_server_closed_meanwhile_is_a_server_that_is_away(redis_url: str) -> None:
    """On uvloop, where a gateway runs, a write to a transport that is closed raises a RuntimeError."""

    async def ask() -> None:
        client = connect(redis_url, timeout_ms=1000)
        pool: Any = client.connection_pool
        connection = await pool.get_connection()
        connection._writer.transport.abort()
        await asyncio.sleep(0.05)
        try:
            with pytest.raises(RedisConnectionError):
                await connection.send_command("PING", check_health=False)
        finally:
            await pool.release(connection)
            await client.aclose()

    uvloop.run(ask())
