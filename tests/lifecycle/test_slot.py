"""The slot of a request: how many work at once, who goes elsewhere, who waits; none is left taken."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from gateway.routing.leases import PREFIX
from tests.faults.world import until
from tests.lifecycle.reading import recorded
from tests.running import GENERATIONS, MODEL, Gateway, budget, gateway_running, in_zone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis.asyncio import Redis

    from gateway.demo.serving import Running

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}
SLOW: dict[str, Any] = ASK | {"standin_fault": "stall:3"}
AT_ONCE = {"queue_s": 0}
PARKED = {"outlier_detection": {"consecutive_5xx": 2, "base_ejection_time_s": 60}}


def deployments(standins: dict[str, Running], concurrency: int) -> list[dict[str, Any]]:
    return [
        in_zone(zone, running.base_url, capacity={"concurrency": concurrency})
        for zone, running in standins.items()
    ]


async def free(redis: Redis, *names: str) -> bool:
    return not any([await redis.zcard(f"{PREFIX}:leases:{name}") for name in names])


@contextlib.asynccontextmanager
async def one_at_work(
    folder: Path, redis_url: str, *, limits: Any = None, headers: Any = None
) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient, asyncio.Task[httpx.Response]]]:
    """A gateway whose only slot a request of a member has, and nobody may wait."""
    async with gateway_running(
        folder,
        redis_url,
        budgets=[budget(per=[], limits=limits or {"images": 100})],
        zones={"SE": StandInSettings(zone="SE")},
        deployment={"capacity": {"concurrency": 1}},
        routing=AT_ONCE,
    ) as gateway:
        member = await gateway.member()
        working = asyncio.create_task(member.post(GENERATIONS, json=SLOW, headers=headers))
        await until(lambda: _reached(gateway, 1), within_s=10)
        yield gateway, member, working


async def standing(gateway: Gateway) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in (await gateway.admin.get("/eco/v1/deployments")).json()["data"]}


async def test_gateways_together_never_send_more_than_the_capacity(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    zones = {zone: StandInSettings(zone=zone, capacity=2) for zone in ("SE", "PL")}
    async with contextlib.AsyncExitStack() as stack:
        first_at, second_at = tmp_path / "first", tmp_path / "second"
        first_at.mkdir()
        second_at.mkdir()
        capacity = {"capacity": {"concurrency": 2}}
        waiting = {"queue_s": 30}
        first = await stack.enter_async_context(
            gateway_running(first_at, redis_url, zones=zones, deployment=capacity, routing=waiting)
        )
        second = await stack.enter_async_context(
            gateway_running(second_at, redis_url, deployments=deployments(first.standins, 2), routing=waiting)
        )

        answers = await asyncio.gather(
            *(
                one.admin.post(GENERATIONS, json=ASK | {"standin_fault": "stall:0.1"})
                for one in (first, second)
                for _ in range(15)
            )
        )

        assert {answer.status_code for answer in answers} == {200}
        assert {answer.headers["ecogate-zone"] for answer in answers} == {"SE", "PL"}
        for running in first.standins.values():
            assert running.standin.most_in_flight == 2
            assert running.standin.turned_away == 0
        await until(lambda: free(redis, "flux-se", "flux-pl"))


async def test_a_request_for_which_nobody_has_room_is_refused_and_holds_nothing(
    tmp_path: Path, redis_url: str
) -> None:
    capacity = {"capacity": {"concurrency": 1}}
    async with gateway_running(
        tmp_path, redis_url, budgets=[budget(per=[])], deployment=capacity, routing=AT_ONCE
    ) as gateway:
        working = [asyncio.create_task(gateway.admin.post(GENERATIONS, json=SLOW)) for _ in range(2)]
        await until(lambda: _reached(gateway, 2), within_s=10)

        refused = await gateway.admin.post(GENERATIONS, json=ASK)
        held = (await gateway.admin.get("/eco/v1/budgets")).json()["data"][0]["held"]

        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "deployments_busy")
        assert "1 of 1 in use by all gateways" in refused.json()["error"]["message"]
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        assert held == 2
        answers = await asyncio.gather(*working)
        assert [answer.status_code for answer in answers] == [200, 200]
        second = next(answer for answer in answers if answer.headers["ecogate-zone"] == "PL")
        passed_over = await recorded(gateway.admin, second.headers["x-request-id"])
        assert "passed over: no free slot" in passed_over["candidates"][1]["reason"]
        assert not passed_over["candidates"][1]["usable"]


async def test_while_nobody_has_room_a_refusal_by_a_budget_is_still_told(
    tmp_path: Path, redis_url: str
) -> None:
    async with one_at_work(tmp_path, redis_url, limits={"images": 3}) as (gateway, member, working):
        too_many = await member.post(GENERATIONS, json=ASK | {"n": 4})
        busy = await member.post(GENERATIONS, json=ASK | {"n": 3})

        assert (too_many.status_code, too_many.json()["error"]["code"]) == (402, "eco_request_too_large")
        assert too_many.json()["error"]["eco"]["alternatives"][0]["set"] == {"n": 2}
        record = await recorded(gateway.admin, too_many.headers["x-request-id"])
        assert record["decision"] == "deny"
        # What only others' holds keep out may still get its turn.
        assert (busy.status_code, busy.json()["error"]["code"]) == (503, "deployments_busy")
        assert 'ecogate_leases_total{outcome="busy"} 2.0' in (await gateway.admin.get("/metrics")).text
        assert (await working).status_code == 200


async def test_while_nobody_has_room_a_repetition_is_still_told(tmp_path: Path, redis_url: str) -> None:
    key = {"idempotency-key": "fox-1"}
    async with one_at_work(tmp_path, redis_url, headers=key) as (gateway, member, working):
        again = await member.post(GENERATIONS, json=SLOW, headers=key)
        another = await member.post(GENERATIONS, json=ASK, headers=key)
        other = await member.post(GENERATIONS, json=ASK, headers={"idempotency-key": "fox-2"})

        assert (again.status_code, again.json()["error"]["code"]) == (409, "idempotency_in_progress")
        assert (another.status_code, another.json()["error"]["code"]) == (409, "idempotency_key_conflict")
        assert (other.status_code, other.json()["error"]["code"]) == (503, "deployments_busy")
        assert (await working).status_code == 200
        assert len(gateway.generations()) == 1


async def test_a_request_waits_for_room_but_not_beyond_its_deadline(tmp_path: Path, redis_url: str) -> None:
    only = {"SE": StandInSettings(zone="SE")}
    capacity = {"capacity": {"concurrency": 1}}
    async with gateway_running(
        tmp_path, redis_url, zones=only, deployment=capacity, routing={"queue_s": 20}
    ) as gateway:
        working = asyncio.create_task(gateway.admin.post(GENERATIONS, json=SLOW))
        await until(lambda: _reached(gateway, 1), within_s=10)
        hurried = await gateway.admin.post(GENERATIONS, json=ASK, headers={"ecogate-deadline": "0.1"})
        patient = await gateway.admin.post(GENERATIONS, json=ASK)

        assert hurried.status_code == 503
        assert patient.status_code == 200
        assert (await working).status_code == 200
        assert gateway.standins["SE"].standin.most_in_flight == 1


async def test_what_a_budget_refuses_leaves_no_slot_taken(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    capacity = {"capacity": {"concurrency": 1}}
    async with gateway_running(
        tmp_path, redis_url, budgets=[budget(limits={"images": 0})], deployment=capacity
    ) as gateway:
        member = await gateway.member()
        statuses = [(await member.post(GENERATIONS, json=ASK)).status_code for _ in range(3)]

        assert statuses == [402, 402, 402]
        await until(lambda: free(redis, "flux-se", "flux-pl"))


async def test_the_slot_goes_where_the_budgets_have_room(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    water = {"objective": "water"}  # PL needs less of it, and causes more carbon
    async with gateway_running(tmp_path, redis_url, routing=water) as measuring:
        estimate = (await measuring.admin.post("/eco/v1/estimate", json=ASK)).json()
        assert estimate["deployment"] == "flux-pl"
        between_g = sum(one["carbon_g"] for one in estimate["candidates"]) / 2
    capacity = {"capacity": {"concurrency": 1}}
    tight = [budget(per=[], limits={"carbon": f"{between_g:.6f} g"})]
    async with gateway_running(
        tmp_path,
        redis_url,
        budgets=tight,
        routing={**water, "retries": {"max_attempts": 1}},
        deployment=capacity,
    ) as gateway:
        working = asyncio.create_task(gateway.admin.post(GENERATIONS, json=SLOW))
        await until(lambda: _reached(gateway, 1), within_s=10)
        taken = {name: one["in_use"] for name, one in (await standing(gateway)).items()}

        assert (await working).headers["ecogate-zone"] == "SE"
        assert taken["flux-se"] == 1
        await until(lambda: free(redis, "flux-se", "flux-pl"))


async def test_a_failover_takes_a_slot_where_it_goes_and_gives_back_the_first(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    capacity = {"capacity": {"concurrency": 1}}
    async with gateway_running(tmp_path, redis_url, deployment=capacity) as gateway:
        fault = {"standin_fault": "rate_limit@SE"}

        answer = await gateway.admin.post(GENERATIONS, json=ASK | fault)

        assert (answer.status_code, answer.headers["ecogate-zone"]) == (200, "PL")
        await until(lambda: free(redis, "flux-se", "flux-pl"))
        paused = (await standing(gateway))["flux-se"]
        assert paused["circuit"] == "paused"
        assert "asked for a pause" in paused["left_out"]


async def test_a_service_that_is_alone_is_asked_again_although_it_wished_for_a_pause(
    tmp_path: Path, redis_url: str
) -> None:
    only = {"SE": StandInSettings(zone="SE")}
    async with gateway_running(tmp_path, redis_url, zones=only) as gateway:
        turned_away = await gateway.admin.post(GENERATIONS, json=ASK | {"standin_fault": "rate_limit:600"})
        await until(lambda: _is_paused(gateway))

        asked_again = await gateway.admin.post(GENERATIONS, json=ASK)
        assert (turned_away.status_code, asked_again.status_code) == (429, 200)


async def _is_paused(gateway: Gateway) -> bool:
    circuits = await standing(gateway)
    return bool(circuits["flux-se"]["circuit"] == "paused")


async def test_a_stream_keeps_its_slot_to_its_end_and_one_that_is_left_gives_it_back(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    only = {"SE": StandInSettings(zone="SE")}
    capacity = {"capacity": {"concurrency": 1}}
    async with gateway_running(
        tmp_path, redis_url, zones=only, deployment=capacity, routing=AT_ONCE
    ) as gateway:
        ask = ASK | {"stream": True, "partial_images": 2, "standin_fault": "stream_stall:3"}
        async with gateway.admin.stream("POST", GENERATIONS, json=ask) as stream:
            assert stream.status_code == 200
            assert (await gateway.admin.post(GENERATIONS, json=ASK)).status_code == 503
        await until(lambda: free(redis, "flux-se"))

        assert (await gateway.admin.post(GENERATIONS, json=ASK)).status_code == 200


async def test_a_client_that_leaves_gives_its_slot_back(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    capacity = {"capacity": {"concurrency": 1}}
    async with gateway_running(tmp_path, redis_url, deployment=capacity) as gateway:
        with pytest.raises(httpx.ReadTimeout):
            await gateway.admin.post(GENERATIONS, json=ASK | {"standin_fault": "stall:30"}, timeout=0.5)

        await until(lambda: free(redis, "flux-se"), within_s=10)


async def test_a_deployment_that_keeps_failing_is_left_out_and_the_record_says_why(
    tmp_path: Path, redis_url: str
) -> None:
    async with gateway_running(tmp_path, redis_url, routing=PARKED) as gateway:
        for _ in range(2):
            failed = await gateway.admin.post(GENERATIONS, json=ASK | {"standin_fault": "error@SE"})
            assert failed.status_code == 500
        await until(lambda: _is(gateway, "flux-se", "ejected"), within_s=10)

        answer = await gateway.admin.post(GENERATIONS, json=ASK)

        assert answer.headers["ecogate-zone"] == "PL"
        record = await recorded(gateway.admin, answer.headers["x-request-id"])
        assert record["candidates"][1]["reason"].startswith("ejected for ")
        assert [attempt["deployment"] for attempt in record["attempts"]] == ["flux-pl"]
        metrics = (await gateway.admin.get("/metrics")).text
        event = 'ecogate_deployment_events_total{deployment="flux-se",event="ejected",why="server_error"}'
        assert event in metrics


async def test_ejection_is_ignored_when_nobody_else_is_there_but_residency_is_not(
    tmp_path: Path, redis_url: str
) -> None:
    rules = {
        "residency": ["se"],
        "outlier_detection": {**PARKED["outlier_detection"], "max_ejection_percent": 100},
    }
    async with gateway_running(tmp_path, redis_url, routing=rules) as gateway:
        for _ in range(2):
            await gateway.admin.post(GENERATIONS, json=ASK | {"standin_fault": "error"})
        await until(lambda: _is(gateway, "flux-se", "ejected"), within_s=10)

        answer = await gateway.admin.post(GENERATIONS, json=ASK)

        assert (answer.status_code, answer.headers["ecogate-zone"]) == (200, "SE")
        record = await recorded(gateway.admin, answer.headers["x-request-id"])
        assert record["routing"]["panic"] is True
        assert gateway.standins["PL"].standin.generations == []


async def _reached(gateway: Gateway, count: int) -> bool:
    return len(gateway.generations()) >= count


async def _is(gateway: Gateway, deployment: str, circuit: str) -> bool:
    return bool((await standing(gateway))[deployment]["circuit"] == circuit)


async def test_a_client_in_a_hurry_is_served_where_it_is_fast_enough(tmp_path: Path, redis_url: str) -> None:
    zones = {"SE": StandInSettings(zone="SE", stall_s=3), "PL": StandInSettings(zone="PL")}
    patient, hurried = {"ecogate-deadline": "60"}, {"ecogate-deadline": "2.5"}
    async with gateway_running(tmp_path, redis_url, zones=zones) as gateway:
        slow = await asyncio.gather(
            *(gateway.admin.post(GENERATIONS, json=ASK, headers=patient) for _ in range(6))
        )
        assert {answer.headers["ecogate-zone"] for answer in slow} == {"SE"}
        await until(lambda: _knows(gateway, "flux-se"), within_s=40)

        fast = await gateway.admin.post(GENERATIONS, json=ASK, headers=hurried)
        again = await gateway.admin.post(GENERATIONS, json=ASK, headers=patient)

        assert fast.headers["ecogate-zone"] == "PL"
        assert again.headers["ecogate-zone"] == "SE"
        record = await recorded(gateway.admin, fast.headers["x-request-id"])
        assert "moved back: usually takes up to" in record["candidates"][1]["reason"]


async def test_a_deadline_that_nobody_meets_is_refused_where_that_is_wanted(
    tmp_path: Path, redis_url: str
) -> None:
    zones = {"SE": StandInSettings(zone="SE", stall_s=0.6)}
    async with gateway_running(
        tmp_path, redis_url, zones=zones, routing={"on_short_deadline": "refuse"}
    ) as gateway:
        await asyncio.gather(*(gateway.admin.post(GENERATIONS, json=ASK) for _ in range(6)))
        await until(lambda: _knows(gateway, "flux-se"), within_s=40)

        refused = await gateway.admin.post(GENERATIONS, json=ASK, headers={"ecogate-deadline": "0.4"})

        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "deadline_too_short")
        assert refused.headers["x-should-retry"] == "false"
        assert len(gateway.generations()) == 6


async def _knows(gateway: Gateway, deployment: str) -> bool:
    return bool((await standing(gateway))[deployment]["latency"])


async def test_who_waits_for_a_slot_keeps_no_other_request_of_its_key_out(
    tmp_path: Path, redis_url: str
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(serving(StandInSettings(zone="SE")))
        places = [
            in_zone("SE", service.base_url, id="full", capacity={"concurrency": 1}),
            in_zone("SE", service.base_url, id="free", model="another"),
        ]
        gateway = await stack.enter_async_context(
            gateway_running(tmp_path, redis_url, deployments=places, routing={"queue_s": 30})
        )
        member = await gateway.member()
        waiting = [asyncio.create_task(member.post(GENERATIONS, json=SLOW)) for _ in range(8)]
        while not service.standin.generations:
            await asyncio.sleep(0.01)

        other = await member.post(GENERATIONS, json=ASK | {"model": "another"})

        assert other.status_code == 200
        assert not any(one.done() for one in waiting)
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
