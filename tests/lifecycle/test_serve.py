"""One request end to end, and every way in which it can go wrong."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
from typing import TYPE_CHECKING, Any

import openai
import pytest
from PIL import Image
from redis.asyncio import Redis

from gateway.demo.faults import parse_fault
from gateway.demo.standin import StandInSettings
from tests.lifecycle.reading import budgets_of, recorded
from tests.running import GENERATIONS, MODEL, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.demo.answers import UsageFamily

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat as an action figure", "size": "512x512"}


async def test_an_image_comes_back_priced_from_the_cleanest_zone(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        client = await gateway.openai()

        answer = await client.images.with_raw_response.generate(**ASK, n=2, quality="high")

        images = answer.parse().data or []
        assert [Image.open(io.BytesIO(base64.b64decode(one.b64_json or ""))).size for one in images] == [
            (512, 512),
            (512, 512),
        ]
        assert answer.headers["ecogate-zone"] == "SE"
        assert answer.headers["ecogate-deployment"] == "flux-se"
        assert answer.headers["ecogate-basis"] == "settled"
        assert answer.headers["ecogate-decision"] == "allow"
        low, central, high = (
            float(answer.headers[f"ecogate-energy-wh{bound}"]) for bound in ("-low", "", "-high")
        )
        assert 0 < low < central < high
        assert len(gateway.standins["PL"].standin.received) == 0


async def test_the_same_numbers_stand_in_header_record_usage_budget_and_span(
    tmp_path: Path, redis_url: str
) -> None:
    limits = {"energy": "1 kWh", "carbon": "1 kg", "water": "20 L", "images": 100}
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits=limits)]) as gateway:
        client = await gateway.member()

        answer = await client.post(GENERATIONS, json=ASK | {"n": 3})

        assert answer.status_code == 200, answer.text
        record = await recorded(client, answer.headers["x-request-id"])
        used = await budgets_of(client)
        usage = (await client.get("/eco/v1/usage?window=total")).json()["data"][0]
    server = next(span for span in gateway.span_tree() if span.name.startswith("POST"))
    attributes = server.attributes or {}
    for dimension, field in (("energy", "energy_wh"), ("water", "water_ml"), ("carbon", "carbon_g")):
        header = float(answer.headers[f"ecogate-{field.replace('_', '-')}"])
        assert record["footprint"][field]["central"] == pytest.approx(header, rel=1e-5)
        assert used[dimension]["used"] == pytest.approx(header, rel=1e-4)
        assert usage[field] == pytest.approx(header, rel=1e-4)
        assert attributes[f"ecogate.{field}"] == pytest.approx(header, rel=1e-5)
    assert used["images"]["used"] == 3
    assert used["images"]["remaining"] == 97
    assert record["images"] == 3
    assert record["basis"] == "settled"
    assert record["deployment"] == "flux-se"


async def test_an_estimate_is_the_hold_and_sends_nothing(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()

        answer = await client.post("/eco/v1/estimate", json=ASK | {"n": 2})

        assert answer.status_code == 200, answer.text
        estimate = answer.json()
        assert estimate["verdict"] == "admit"
        assert (estimate["deployment"], estimate["zone"]) == ("flux-se", "SE")
        assert [one["deployment"] for one in estimate["candidates"]] == ["flux-se", "flux-pl"]
        assert estimate["policies"][0]["remaining"] == {"images": 5}
        assert gateway.generations() == []
        assert (await budgets_of(client))["images"]["held"] == 0

        gateway.standins["SE"].standin.faults_to_come.append(parse_fault("stall:30"))
        sending = asyncio.create_task(client.post(GENERATIONS, json=ASK | {"n": 2}))
        holds: list[str] = []
        while not holds:
            holds = [key async for key in redis.scan_iter(match="eg:*:h:req_*")]
            await asyncio.sleep(0.01)
        held = await redis.hget(holds[0], "central")
        sending.cancel()
        energy_uwh, water_ul, carbon_ug, images, _, unpriced = (int(part) for part in (held or "").split())
        assert estimate["hold"]["central"] == {
            "energy_wh": energy_uwh / 1e6,
            "water_ml": water_ul / 1e3,
            "carbon_g": carbon_ug / 1e6,
            "images": images,
        }
        assert unpriced == 1  # these deployments have no price


async def test_50_at_once_with_room_for_5_make_exactly_5_images(tmp_path: Path, redis_url: str) -> None:
    zones = {"SE": StandInSettings(zone="SE", seconds_per_image=0.3)}
    async with gateway_running(tmp_path, redis_url, budgets=[budget()], zones=zones) as gateway:
        client = await gateway.member()

        answers = await asyncio.gather(*(client.post(GENERATIONS, json=ASK) for _ in range(50)))

        statuses = sorted(answer.status_code for answer in answers)
        assert statuses.count(200) == 5
        assert {status for status in statuses if status != 200} <= {402, 429}
        assert len(gateway.generations()) == 5
        images = (await budgets_of(client))["images"]
        assert (images["used"], images["held"], images["remaining"]) == (5, 0, 0)


async def test_a_refusal_is_a_402_that_stock_clients_do_not_repeat(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits={"images": 1})]) as gateway:
        key = await gateway.key()
        client = (await gateway.openai(key)).with_options(max_retries=2)
        await client.images.generate(**ASK)

        with pytest.raises(openai.APIStatusError) as refused:
            await client.images.generate(**ASK)

        error = refused.value
        assert error.status_code == 402
        assert error.code == "eco_budget_exceeded"
        assert error.type == "budget_exceeded"
        assert error.response.headers["x-should-retry"] == "false"
        assert error.request_id
        assert isinstance(error.body, dict)
        eco = error.body["eco"]
        assert (eco["policy"], eco["dimension"], eco["limit"], eco["used"]) == (
            "design-month",
            "images",
            1,
            1,
        )
        record = await recorded(await gateway.http(key), error.request_id)
        assert (record["decision"], record["outcome"], record["images"]) == ("deny", "refused", 0)
        assert (record["deployment"], record["zone"]) == (None, None)
        assert "design-month" in record["because"][0]


async def test_a_request_larger_than_the_limit_can_never_fit(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits={"carbon": "1 mg"})]) as gateway:
        client = await gateway.member()

        answer = await client.post(GENERATIONS, json=ASK)

        assert (answer.status_code, answer.json()["error"]["code"]) == (402, "eco_request_too_large")
        assert "retry-after" not in answer.headers
        assert (await client.post("/eco/v1/estimate", json=ASK)).json()["verdict"] == "deny"
        assert gateway.generations() == []


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [("rate_limit", "not_started"), ("overload", "not_started"), ("refused_key", "not_started")],
)
async def test_work_that_did_not_start_goes_to_the_next_zone_and_is_charged_once(
    tmp_path: Path, redis_url: str, fault: str, outcome: str
) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        gateway.standins["SE"].standin.faults_to_come.append(parse_fault(fault))

        answer = await client.post(GENERATIONS, json=ASK)

        assert answer.status_code == 200, answer.text
        assert answer.headers["ecogate-zone"] == "PL"
        record = await recorded(client, answer.headers["x-request-id"])
        assert [(one["deployment"], one["outcome"]) for one in record["attempts"]] == [
            ("flux-se", outcome),
            ("flux-pl", "delivered"),
        ]
        assert (await budgets_of(client))["images"]["used"] == 1


async def test_when_nobody_starts_nothing_is_charged(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        for running in gateway.standins.values():
            running.standin.faults_to_come.append(parse_fault("rate_limit:9"))

        answer = await client.post(GENERATIONS, json=ASK)

        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "upstream_rate_limited")
        assert 9 <= int(answer.headers["retry-after"]) <= 11
        images = (await budgets_of(client))["images"]
        assert (images["used"], images["held"]) == (0, 0)
        record = await recorded(client, answer.headers["x-request-id"])
        assert (record["outcome"], record["images"]) == ("not_started", 0)


@pytest.mark.parametrize(("fault", "status"), [("content_policy", 400), ("error", 500), ("unavailable", 503)])
async def test_an_error_of_the_service_is_passed_on_and_not_charged_or_tried_elsewhere(
    tmp_path: Path, redis_url: str, fault: str, status: int
) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        gateway.standins["SE"].standin.faults_to_come.append(parse_fault(fault))

        answer = await client.post(GENERATIONS, json=ASK)

        assert answer.status_code == status
        assert answer.json()["error"]["message"]
        assert len(gateway.generations()) == 1
        assert (await budgets_of(client))["images"]["used"] == 0


@pytest.mark.parametrize(
    ("code", "outcome", "charged"), [(500, "unknown", 1), (408, "unknown", 1), (429, "rejected", 0)]
)
async def test_an_error_under_a_status_of_success_goes_on_and_is_no_success(
    tmp_path: Path, redis_url: str, code: int, outcome: str, charged: int
) -> None:
    """It is charged unless it says that nothing ran."""
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        headers = {"ecogate-include": "footprint"}

        answer = await client.post(
            GENERATIONS, json=ASK | {"standin_fault": f"success_error:{code}"}, headers=headers
        )

        assert answer.status_code == 200
        assert answer.json() == {"error": {"message": "Provider returned error", "code": code}}
        assert ("ecogate-energy-wh" in answer.headers) is bool(charged)
        record = await recorded(client, answer.headers["x-request-id"])
        assert (record["outcome"], record["status"], record["images"]) == (outcome, 200, charged)
        assert [attempt["outcome"] for attempt in record["attempts"]] == [outcome]
        images = (await budgets_of(client))["images"]
        assert (images["used"], images["held"]) == (charged, 0)
        assert 'outcome="upstream_error"' in (await gateway.admin.get("/metrics")).text


@pytest.mark.parametrize("fault", ["reset", "cut", "malformed", "wrong_shape", "html"])
async def test_an_answer_that_cannot_be_trusted_is_charged_and_not_tried_elsewhere(
    tmp_path: Path, redis_url: str, fault: str
) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        gateway.standins["SE"].standin.faults_to_come.append(parse_fault(fault))

        answer = await client.post(GENERATIONS, json=ASK | {"n": 2})

        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
        assert answer.headers["x-should-retry"] == "false"
        assert len(gateway.generations()) == 1
        assert (await budgets_of(client))["images"]["used"] == 2
        record = await recorded(client, answer.headers["x-request-id"])
        assert (record["outcome"], record["basis"]) == ("unknown", "estimate")


async def test_a_service_that_takes_too_long_is_a_504_and_charged(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(
        tmp_path, redis_url, budgets=[budget()], upstream_read_timeout_s=0.2
    ) as gateway:
        client = await gateway.member()
        gateway.standins["SE"].standin.faults_to_come.append(parse_fault("stall:2"))

        answer = await client.post(GENERATIONS, json=ASK)

        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")
        assert (await budgets_of(client))["images"]["used"] == 1


@pytest.mark.parametrize(("fault", "images"), [("images:1", 1), ("images:4", 4)])
async def test_the_images_that_came_back_are_charged(
    tmp_path: Path, redis_url: str, fault: str, images: int
) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        gateway.standins["SE"].standin.faults_to_come.append(parse_fault(fault))

        answer = await client.post(GENERATIONS, json=ASK | {"n": 3})

        assert len(answer.json()["data"]) == images
        assert (await budgets_of(client))["images"]["used"] == images


async def test_an_answer_without_images_is_charged_as_held(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        gateway.standins["SE"].standin.faults_to_come.append(parse_fault("images:0"))

        answer = await client.post(GENERATIONS, json=ASK | {"n": 3})

        assert (answer.status_code, answer.headers["ecogate-basis"]) == (200, "estimate")
        assert (await budgets_of(client))["images"]["used"] == 3


@pytest.mark.parametrize(("usage", "basis"), [("none", "estimated"), ("tokens", "reported")])
async def test_the_record_says_whether_the_service_reported_what_it_took(
    tmp_path: Path, redis_url: str, usage: UsageFamily, basis: str
) -> None:
    zones = {"SE": StandInSettings(zone="SE", usage=usage)}
    async with gateway_running(tmp_path, redis_url, zones=zones) as gateway:
        client = await gateway.http(await gateway.key())
        body = {"model": MODEL, "prompt": "a cat", "size": "64x64"}

        whole = await client.post(GENERATIONS, json=body)
        streamed = await client.post(GENERATIONS, json={**body, "stream": True})
        failed = await client.post(GENERATIONS, json={**body, "standin_fault": "reset"})
        bad = await client.post(GENERATIONS, json={**body, "standin_fault": "content_policy"})

        answers = (whole, streamed, failed, bad)
        records = [await recorded(client, one.headers["x-request-id"]) for one in answers]
        assert [one["usage_basis"] for one in records] == [basis, basis, "estimated", None]


async def test_a_larger_picture_than_asked_costs_more(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        client = await gateway.member()
        small = await client.post(GENERATIONS, json=ASK)
        gateway.standins["SE"].standin.faults_to_come.append(parse_fault("size:1024"))
        large = await client.post(GENERATIONS, json=ASK)

    assert float(large.headers["ecogate-energy-wh"]) > 2 * float(small.headers["ecogate-energy-wh"])


@pytest.mark.parametrize(("setting", "left"), [("abort", True), ("finish", False)])
async def test_a_client_that_hangs_up_is_charged(
    tmp_path: Path, redis_url: str, setting: str, left: bool
) -> None:
    async with gateway_running(
        tmp_path, redis_url, budgets=[budget()], deployment={"on_disconnect": setting}
    ) as gateway:
        key = await gateway.key()
        client, watcher = await gateway.http(key), await gateway.http(key)
        gateway.standins["SE"].standin.faults_to_come.append(parse_fault("stall:0.8"))
        sending = asyncio.create_task(client.post(GENERATIONS, json=ASK | {"n": 2}))
        while not gateway.generations():
            await asyncio.sleep(0.01)
        sending.cancel()

        images: dict[str, Any] = {}
        for _ in range(100):
            images = (await budgets_of(watcher))["images"]
            if images["used"]:
                break
            await asyncio.sleep(0.05)

        assert (images["used"], images["held"]) == (2, 0)
        page = (await watcher.get("/eco/v1/requests")).json()["data"]
        while not page:
            await asyncio.sleep(0.05)
            page = (await watcher.get("/eco/v1/requests")).json()["data"]
        assert page[0]["outcome"] == ("client_gone" if left else "delivered")
        assert gateway.standins["SE"].standin.generations[0].client_left is left


async def test_a_dead_store_means_503_and_nothing_is_sent(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, None, budgets=[budget()], store_timeout_ms=100) as gateway:
        client = await gateway.member()
        assert (await client.post(GENERATIONS, json=ASK)).status_code == 200
        async with Redis(unix_socket_path=str(next((tmp_path / "data").rglob("*.sock")))) as store:
            pid = (await store.info("server"))["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            answer = await client.post(GENERATIONS, json=ASK)
            ready = await gateway.admin.get("/readyz")
            alive = await gateway.admin.get("/healthz")
        finally:
            os.kill(pid, signal.SIGCONT)

        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "budget_store_unavailable")
        assert len(gateway.generations()) == 1
        assert (ready.status_code, alive.status_code) == (503, 200)


async def test_one_trace_tells_the_whole_request(tmp_path: Path, redis_url: str) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        gateway.standins["SE"].standin.faults_to_come.append(parse_fault("overload"))

        answer = await client.post(GENERATIONS, json=ASK, headers={"traceparent": parent})

        assert answer.status_code == 200
        received = gateway.standins["PL"].standin.generations[0].headers["traceparent"]
        record = await recorded(client, answer.headers["x-request-id"])
    spans = gateway.span_tree()
    assert [span.name for span in spans] == [
        f"POST {GENERATIONS}",
        "route.choose",
        "budget.reserve",
        f"image_generation {MODEL}",
        f"image_generation {MODEL}",
        "budget.settle",
    ]
    assert {f"{span.context.trace_id:032x}" for span in spans} == {parent.split("-")[1]}
    assert record["trace_id"] == parent.split("-")[1]
    assert received.split("-")[2] == f"{spans[4].context.span_id:016x}"
    assert all(span.parent and span.parent.span_id == spans[0].context.span_id for span in spans[1:])
    settled = spans[5].attributes or {}
    assert {"ecogate.energy_wh", "ecogate.water_ml", "ecogate.carbon_g"} <= set(settled)
    everything = "".join(span.to_json() for span in spans)
    assert "action figure" not in everything


async def test_no_prompt_picture_or_credential_is_stored_or_measured(
    tmp_path: Path, redis_url: str, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        key = await gateway.key()
        client = await gateway.http(key)
        answer = await client.post(GENERATIONS, json=ASK | {"user": "mallory-the-user"})
        record = await recorded(client, answer.headers["x-request-id"])
        metrics = (await gateway.admin.get("/metrics")).text
        stored = [str(await _dump(redis, name)) async for name in redis.scan_iter()]
        sql = b"".join(file.read_bytes() for file in (tmp_path / "data").glob("ecogate.sqlite3*"))

    spans = "".join(span.to_json() for span in gateway.span_tree())
    picture = answer.json()["data"][0]["b64_json"][100:200]
    haystack = "\n".join([str(record), metrics, *stored, sql.decode("latin-1"), spans, caplog.text])
    for secret in ("action figure", "mallory-the-user", picture, key):
        assert secret not in haystack


async def _dump(redis: Redis, name: str) -> object:
    kind = await redis.type(name)
    if kind == "hash":
        return await redis.hgetall(name)
    if kind == "stream":
        return await redis.xrange(name)
    return name


async def test_metrics_count_what_was_charged(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits={"images": 2})]) as gateway:
        client = await gateway.member()
        answer = await client.post(GENERATIONS, json=ASK | {"n": 2})
        await client.post(GENERATIONS, json=ASK)
        metrics = (await gateway.admin.get("/metrics")).text

    energy = next(line for line in metrics.splitlines() if line.startswith("ecogate_energy"))
    assert float(energy.split()[-1]) == pytest.approx(float(answer.headers["ecogate-energy-wh"]), rel=1e-5)
    assert 'code="eco_budget_exceeded"' in metrics
