"""A stream through the gateway: what the client reads, and what is charged in the end."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import openai
import pytest

from gateway.demo.faults import parse_fault
from gateway.demo.standin import StandInSettings
from tests.lifecycle.reading import budgets_of, recorded
from tests.running import GENERATIONS, MODEL, Gateway, budget, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

ASK: dict[str, Any] = {
    "model": MODEL, "prompt": "a cat", "size": "64x64", "stream": True, "partial_images": 2,
}  # fmt: skip
TOKEN_MODEL = {"upstream_model": "gpt-image-1.5", "hardware": {}, "defaults": {}}


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    zones = {"SE": StandInSettings(zone="SE", usage="tokens", seconds_per_image=0.05)}
    async with gateway_running(
        tmp_path, redis_url, budgets=[budget(limits={"images": 9})], zones=zones
    ) as one:
        yield one


def strike(gateway: Gateway, fault: str) -> None:
    gateway.standins["SE"].standin.faults_to_come.append(parse_fault(fault))


async def spent(client: httpx.AsyncClient) -> tuple[int, int]:
    images = (await budgets_of(client))["images"]
    return images["used"], images["held"]


async def read_into(seen: list[Any], stream: AsyncIterator[Any]) -> None:
    async for event in stream:
        seen.append(event)  # noqa: PERF401 - what came before a failure counts


async def test_the_stock_client_gets_every_event_and_the_charge_is_what_came(gateway: Gateway) -> None:
    key = await gateway.key()
    client, http = await gateway.openai(key), await gateway.http(key)

    answer = await client.images.with_raw_response.generate(**ASK)
    events = [event async for event in answer.parse()]

    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["ecogate-basis"] == "estimate"
    assert {"content-length", "content-encoding"}.isdisjoint(answer.headers)
    record = await recorded(http, answer.headers["x-request-id"])
    assert (record["outcome"], record["basis"], record["images"]) == ("delivered", "settled", 1)
    assert record["usage"]["output_tokens"] > 0
    assert await spent(http) == (1, 0)


async def test_the_bytes_are_those_of_the_service(gateway: Gateway) -> None:
    client = await gateway.member()
    direct = await client.post(gateway.standins["SE"].base_url + "/images/generations", json=ASK)
    through = await client.post(GENERATIONS, json=ASK)

    def without_time(text: str) -> list[Any]:
        return [
            json.loads(line[6:]) | {"created_at": 0}
            for line in text.splitlines()
            if line.startswith("data: ")
        ]

    assert without_time(through.text) == without_time(direct.text)
    assert [line.split(":")[0] for line in through.text.split("\n")] == [
        line.split(":")[0] for line in direct.text.split("\n")
    ]


async def test_an_event_is_passed_on_at_once(gateway: Gateway) -> None:
    client = await gateway.openai()
    strike(gateway, "stream_stall:0.4")

    arrivals = [time.monotonic() async for _ in await client.images.generate(**ASK)]

    assert len(arrivals) == 3
    assert all(0.3 < later - earlier < 0.55 for earlier, later in itertools.pairwise(arrivals))


@pytest.mark.parametrize(
    ("fault", "events", "code"),
    [
        ("stream_reset:1", 1, "upstream_error"),
        ("stream_end:1", 1, "upstream_error"),
        ("stream_end:0", 0, "upstream_error"),
        ("stream_error:1", 1, "server_error"),
        ("stream_cut:1", 1, None),
    ],
)
async def test_a_stream_that_fails_never_ends_cleanly_and_is_charged_as_held(
    gateway: Gateway, fault: str, events: int, code: str | None
) -> None:
    key = await gateway.key()
    client, http = await gateway.openai(key), await gateway.http(key)
    strike(gateway, fault)
    seen: list[Any] = []
    answer = await client.images.with_raw_response.generate(**ASK | {"n": 2})

    with pytest.raises((openai.APIError, openai.APIConnectionError)) as failure:
        await read_into(seen, answer.parse())

    assert len(seen) == events
    assert getattr(failure.value, "code", None) == code
    record = await recorded(http, answer.headers["x-request-id"])
    assert (record["outcome"], record["basis"], record["images"]) == ("unknown", "estimate", 2)
    assert await spent(http) == (2, 0)
    assert len(gateway.generations()) == 1


async def test_a_broken_connection_behind_the_last_picture_harms_nobody(gateway: Gateway) -> None:
    key = await gateway.key()
    client, http = await gateway.openai(key), await gateway.http(key)
    strike(gateway, "stream_reset:3")

    answer = await client.images.with_raw_response.generate(**ASK)
    events = [event async for event in answer.parse()]

    assert len(events) == 3
    assert (await recorded(http, answer.headers["x-request-id"]))["outcome"] == "delivered"


@pytest.mark.parametrize(("setting", "outcome"), [("abort", "client_gone"), ("finish", "delivered")])
async def test_a_client_that_leaves_is_charged_and_the_service_hears_of_it(
    tmp_path: Path, redis_url: str, setting: str, outcome: str
) -> None:
    async with gateway_running(
        tmp_path, redis_url, budgets=[budget()], deployment={"on_disconnect": setting},
        zones={"SE": StandInSettings(zone="SE")},
    ) as gateway:  # fmt: skip
        key = await gateway.key()
        client, http = await gateway.openai(key), await gateway.http(key)
        strike(gateway, "stream_stall:0.5")
        answer = await client.images.with_raw_response.generate(**ASK)
        stream = answer.parse()
        await anext(aiter(stream))
        left_at = time.monotonic()
        await stream.close()

        while gateway.standins["SE"].standin.in_flight:
            await asyncio.sleep(0.01)

        record = await recorded(http, answer.headers["x-request-id"])
        assert record["outcome"] == outcome
        assert await spent(http) == (1, 0)
        assert gateway.standins["SE"].standin.generations[0].client_left is (setting == "abort")
        if setting == "abort":
            assert time.monotonic() - left_at < 1


async def test_a_service_that_knows_no_streams_answers_with_json(gateway: Gateway) -> None:
    client = await gateway.member()
    strike(gateway, "ignore_stream")

    answer = await client.post(GENERATIONS, json=ASK)

    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["ecogate-basis"] == "settled"
    assert len(answer.json()["data"]) == 1


@pytest.mark.parametrize("fault", [None, "no_usage"])
async def test_partial_images_and_usage_are_in_the_price(
    tmp_path: Path, redis_url: str, fault: str | None
) -> None:
    zones = {"SE": StandInSettings(zone="SE", usage="tokens")}
    async with gateway_running(tmp_path, redis_url, zones=zones, deployment=TOKEN_MODEL) as gateway:
        client = await gateway.member()
        energies = []
        for partials in (0, 3):
            if fault:
                strike(gateway, fault)
            answer = await client.post(
                GENERATIONS, json=ASK | {"partial_images": partials, "size": "1024x1024"}
            )
            record = await recorded(client, answer.headers["x-request-id"])
            energies.append(record["footprint"]["energy_wh"]["central"])

    assert energies[0] < energies[1] if fault else energies[0] == pytest.approx(energies[1])


async def test_the_footprint_is_in_the_completed_event_for_those_who_ask(gateway: Gateway) -> None:
    key = await gateway.key()
    client, http = await gateway.openai(key), await gateway.http(key)

    answer = await client.images.with_raw_response.generate(
        **ASK, extra_headers={"ecogate-include": "footprint"}
    )
    events = [event async for event in answer.parse()]

    partial, completed = events[0].model_dump(), events[-1].model_dump()
    assert "ecogate" not in partial
    record = await recorded(http, answer.headers["x-request-id"])
    assert completed["ecogate"]["request_id"] == answer.headers["x-request-id"]
    assert completed["ecogate"]["basis"] == "settled"
    assert completed["ecogate"]["footprint"]["energy_wh"] == record["footprint"]["energy_wh"]
    assert completed["b64_json"] == partial["b64_json"]


async def test_the_footprint_is_in_a_json_answer_for_those_who_ask(gateway: Gateway) -> None:
    client = await gateway.member()
    ask = ASK | {"stream": False}

    answer = await client.post(GENERATIONS, json=ask, headers={"ecogate-include": "footprint"})
    plain = await client.post(GENERATIONS, json=ask)

    eco = answer.json()["ecogate"]
    assert eco["footprint"]["energy_wh"]["central"] == pytest.approx(
        float(answer.headers["ecogate-energy-wh"]), rel=1e-5
    )
    assert "ecogate" not in plain.json()
    refused = await client.post(GENERATIONS, json=ask, headers={"ecogate-include": "everything"})
    assert refused.status_code == 400


async def test_the_gateway_answers_before_its_client_gives_up(gateway: Gateway) -> None:
    client = await gateway.member()
    strike(gateway, "stall:5")
    started = time.monotonic()

    answer = await client.post(
        GENERATIONS, json=ASK | {"stream": False}, headers={"x-stainless-read-timeout": "1"}
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")
    assert time.monotonic() - started < 1
    assert gateway.standins["SE"].standin.generations[0].client_left
    assert await spent(client) == (1, 0)
