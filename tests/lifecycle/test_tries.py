"""Which failures are followed by another attempt, which one is charged, and what is waste."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.demo.standin import StandInSettings
from gateway.routing.retries import RESERVE
from gateway.usage.record import decode
from tests.lifecycle.reading import budgets_of, recorded
from tests.running import GENERATIONS, MODEL, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}
TWICE = {"retries": {"max_attempts": 2, "ambiguous": 1}}
PRICED = {"price": {"usd_per_image": 0.04}}


async def outcome(tmp_path: Path, redis_url: str, fault: str, **routing: Any) -> tuple[Any, Any, list[str]]:
    """The answer, its record and where it was sent; a fault strikes where its zone says."""
    async with gateway_running(
        tmp_path,
        redis_url,
        budgets=[budget(limits={"images": 9, "carbon": "1 kg"})],
        deployment=PRICED,
        routing=routing,
        upstream_read_timeout_s=1,
    ) as gateway:
        client = await gateway.member()
        answer = await client.post(GENERATIONS, json=ASK | {"standin_fault": fault})
        record = await recorded(client, answer.headers["x-request-id"])
        record["used"] = (await budgets_of(client))["images"]["used"]
        record["metrics"] = (await gateway.admin.get("/metrics")).text
        sent = [zone for zone, one in gateway.standins.items() for _ in one.standin.generations]
        return answer, record, sent


@pytest.mark.parametrize("fault", ["reset@SE", "stall:5@SE", "error@SE", "unavailable@SE"])
async def test_what_may_have_run_is_sent_again_only_where_that_is_wanted(
    tmp_path: Path, redis_url: str, fault: str
) -> None:
    answer, _, sent = await outcome(tmp_path, redis_url, fault)

    assert answer.status_code >= 500
    assert sent == ["SE"]


@pytest.mark.parametrize("fault", ["reset@SE", "stall:5@SE", "error@SE"])
async def test_a_wanted_second_attempt_is_charged_and_the_first_one_is_waste(
    tmp_path: Path, redis_url: str, fault: str
) -> None:
    answer, record, sent = await outcome(tmp_path, redis_url, fault, **TWICE)

    assert (answer.status_code, answer.headers["ecogate-zone"]) == (200, "PL")
    assert sent == ["SE", "PL"]
    assert record["used"] == 1
    first, second = record["attempts"]
    candidate = next(one for one in record["candidates"] if one["deployment"] == "flux-se")
    assert first["wasted"]["carbon_g"] == candidate["carbon_g"] > 0
    assert first["wasted"]["cost_usd"] == 0.04
    assert second.get("wasted") is None
    assert 'ecogate_wasted_energy_Wh_total{deployment="flux-se"}' in record["metrics"]


async def test_two_attempts_of_unknown_outcome_are_one_charge_and_one_waste(
    tmp_path: Path, redis_url: str
) -> None:
    answer, record, sent = await outcome(tmp_path, redis_url, "reset", **TWICE)

    assert answer.status_code == 502
    assert answer.headers["x-should-retry"] == "false"
    assert sent == ["SE", "PL"]
    assert record["used"] == 1
    assert record["deployment"] == "flux-pl"
    assert [bool(one.get("wasted")) for one in record["attempts"]] == [True, False]


async def test_an_unknown_attempt_is_charged_when_the_second_one_did_not_run(
    tmp_path: Path, redis_url: str
) -> None:
    zones = {"SE": StandInSettings(zone="SE"), "PL": StandInSettings(zone="PL", capacity=0)}
    async with gateway_running(
        tmp_path, redis_url, zones=zones, budgets=[budget()], routing=TWICE
    ) as gateway:
        client = await gateway.member()
        answer = await client.post(GENERATIONS, json=ASK | {"standin_fault": "reset@SE"})

        assert answer.status_code == 502
        record = await recorded(client, answer.headers["x-request-id"])
        assert record["deployment"] == "flux-se"
        assert [one["outcome"] for one in record["attempts"]] == ["unknown", "not_started"]
        assert not any(one.get("wasted") for one in record["attempts"])
        assert (await budgets_of(client))["images"]["used"] == 1


async def test_what_a_dead_gateway_would_leave_behind_tells_of_the_attempt_that_was_running(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    zones = {"SE": StandInSettings(zone="SE", capacity=0), "PL": StandInSettings(zone="PL")}
    async with gateway_running(tmp_path, redis_url, zones=zones, budgets=[budget()]) as gateway:
        client = await gateway.member()
        body = ASK | {"standin_fault": "stall:9@PL"}
        asking = asyncio.create_task(client.post(GENERATIONS, json=body))
        while not gateway.standins["PL"].standin.generations:
            await asyncio.sleep(0.01)

        [hold] = [key async for key in redis.scan_iter(match="eg:*:h:req_*")]
        record = decode(await redis.hget(hold, "record") or "")
        asking.cancel()

        assert (record.deployment, record.outcome) == ("flux-pl", "unknown")
        assert [(one.deployment, one.outcome) for one in record.attempts] == [("flux-se", "not_started")]


async def test_an_unknown_attempt_is_charged_when_its_hold_is_gone_before_the_second_one(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with gateway_running(
        tmp_path, redis_url, budgets=[budget()], routing=TWICE, upstream_read_timeout_s=2
    ) as gateway:
        client = await gateway.member()
        body = ASK | {"standin_fault": "stall:9@SE"}
        asking = asyncio.create_task(client.post(GENERATIONS, json=body))
        while not gateway.generations():
            await asyncio.sleep(0.02)
        holds = [key async for key in redis.scan_iter(match="eg:{acme}:h:*")]
        await redis.delete(*holds)
        answer = await asking

        assert answer.status_code == 504
        assert len(gateway.generations()) == 1
        assert (await budgets_of(client))["images"]["used"] == 1


async def test_a_server_error_that_is_not_charged_is_told_as_waste(tmp_path: Path, redis_url: str) -> None:
    answer, record, sent = await outcome(tmp_path, redis_url, "error@SE")

    assert (answer.status_code, sent, record["used"]) == (500, ["SE"], 0)
    assert record["attempts"][0]["wasted"]["energy_wh"] > 0


@pytest.mark.parametrize("fault", ["content_policy@SE", "refused_key@SE"])
async def test_a_refusal_of_the_content_is_never_taken_elsewhere_and_one_of_the_credential_is(
    tmp_path: Path, redis_url: str, fault: str
) -> None:
    answer, record, sent = await outcome(tmp_path, redis_url, fault, **TWICE)

    if fault.startswith("content_policy"):
        assert (answer.status_code, sent, record["used"]) == (400, ["SE"], 0)
    else:
        assert (answer.status_code, sent, record["used"]) == (200, ["SE", "PL"], 1)
    assert not any(one.get("wasted") for one in record["attempts"])


async def test_one_attempt_is_all_where_the_operator_wants_no_more(tmp_path: Path, redis_url: str) -> None:
    answer, _, sent = await outcome(tmp_path, redis_url, "rate_limit@SE", retries={"max_attempts": 1})

    assert (answer.status_code, sent) == (429, ["SE"])


async def test_failovers_end_when_they_become_more_than_a_share_of_the_requests(
    tmp_path: Path, redis_url: str
) -> None:
    never_out = {"outlier_detection": {"max_ejection_percent": 0}}
    async with gateway_running(tmp_path, redis_url, routing=never_out) as gateway:
        body = ASK | {"standin_fault": "rate_limit:0@SE"}
        statuses = [(await gateway.admin.post(GENERATIONS, json=body)).status_code for _ in range(20)]

        assert set(statuses) == {200, 429}
        assert statuses.count(200) <= RESERVE + 0.1 * len(statuses)
        assert statuses[:10] == [200] * 10
        assert len(gateway.standins["PL"].standin.generations) == statuses.count(200)
