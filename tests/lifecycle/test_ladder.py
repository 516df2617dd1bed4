"""Lighter forms of a request: made only where they are allowed, always told, charged as told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from tests.running import GENERATIONS, MODEL, UPSTREAM_MODEL, Gateway, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

LARGE: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "1024x1024", "steps": 28}
SMALL = LARGE | {"size": "512x512"}
ALLOW = {"ecogate-allow-downgrade": "true"}
REFUSE = {"ecogate-allow-downgrade": "false"}
LADDER = [{"downgrade": [{"size": "768x768"}, {"size": "512x512"}]}, "deny"]


@pytest.fixture
async def room_for_small(tmp_path: Path, redis_url: str) -> dict[str, str]:
    """A limit that a small picture fits, and neither a large one nor one of 768x768."""
    async with gateway_running(tmp_path, redis_url) as gateway:
        client = await gateway.member()
        small = await client.post("/eco/v1/estimate", json=SMALL)
    return {"energy": f"{small.json()['hold']['central']['energy_wh'] * 1.2:.6f} Wh"}


async def team_row(client: httpx.AsyncClient) -> dict[str, Any]:
    (row,) = (await client.get("/eco/v1/budgets")).json()["data"]
    return dict(row)


async def record_of(gateway: Gateway, answer: httpx.Response) -> dict[str, Any]:
    url = f"/eco/v1/requests/{answer.headers['x-request-id']}"
    async with asyncio.timeout(10):
        while (found := await gateway.admin.get(url)).status_code == 404:
            await asyncio.sleep(0.05)
    return dict(found.json())


async def test_a_ladder_makes_the_request_fit_and_everything_says_so(
    tmp_path: Path, redis_url: str, room_for_small: dict[str, str]
) -> None:
    team = budget(limits=room_for_small, on_exceed=LADDER)
    async with gateway_running(tmp_path, redis_url, budgets=[team]) as gateway:
        client = await gateway.member()
        dry = (await client.post("/eco/v1/estimate", json=LARGE)).json()
        answer = await client.post(GENERATIONS, json=LARGE)
        row = await team_row(client)
        record = await record_of(gateway, answer)
        by_decision = (await client.get("/eco/v1/usage", params={"group_by": "decision"})).json()["data"]

    assert answer.status_code == 200
    assert answer.headers["ecogate-decision"] == "downgrade"
    assert answer.headers["ecogate-downgraded"] == "size=512x512"
    assert [body["size"] for body in gateway.generations()] == ["512x512"]
    assert row["used"] == pytest.approx(float(answer.headers["ecogate-energy-wh"]), rel=1e-5)
    assert record["decision"] == "downgrade"
    assert record["downgrade"] == {"size": {"asked": "1024x1024", "got": "512x512"}}
    assert "size 512x512 instead of 1024x1024" in record["because"][0]
    assert [line["group"] for line in by_decision] == [{"decision": "downgrade"}]
    assert dry["verdict"] == "downgrade"
    assert dry["downgrade"] == record["downgrade"]
    assert dry["hold"]["central"]["energy_wh"] == pytest.approx(row["used"], rel=0.5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n": 1}, "n=1"),
        ({"steps": 4}, "steps=4"),
        ({"size": "256x256"}, "size=256x256"),
        ({"size": "512x512", "n": 2, "steps": 14}, "size=512x512, steps=14, n=2"),
    ],
    ids=["n", "steps", "size", "several"],
)
async def test_a_downgraded_request_costs_what_its_headers_say_everywhere(
    tmp_path: Path, redis_url: str, change: dict[str, Any], told: str
) -> None:
    """The header, the budget, the record and usage agree, and what was sent is what was priced."""
    asked = LARGE | {"n": 4}
    async with gateway_running(tmp_path, redis_url) as gateway:
        whole = await (await gateway.member()).post("/eco/v1/estimate", json=asked)
        light = await (await gateway.member()).post("/eco/v1/estimate", json=asked | change)
    least, most = (one.json()["hold"]["central"]["energy_wh"] for one in (light, whole))
    assert least < most
    room = {"energy": f"{(least + most) / 2:.6f} Wh"}
    team = budget(limits=room, on_exceed=[{"downgrade": [change]}, "deny"])
    async with gateway_running(tmp_path, redis_url, budgets=[team]) as gateway:
        client = await gateway.member()
        answer = await client.post(GENERATIONS, json=asked)
        row, record = await team_row(client), await record_of(gateway, answer)
        usage = (await client.get("/eco/v1/usage", params={"window": "total"})).json()["data"]

    assert (answer.status_code, answer.headers["ecogate-downgraded"]) == (200, told)
    energy_wh = float(answer.headers["ecogate-energy-wh"])
    assert energy_wh < most
    assert row["used"] == pytest.approx(energy_wh, rel=1e-4)
    assert record["charge"]["energy_wh"] == pytest.approx(energy_wh, rel=1e-4)
    assert usage[0]["energy_wh"] == pytest.approx(energy_wh, rel=1e-4)
    (sent,) = gateway.generations()
    assert {name: sent.get(name) for name in change} == change


async def test_without_permission_nothing_is_made_lighter(
    tmp_path: Path, redis_url: str, room_for_small: dict[str, str]
) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits=room_for_small)]) as gateway:
        client = await gateway.member()
        refused = await client.post(GENERATIONS, json=LARGE)
        wrong = await client.post(GENERATIONS, json=LARGE, headers={"ecogate-allow-downgrade": "maybe"})

    assert refused.status_code == 402
    assert wrong.status_code == 400
    assert gateway.generations() == []


async def test_the_caller_may_allow_what_no_policy_does(
    tmp_path: Path, redis_url: str, room_for_small: dict[str, str]
) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits=room_for_small)]) as gateway:
        answer = await (await gateway.member()).post(GENERATIONS, json=LARGE, headers=ALLOW)

    assert (answer.status_code, answer.headers["ecogate-downgraded"]) == (200, "size=512x512")


async def test_the_caller_may_refuse_what_a_policy_allows(
    tmp_path: Path, redis_url: str, room_for_small: dict[str, str]
) -> None:
    team = budget(limits=room_for_small, on_exceed=LADDER)
    async with gateway_running(tmp_path, redis_url, budgets=[team]) as gateway:
        answer = await (await gateway.member()).post(GENERATIONS, json=LARGE, headers=REFUSE)

    assert answer.status_code == 402


async def test_a_request_that_fits_is_left_as_it_is(tmp_path: Path, redis_url: str) -> None:
    team = budget(limits={"energy": "1 kWh"}, on_exceed=LADDER)
    async with gateway_running(tmp_path, redis_url, budgets=[team]) as gateway:
        answer = await (await gateway.member()).post(GENERATIONS, json=SMALL, headers=ALLOW)

    assert answer.headers["ecogate-decision"] == "allow"
    assert "ecogate-downgraded" not in answer.headers


async def test_another_model_has_its_own_counter(tmp_path: Path, redis_url: str) -> None:
    ladder = [{"downgrade": [{"model": "lite"}]}, "deny"]
    per_model = budget(per=["model"], limits={"images": 1}, on_exceed=ladder)
    async with serving(StandInSettings(zone="SE")) as service:
        listed = [
            {
                "id": name,
                "model": name,
                "upstream_model": upstream,
                "base_url": service.base_url,
                "location": {"provider": "self", "zone": "SE", "pin": "region"},
                "hardware": {"gpu": "H100", "precision": "bf16"},
            }
            for name, upstream in ((MODEL, UPSTREAM_MODEL), ("lite", "black-forest-labs/FLUX.1-schnell"))
        ]
        async with gateway_running(tmp_path, redis_url, budgets=[per_model], deployments=listed) as gateway:
            client = await gateway.member()
            ask = {"model": MODEL, "prompt": "a cat", "size": "256x256"}
            answers = [await client.post(GENERATIONS, json=ask) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 402]
    assert [answer.headers.get("ecogate-downgraded") for answer in answers] == [None, "model=lite", None]
    assert answers[1].headers["ecogate-deployment"] == "lite"


async def test_every_alternative_of_a_refusal_is_admitted_when_it_is_sent(
    tmp_path: Path, redis_url: str, room_for_small: dict[str, str]
) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits=room_for_small)]) as gateway:
        teams = [await gateway.member(team=f"team-{number}") for number in range(6)]
        refused = await teams[0].post(GENERATIONS, json=SMALL | {"n": 3})
        alternatives = refused.json()["error"]["eco"]["alternatives"]
        sent = [
            await client.post(GENERATIONS, json=SMALL | {"n": 3} | alternative["set"])
            for client, alternative in zip(teams, alternatives, strict=False)
        ]

    assert refused.status_code == 402
    assert {"n": 1} in [alternative["set"] for alternative in alternatives]
    assert [answer.status_code for answer in sent] == [200] * len(alternatives)
    for answer, alternative in zip(sent, alternatives, strict=True):
        promised = alternative["requested"]["energy_wh"]
        assert float(answer.headers["ecogate-energy-wh"]) <= promised * 1.001


async def test_a_refusal_that_nothing_helps_has_no_alternatives(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits={"images": 0})]) as gateway:
        refused = await (await gateway.member()).post(GENERATIONS, json=LARGE | {"n": 4})

    assert refused.json()["error"]["eco"]["alternatives"] == []
