"""Leases and circuits in a real store: how many, whose, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis as BlockingRedis

from gateway.routing.circuits import NOTHING, WELL, Sign
from gateway.routing.fleet import Fleet
from gateway.routing.leases import PREFIX, Leases, Taken
from gateway.store.connection import connect
from gateway.upstreams.deployments import Deployment
from gateway.upstreams.rules import OutlierDetection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from gateway.store.valkey import EmbeddedValkey

TIMEOUT = Sign("failed", "timeout")
LONG = OutlierDetection(consecutive_5xx=2, base_ejection_time_s=60)
QUICK = OutlierDetection(consecutive_5xx=2, base_ejection_time_s=0.6, max_ejection_time_s=10)
OVER_S = 0.7
BOTH = ["a", "b"]


def deployment(name: str = "a", concurrency: int | None = None) -> Deployment:
    return Deployment(name, ("m",), "http://127.0.0.1/v1", concurrency=concurrency)


@dataclass
class Noticed:
    """What was told, in order."""

    leases: list[str] = field(default_factory=list)
    circuits: list[tuple[str, str, str]] = field(default_factory=list)

    def lease(self, *, outcome: str) -> None:
        self.leases.append(outcome)

    def circuit(self, *, deployment: str, happened: str, why: str) -> None:
        self.circuits.append((deployment, happened, why))

    def fleet(self, fleet: Fleet) -> None:
        """Not looked at here."""


def leases(redis: Redis, **fields: Any) -> Leases:
    return Leases(redis, Fleet(), Noticed(), timeout_ms=fields.pop("timeout_ms", 5000), **fields)


async def take(of: Leases, lease: str, *candidates: Deployment, panic: bool = True) -> Taken:
    return await of.take(lease, candidates, panic=panic)


async def left(
    of: Leases, lease: str, where: Deployment, sign: Sign = NOTHING, rules: OutlierDetection = LONG
) -> None:
    of.leave(lease, where, sign, BOTH, rules)
    await of.drain()


async def in_store(redis: Redis, name: str = "a") -> int:
    return int(await redis.zcard(f"{PREFIX}:leases:{name}"))


@contextlib.asynccontextmanager
async def several(url: str, count: int) -> AsyncIterator[list[Leases]]:
    """As many gateways, each with a connection and a view of its own."""
    clients = [connect(url, timeout_ms=5000) for _ in range(count)]
    try:
        yield [leases(client) for client in clients]
    finally:
        for client in clients:
            await client.aclose()


async def test_gateways_at_once_never_hold_more_leases_than_there_is_room(
    redis_url: str, redis: Redis
) -> None:
    small = deployment(concurrency=3)
    async with several(redis_url, 4) as gateways:
        taken = await asyncio.gather(
            *(
                take(one, f"{number}:{turn}", small)
                for number, one in enumerate(gateways)
                for turn in range(10)
            )
        )

        assert sum(one.chosen == 0 for one in taken) == 3
        assert await in_store(redis) == 3


async def test_the_first_with_room_is_taken_and_the_others_say_why_not(redis: Redis) -> None:
    mine = leases(redis)
    first, second = deployment("a", 1), deployment("b", 1)

    took = [await take(mine, f"r{number}", first, second) for number in range(3)]

    assert [one.chosen for one in took] == [0, 1, None]
    assert took[1].passed == {"a": "no free slot: 1 of 1 in use by all gateways"}
    assert set(took[2].passed) == {"a", "b"}


async def test_a_lease_that_is_asked_for_again_is_the_same_lease(redis: Redis) -> None:
    mine, small = leases(redis), deployment(concurrency=1)

    assert [(await take(mine, "r", small)).chosen for _ in range(2)] == [0, 0]

    await left(mine, "r", small)
    assert await in_store(redis) == 0
    assert mine.fleet.own["a"] == 0


async def test_a_lease_of_a_gateway_that_died_makes_room_when_it_lapses(redis: Redis) -> None:
    dead, small = leases(redis, lease_s=1), deployment(concurrency=1)
    assert (await take(dead, "r", small)).chosen == 0
    mine = leases(redis)
    assert (await take(mine, "s", small)).chosen is None

    await asyncio.sleep(1.1)

    assert (await take(mine, "s", small)).chosen == 0


async def test_a_renewed_lease_lives_on_and_one_given_back_does_not_return(redis: Redis) -> None:
    mine, roomy = leases(redis, lease_s=1), deployment(concurrency=2)
    for lease in ("stays", "goes"):
        await take(mine, lease, roomy)
    await left(mine, "goes", roomy)
    for _ in range(4):
        await asyncio.sleep(0.3)
        await mine.renew_once()

    assert await redis.zrange(f"{PREFIX}:leases:a", 0, -1) == ["stays"]


async def test_a_renewal_that_comes_too_late_brings_nothing_back(redis: Redis) -> None:
    mine, small = leases(redis), deployment(concurrency=1)
    await take(mine, "r", small)
    on_its_way = list(mine._held)
    await left(mine, "r", small)

    assert await mine._renewed(on_its_way, bring_back=False) == on_its_way
    assert await in_store(redis) == 0


async def test_leases_that_a_store_lost_are_brought_back_by_their_gateway(redis: Redis) -> None:
    mine, small = leases(redis), deployment(concurrency=1)
    await take(mine, "r", small)
    await redis.flushall()

    await mine.renew_once()

    assert (await take(leases(redis), "s", small)).chosen is None


async def test_a_store_without_the_scripts_gets_them_again(redis: Redis) -> None:
    mine, small = leases(redis), deployment(concurrency=1)
    await take(mine, "r", small)
    await redis.script_flush()
    await mine.look([small])
    await redis.script_flush()
    await left(mine, "r", small)
    await redis.script_flush()

    assert (await take(mine, "s", small)).chosen == 0
    assert mine.fleet.shared


async def test_a_taker_that_is_cancelled_leaves_nothing_behind(redis: Redis) -> None:
    mine, small = leases(redis), deployment(concurrency=1)
    for steps in range(12):
        asking = asyncio.create_task(take(mine, f"r{steps}", small))
        for _ in range(steps):
            await asyncio.sleep(0)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
            mine.release(f"r{steps}", small)
        await mine.drain()

        assert await in_store(redis) == 0, steps
    assert mine.fleet.own.get("a", 0) == 0


async def test_without_the_store_a_gateway_goes_by_its_own_counts_and_says_so() -> None:
    nowhere = connect("redis://127.0.0.1:1/0", timeout_ms=100)
    try:
        mine, small = leases(nowhere, timeout_ms=100), deployment(concurrency=1)

        took = [(await take(mine, f"r{number}", small)) for number in range(2)]

        assert [one.chosen for one in took] == [0, None]
        assert took[1].passed == {"a": "no free slot: 1 of 1 in use by this gateway"}
        assert isinstance(mine.noted, Noticed)
        assert mine.noted.leases == ["unshared", "busy"]
        assert not mine.fleet.shared
        await left(mine, "r0", small)
        assert (await take(mine, "r3", small)).chosen == 0
    finally:
        await nowhere.aclose()


async def test_what_was_taken_without_the_store_is_shared_when_it_is_back(redis: Redis) -> None:
    mine, small = leases(redis), deployment(concurrency=1)
    mine._hold("r", small)  # as if the store had not answered

    await mine.renew_once()

    assert (await take(leases(redis), "s", small)).chosen is None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["take", "leave", "renew", "fail", "well"]),
            st.integers(0, 2),
            st.integers(0, 5),
        ),
        max_size=40,
    ),
    capacities=st.tuples(st.integers(1, 2), st.integers(1, 2)),
)
def test_whatever_gateways_do_leases_fit_and_all_are_given_back(
    valkey: EmbeddedValkey, steps: list[tuple[str, int, int]], capacities: tuple[int, int]
) -> None:
    fleet = [deployment(name, capacity) for name, capacity in zip(BOTH, capacities, strict=True)]

    async def live() -> None:
        async with several(valkey.url, 3) as gateways:
            held: dict[tuple[int, int], Deployment] = {}
            for verb, number, request in steps:
                gateway, lease = gateways[number], f"{number}-{request}"
                if verb == "take":
                    took = await gateway.take(lease, fleet, panic=True)
                    if took.chosen is not None:
                        held.setdefault((number, request), fleet[took.chosen])
                elif verb == "renew":
                    await gateway.renew_once()
                elif (number, request) in held:
                    where = held.pop((number, request))
                    sign = {"leave": NOTHING, "fail": TIMEOUT, "well": WELL}[verb]
                    await left(gateway, lease, where, sign)
                for one, capacity in zip(fleet, capacities, strict=True):
                    mine = sum(where is one for where in held.values())
                    assert mine == await in_store(gateway.redis, one.id) <= capacity
            for (number, request), where in held.items():
                await left(gateways[number], f"{number}-{request}", where)
            assert [await in_store(gateways[0].redis, one.id) for one in fleet] == [0, 0]

    with BlockingRedis.from_url(valkey.url) as client:
        client.flushall()
    asyncio.run(live())


async def failing(of: Leases, where: Deployment, rules: OutlierDetection = LONG) -> None:
    for number in range(2):
        await left(of, f"bad{number}", where, TIMEOUT, rules)


async def back_on_trial(of: Leases, where: Deployment) -> None:
    """Ejected, and that time is over."""
    await failing(of, where, QUICK)
    await asyncio.sleep(OVER_S)


async def test_failures_in_a_row_at_any_gateway_eject_for_all_of_them(redis_url: str) -> None:
    a, b = deployment("a"), deployment("b")
    async with several(redis_url, 3) as (one, other, third):
        await left(one, "r1", a, TIMEOUT)
        await left(other, "r2", a, TIMEOUT)
        await third.look([a, b])

        assert "ejected for" in (third.fleet.left_out(a, time.monotonic()) or "")
        assert (await take(third, "r3", a, b)).chosen == 1
        assert isinstance(other.noted, Noticed)
        assert other.noted.circuits == [("a", "ejected", "timeout")]


async def test_a_success_between_failures_starts_the_count_again(redis: Redis) -> None:
    mine, a = leases(redis), deployment()
    await left(mine, "r1", a, TIMEOUT)
    await left(mine, "r2", a, WELL)
    await left(mine, "r3", a, TIMEOUT)

    assert mine.fleet.sight(a).state == "closed"
    assert mine.fleet.sight(a).failures == 1


async def test_one_request_at_a_time_tries_a_deployment_whose_ejection_is_over(redis_url: str) -> None:
    a, b = deployment("a"), deployment("b")
    async with several(redis_url, 3) as gateways:
        await back_on_trial(gateways[0], a)

        took = await asyncio.gather(
            *(take(one, f"{number}:{turn}", a, b) for number, one in enumerate(gateways) for turn in range(5))
        )

        assert sorted(one.chosen or 0 for one in took) == [0] + 14 * [1]
        assert {one.passed.get("a") for one in took} == {
            None,
            "one request is trying whether it is well again",
        }


async def test_a_probe_that_succeeds_closes_the_circuit_and_one_that_fails_ejects_for_longer(
    redis: Redis,
) -> None:
    mine, a, b = leases(redis), deployment("a"), deployment("b")
    await back_on_trial(mine, a)
    assert (await take(mine, "probe", a, b)).chosen == 0
    await left(mine, "probe", a, TIMEOUT, QUICK)
    assert mine.fleet.sight(a).ejections == 2
    await asyncio.sleep(2 * OVER_S)
    assert (await take(mine, "probe2", a, b)).chosen == 0
    await left(mine, "probe2", a, WELL)

    assert mine.fleet.sight(a).state == "closed"
    assert isinstance(mine.noted, Noticed)
    assert [happened for _, happened, _ in mine.noted.circuits] == ["ejected", "ejected", "returned"]


async def test_a_probe_of_which_nothing_came_lets_the_next_one_try(redis: Redis) -> None:
    mine, a, b = leases(redis), deployment("a"), deployment("b")
    await back_on_trial(mine, a)
    assert (await take(mine, "probe", a, b)).chosen == 0
    await left(mine, "probe", a, NOTHING)

    assert (await take(mine, "probe2", a, b)).chosen == 0


async def test_a_probe_whose_gateway_died_lapses_with_its_lease(redis: Redis) -> None:
    dead, mine, a, b = leases(redis, lease_s=1), leases(redis), deployment("a"), deployment("b")
    await back_on_trial(dead, a)
    assert (await take(dead, "probe", a, b)).chosen == 0
    assert (await take(mine, "r", a, b)).chosen == 1

    await asyncio.sleep(1.1)
    await mine.look([a, b])
    assert mine.fleet.sight(a).state == "half_open"

    assert (await take(mine, "probe2", a, b)).chosen == 0


async def test_no_more_than_a_share_of_a_group_is_ejected(redis: Redis) -> None:
    mine, a, b = leases(redis), deployment("a"), deployment("b")
    await failing(mine, a)
    await failing(mine, b)

    assert [mine.fleet.sight(one).state for one in (a, b)] == ["ejected", "closed"]
    assert isinstance(mine.noted, Noticed)
    assert mine.noted.circuits[-1] == ("b", "spared", "timeout")


async def test_when_all_are_ejected_it_is_ignored_but_their_room_is_not(redis: Redis) -> None:
    mine, a, b = leases(redis), deployment("a", 1), deployment("b", 1)
    everybody = OutlierDetection(1, base_ejection_time_s=60, max_ejection_percent=100)
    for one in (a, b):
        await left(mine, "bad", one, TIMEOUT, everybody)

    assert (await take(mine, "r", a, b, panic=False)).chosen is None
    took = [await take(mine, f"r{number}", a, b) for number in range(3)]

    assert [(one.chosen, one.panic) for one in took] == [(0, True), (1, True), (None, True)]


async def test_a_pause_keeps_requests_away_only_while_there_is_another_deployment(redis: Redis) -> None:
    mine, a, b = leases(redis), deployment("a", 1), deployment("b", 1)
    await left(mine, "r", a, Sign("none", "rate_limited", 1))

    elsewhere, alone, full = await take(mine, "s", a, b), await take(mine, "t", a), await take(mine, "u", a)
    assert (elsewhere.chosen, elsewhere.panic) == (1, False)
    assert "asked for a pause" in elsewhere.passed["a"]
    assert (alone.chosen, alone.panic) == (0, True)
    assert full.chosen is None

    mine.release("t", a)
    await mine.drain()
    assert (await take(mine, "v", a, panic=False)).chosen is None
    await asyncio.sleep(1.1)
    assert (await take(mine, "v", a, panic=False)).chosen == 0


async def test_an_ejection_is_forgotten_for_every_interval_of_good_health(redis: Redis) -> None:
    mine, a, b = leases(redis), deployment("a"), deployment("b")
    await back_on_trial(mine, a)
    await take(mine, "probe", a, b)
    await left(mine, "probe", a, WELL)
    await redis.hset(f"{PREFIX}:circuit:a", "back", int(time.time() * 1000) - 11_000)

    await failing(mine, a)

    assert mine.fleet.sight(a).ejections == 1
