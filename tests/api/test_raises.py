"""Raises: more room for a while, granted to others and never to oneself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.running import GENERATIONS, MODEL, Gateway, budget, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}
RAISES = "/eco/v1/raises"
DESIGN = {"policy": "design-month", "scope": {"team": "design"}, "reason": "launch week", "org": "acme"}
MORE = DESIGN | {"amounts": {"images": 1}}


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits={"images": 1})]) as running:
        yield running


async def asked(client: httpx.AsyncClient) -> int:
    return (await client.post(GENERATIONS, json=ASK)).status_code


async def row(client: httpx.AsyncClient) -> dict[str, Any]:
    (one,) = (await client.get("/eco/v1/budgets")).json()["data"]
    return dict(one)


async def test_a_raise_makes_room_for_one_counter_and_says_who_and_why(gateway: Gateway) -> None:
    client, other = await gateway.member(), await gateway.member(team="film")
    assert [await asked(client), await asked(client)] == [200, 402]

    answer = await gateway.admin.post(RAISES, json=MORE)

    assert answer.status_code == 201
    assert [await asked(client), await asked(client)] == [200, 402]
    assert [await asked(other), await asked(other)] == [200, 402]
    shown = await row(client)
    assert [shown[name] for name in ("limit", "raised", "used", "remaining")] == [1, 1, 2, 0]
    (listed,) = (await gateway.admin.get(RAISES)).json()["data"]
    assert listed == answer.json()
    assert (listed["author"], listed["reason"], listed["amounts"]) == ("admin", "launch week", {"images": 1})
    assert listed["until"] == shown["window"]["end"]


async def test_a_raise_ends_by_itself(gateway: Gateway) -> None:
    client = await gateway.member()
    until = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    await gateway.admin.post(RAISES, json=MORE | {"until": until})
    assert (await row(client))["raised"] == 1

    await asyncio.sleep(1.1)

    assert [await asked(client), await asked(client)] == [200, 402]
    assert (await row(client))["raised"] == 0
    (listed,) = (await gateway.admin.get(RAISES)).json()["data"]
    assert listed["ended"] is None


async def test_a_raise_that_is_ended_leaves_its_audit_entry(gateway: Gateway) -> None:
    client = await gateway.member()
    granted = (await gateway.admin.post(RAISES, json=MORE)).json()
    assert [await asked(client), await asked(client)] == [200, 200]

    ended = await gateway.admin.delete(f"{RAISES}/{granted['id']}")

    assert ended.status_code == 200
    assert ended.json()["ended_by"] == "admin"
    shown = await row(client)
    assert [shown[name] for name in ("limit", "raised", "used", "remaining")] == [1, 0, 2, 0]
    assert [one["ended_by"] for one in (await gateway.admin.get(RAISES)).json()["data"]] == ["admin"]
    assert (await gateway.admin.delete(f"{RAISES}/unknown")).status_code == 404


async def test_a_reset_gives_back_what_was_used_and_changes_no_account(gateway: Gateway) -> None:
    client = await gateway.member()
    assert [await asked(client), await asked(client)] == [200, 402]

    answer = await gateway.admin.post(RAISES, json=DESIGN | {"reset": True})

    assert (answer.json()["kind"], answer.json()["amounts"]) == ("reset", {"images": 1})
    assert [await asked(client), await asked(client)] == [200, 402]
    assert (await row(client))["used"] == 2


async def test_a_reset_gives_back_nothing_twice_and_ends_with_the_window(gateway: Gateway) -> None:
    client = await gateway.member()
    assert [await asked(client), await asked(client)] == [200, 402]
    late = (datetime.now(UTC) + timedelta(days=300)).isoformat()
    reset = DESIGN | {"reset": True, "until": late}

    first, second = [(await gateway.admin.post(RAISES, json=reset)).json() for _ in range(2)]
    assert [await asked(client), await asked(client)] == [200, 402]
    third = (await gateway.admin.post(RAISES, json=reset)).json()
    assert [await asked(client), await asked(client)] == [200, 402]

    assert [one["amounts"]["images"] for one in (first, second, third)] == [1, 0, 1]
    assert first["until"] == (await row(client))["window"]["end"]
    await gateway.admin.delete(f"{RAISES}/{third['id']}")
    again = (await gateway.admin.post(RAISES, json=reset)).json()
    assert again["amounts"]["images"] == 2, "what was taken back may be given back again"


async def test_of_resets_at_once_one_takes_effect(gateway: Gateway) -> None:
    client = await gateway.member()
    assert [await asked(client), await asked(client)] == [200, 402]
    reset = DESIGN | {"reset": True}

    await asyncio.gather(*(gateway.admin.post(RAISES, json=reset) for _ in range(10)))

    assert (await row(client))["raised"] == 1
    assert sum(one["amounts"]["images"] for one in (await gateway.admin.get(RAISES)).json()["data"]) == 1


async def test_an_unknown_budget_is_told_which_there_are(gateway: Gateway) -> None:
    answer = await gateway.admin.post(RAISES, json=MORE | {"policy": "design-moth"})

    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "There is no such budget. There are: design-month."


async def test_nobody_raises_a_limit_that_its_own_requests_count_against(gateway: Gateway) -> None:
    for role in ("member", "service", "team_admin"):
        client = await gateway.member(role=role)
        assert (await client.post(RAISES, json=MORE)).status_code == 403
        assert (await client.get(RAISES)).status_code == 403
        assert (await client.delete(f"{RAISES}/any")).status_code == 403
    own = await gateway.member(role="org_admin")
    assert (await own.post(RAISES, json=MORE)).status_code == 403

    elsewhere = await gateway.member(role="org_admin", team="finance")
    stranger = await gateway.member(role="org_admin", org="other")

    assert (await elsewhere.post(RAISES, json=MORE)).status_code == 201
    assert (await stranger.post(RAISES, json=MORE)).status_code == 403
    assert (await stranger.get(RAISES)).json() == {"data": []}
    (granted,) = (await elsewhere.get(RAISES)).json()["data"]
    assert (await stranger.delete(f"{RAISES}/{granted['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"policy": "nothing"}, 404),
        ({"scope": {}}, 400),
        ({"scope": {"user": "ada"}}, 400),
        ({"amounts": {"images": "5 kg"}}, 400),
        ({"amounts": {"carbon": "5 kg"}}, 400),
        ({"amounts": {"images": 0}}, 400),
        ({"amounts": {}}, 400),
        ({"until": "tomorrow"}, 400),
        ({"until": "2026-01-01T00:00:00Z"}, 400),
        ({"until": "2126-01-01T00:00:00Z"}, 400),
        ({"reason": " "}, 400),
        ({"amount": {"images": 5}}, 400),
    ],
)
async def test_a_raise_that_makes_no_sense_is_refused(
    gateway: Gateway, change: dict[str, Any], status: int
) -> None:
    assert (await gateway.admin.post(RAISES, json=MORE | change)).status_code == status
    assert (await gateway.admin.get(RAISES)).json() == {"data": []}


async def test_a_raise_outlives_a_restart_and_reaches_other_gateways(tmp_path: Path, redis_url: str) -> None:
    budgets = [budget(limits={"images": 0})]
    async with (
        gateway_running(tmp_path, redis_url, budgets=budgets) as first,
        gateway_running(tmp_path, redis_url, budgets=budgets) as second,
    ):
        client = await second.member()
        await first.admin.post(RAISES, json=MORE)
        async with asyncio.timeout(20):
            while (await row(client))["raised"] == 0:
                await asyncio.sleep(0.02)
        assert await asked(client) == 200
    async with gateway_running(tmp_path, redis_url, budgets=budgets) as again:
        assert (await row(await again.member()))["raised"] == 1


async def test_a_reset_of_a_rolling_window_ends_part_by_part(tmp_path: Path, redis_url: str) -> None:
    day = budget("day", limits={"images": 2}, window={"kind": "rolling", "every": "24h"})
    async with gateway_running(tmp_path, redis_url, budgets=[day]) as gateway:
        client = await gateway.member()
        for _ in range(2):
            assert (await client.post(GENERATIONS, json=ASK)).status_code == 200
        refused = await client.post(GENERATIONS, json=ASK)

        reset = {
            "policy": "day",
            "scope": {"team": "design"},
            "reason": "a mistake",
            "reset": True,
            "org": "acme",
        }
        granted = (await gateway.admin.post("/eco/v1/raises", json=reset)).json()

        assert (await client.post(GENERATIONS, json=ASK)).status_code == 200
        found = await row(client)
    eco = refused.json()["error"]["eco"]
    assert eco["window"]["kind"] == found["window"]["kind"] == "rolling"
    assert found["window"]["every"] == "24h"
    hours = (datetime.fromisoformat(eco["resets_at"]) - datetime.now(UTC)).total_seconds() / 3600
    assert 23.9 < hours <= 25
    assert int(refused.headers["retry-after"]) / 3600 == pytest.approx(hours, abs=0.1)
    assert granted["until"] == eco["resets_at"].replace("+00:00", "Z")
    assert (found["limit"], found["raised"], found["used"], found["remaining"]) == (2, 2, 3, 1)
