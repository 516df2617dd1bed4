"""A request that comes twice with an `Idempotency-Key` is done once, on every route."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from redis import Redis as BlockingRedis

from gateway.demo.faults import parse_fault
from tests.lifecycle.reading import budgets_of, recorded
from tests.running import GENERATIONS, MODEL, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.running import Gateway

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat under a blue moon", "size": "64x64"}
KEY = {"idempotency-key": "order 4711"}
EDITS, VARIATIONS = "/v1/images/edits", "/v1/images/variations"


async def ask(client: httpx.AsyncClient, headers: dict[str, str] = KEY, **fields: Any) -> httpx.Response:
    return await client.post(GENERATIONS, json=ASK | fields, headers=headers)


def refused(answer: httpx.Response, code: str) -> dict[str, Any]:
    """The error of a 409 with this code; all but `in_progress` forbid another try."""
    assert answer.status_code == 409, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert (error["code"], error["type"]) == (code, "idempotency_error")
    if code == "idempotency_in_progress":
        assert answer.headers["retry-after"] == "2"
        assert "x-should-retry" not in answer.headers
    else:
        assert answer.headers["x-should-retry"] == "false"
    return error


def fail_next(gateway: Gateway, *faults: str) -> None:
    for fault in faults:
        gateway.standins["SE"].standin.faults_to_come.append(parse_fault(fault))


async def test_once_it_is_done_the_first_request_and_its_charge_are_named(
    tmp_path: Path, redis_url: str
) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        first = await ask(client, n=2)
        assert first.status_code == 200, first.text

        error = refused(await ask(client, n=2), "idempotency_completed")

        assert error["eco"]["request"] == first.headers["x-request-id"]
        assert error["eco"]["charge"]["images"] == 2
        energy_wh = float(first.headers["ecogate-energy-wh"])
        assert error["eco"]["charge"]["energy_wh"] == pytest.approx(energy_wh, rel=1e-4)
        assert len(gateway.generations()) == 1
        assert (await budgets_of(client))["images"]["used"] == 2


async def test_while_it_runs_the_second_is_told_to_come_back(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        fail_next(gateway, "stall:1")
        running = asyncio.create_task(ask(client))
        while not gateway.generations():
            await asyncio.sleep(0.01)

        error = refused(await ask(client), "idempotency_in_progress")

        first = await running
        assert error["eco"] == {"request": first.headers["x-request-id"]}
        assert first.status_code == 200
        assert len(gateway.generations()) == 1


async def test_fifty_at_once_send_one_request_on(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        answers = await asyncio.gather(*(ask(client) for _ in range(50)))

        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 49
        assert len(gateway.generations()) == 1
        assert (await budgets_of(client))["images"]["used"] == 1


@pytest.mark.parametrize("fault", ["content_policy", "rate_limit", "refused_key"])
async def test_what_the_service_refused_may_be_asked_again(
    tmp_path: Path, redis_url: str, fault: str
) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        for zone in ("SE", "PL"):
            gateway.standins[zone].standin.faults_to_come.append(parse_fault(fault))
        first = await ask(client)
        gateway.standins["PL"].standin.faults_to_come.clear()

        again = await ask(client)

        assert first.status_code >= 400
        assert again.status_code == 200
        refused(await ask(client), "idempotency_completed")
        assert (await budgets_of(client))["images"]["used"] == 1


async def test_what_a_budget_refused_may_be_asked_again(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits={"images": 1})]) as gateway:
        client = await gateway.member()
        assert (await ask(client, n=2)).status_code == 402

        assert (await ask(client, n=1)).status_code == 200


@pytest.mark.parametrize("fault", ["reset", "cut", "malformed"])
async def test_what_may_have_run_is_not_sent_again(tmp_path: Path, redis_url: str, fault: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        fail_next(gateway, fault)
        assert (await ask(client)).status_code == 502

        error = refused(await ask(client), "idempotency_unknown_outcome")

        assert error["eco"]["charge"]["images"] == 1
        assert len(gateway.generations()) == 1
        assert (await budgets_of(client))["images"]["used"] == 1
        assert (await ask(client, {"idempotency-key": "another"})).status_code == 200


async def test_a_client_that_hung_up_is_told_that_nobody_knows(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client, second = await gateway.member(), await gateway.http(None)
        second.headers["authorization"] = client.headers["authorization"]
        fail_next(gateway, "stall:30")
        leaving = asyncio.create_task(ask(client))
        while not gateway.generations():
            await asyncio.sleep(0.01)
        leaving.cancel()
        answer = await ask(second)
        while answer.json()["error"]["code"] == "idempotency_in_progress":
            await asyncio.sleep(0.05)
            answer = await ask(second)

        refused(answer, "idempotency_unknown_outcome")
        assert len(gateway.generations()) == 1


async def test_another_body_under_the_same_key_is_a_conflict(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        client = await gateway.member()
        await ask(client)

        refused(await ask(client, prompt="a dog"), "idempotency_key_conflict")
        assert len(gateway.generations()) == 1


async def test_keys_are_apart_by_org_api_key_and_route(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        mine, mine_too, theirs = (
            await gateway.member(),
            await gateway.member(),
            await gateway.member(org="other"),
        )

        answers = [await ask(client) for client in (mine, mine_too, theirs)]
        edit = await mine.post(EDITS, data=ASK, files={"image": ("a.png", b"png", "image/png")}, headers=KEY)

        assert [answer.status_code for answer in (*answers, edit)] == [200] * 4


async def test_a_form_is_the_same_by_its_fields_and_its_files(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits={"images": 1})]) as gateway:
        client = await gateway.member()

        async def edit(picture: bytes) -> httpx.Response:
            files = {"image": ("a.png", picture, "image/png")}
            return await client.post(EDITS, data=ASK, files=files, headers=KEY)

        assert (await edit(b"one" * 200_000)).status_code == 200

        refused(await edit(b"one" * 200_000), "idempotency_completed")
        refused(await edit(b"two" * 200_000), "idempotency_key_conflict")


async def test_a_stream_is_one_request_too(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        first = await ask(client, stream=True)
        assert first.headers["content-type"].startswith("text/event-stream")

        refused(await ask(client, stream=True), "idempotency_completed")
        assert len(gateway.generations()) == 1


async def test_a_stream_that_broke_off_is_not_sent_again(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        fail_next(gateway, "stream_end:0")
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(client, stream=True)

        refused(await ask(client, stream=True), "idempotency_unknown_outcome")
        assert len(gateway.generations()) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "clé", "tab\tkey"])
async def test_a_key_that_is_no_plain_text_is_refused(tmp_path: Path, redis_url: str, key: str) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        client = await gateway.member()

        answer = await client.post(
            GENERATIONS, json=ASK, headers=[(b"idempotency-key", key.encode("latin-1"))]
        )

        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_idempotency_key"
        assert gateway.generations() == []


async def test_two_keys_in_one_request_are_refused(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        client = await gateway.member()

        answer = await client.post(
            GENERATIONS, json=ASK, headers=[("idempotency-key", "a"), ("idempotency-key", "b")]
        )

        assert answer.json()["error"]["code"] == "invalid_idempotency_key"


async def test_neither_key_nor_prompt_stands_anywhere_in_the_store(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        await ask(client, {**KEY, "x-stainless-retry-count": "0"})
        with BlockingRedis.from_url(redis_url) as store:
            kept = b"".join(key + store.dump(key) for key in store.keys("*"))

        assert b":i:" in kept
        assert b"4711" not in kept
        assert b"blue moon" not in kept


async def test_openais_client_stops_at_a_completed_key_and_does_not_pay_twice(
    tmp_path: Path, redis_url: str
) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        client = (await gateway.openai()).with_options(max_retries=2)
        await client.images.generate(**ASK, extra_headers=KEY)

        with pytest.raises(openai.ConflictError) as told:
            await client.images.generate(**ASK, extra_headers=KEY)

        assert told.value.code == "idempotency_completed"
        assert len(gateway.generations()) == 1


async def test_a_retry_without_a_key_is_done_again_and_counted_as_one(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()

        async def attempt(number: int, **fields: Any) -> str:
            answer = await ask(client, {"x-stainless-retry-count": str(number)}, **fields)
            assert answer.status_code == 200, answer.text
            return answer.headers["x-request-id"]

        first = await attempt(0)
        retry = await attempt(1)
        other = await attempt(1, prompt="a dog")
        fresh = await attempt(0)
        records = [await recorded(client, one) for one in (first, retry, other, fresh)]
        metrics = (await client.get("/metrics")).text

        assert [one.get("retry_of") for one in records] == [None, first, None, None]
        assert len(gateway.generations()) == 4
        assert (await budgets_of(client))["images"]["used"] == 4
        assert 'ecogate_retries_total{route="images.generate"} 1.0' in metrics
        usage = (await client.get("/eco/v1/usage?window=total")).json()["data"][0]
        assert usage["retries"] == 1
        assert json.dumps(records).count("moon") == 0
