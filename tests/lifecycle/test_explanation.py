"""What budgets say to one request in a dry run: what the ledger would say, to those who may read it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.running import GENERATIONS, MODEL, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}
ESTIMATE = "/eco/v1/estimate"


async def test_each_budget_has_its_own_verdict_whatever_its_mode(tmp_path: Path, redis_url: str) -> None:
    budgets = [
        budget("tight", limits={"images": 1}, mode="shadow"),
        budget("wide", limits={"images": 9}, bound="high"),
        budget("dry", limits={"water": "1 m3"}, window={"kind": "calendar", "every": "week"}),
    ]
    async with gateway_running(tmp_path, redis_url, budgets=budgets) as gateway:
        client = await gateway.member()
        dry = (await client.post(ESTIMATE, json=ASK | {"n": 2})).json()

    assert dry["verdict"] == "admit"
    tight, wide, water = dry["policies"]
    assert (tight["verdict"], tight["because"]) == ("deny", ["images: the request alone is over the limit"])
    assert (wide["verdict"], wide["because"]) == ("admit", ["there is room in every dimension"])
    assert water["window"].items() >= {"kind": "calendar", "every": "week", "timezone": "UTC"}.items()
    (row,) = water["limits"]
    assert row["requested"] == pytest.approx(dry["hold"]["central"]["water_ml"])
    assert (row["used"], row["held"], row["remaining"], row["limit"]) == (0, 0, 1_000_000, 1_000_000)
    assert water["remaining"] == {"water_ml": 1_000_000}


async def test_a_rolling_window_is_explained_by_all_that_counts_in_it(tmp_path: Path, redis_url: str) -> None:
    rolling = budget(limits={"images": 3}, window={"kind": "rolling", "every": "24h"})
    async with gateway_running(tmp_path, redis_url, budgets=[rolling]) as gateway:
        client = await gateway.member()
        assert (await client.post(GENERATIONS, json=ASK | {"n": 2})).status_code == 200
        (line,) = (await client.post(ESTIMATE, json=ASK | {"n": 2})).json()["policies"]

    start, end = (datetime.fromisoformat(line["window"][name]) for name in ("start", "end"))
    assert (end - start, start < datetime.now(UTC) < end) == (timedelta(hours=25), True)
    assert (line["verdict"], line["limits"][0]["used"], line["remaining"]) == ("deny", 2, {"images": 1})


async def test_amounts_are_for_those_who_may_see_them_and_verdicts_for_whom_they_concern(
    tmp_path: Path, redis_url: str
) -> None:
    everyone = budget("everyone", per=[], limits={"images": 1})
    async with gateway_running(tmp_path, redis_url, budgets=[everyone]) as gateway:
        member, owner = await gateway.member(), await gateway.member(role="org_admin")
        (hidden,) = (await member.post(ESTIMATE, json=ASK | {"n": 2})).json()["policies"]
        (shown,) = (await owner.post(ESTIMATE, json=ASK | {"n": 2})).json()["policies"]

    assert hidden["verdict"] == shown["verdict"] == "deny"
    assert "limits" not in hidden
    assert "remaining" not in hidden
    assert shown["limits"][0]["limit"] == 1


@pytest.mark.parametrize(
    ("role", "whose", "status"),
    [
        ("member", {"team": "design"}, 403),
        ("service", {"user": "ada"}, 403),
        ("team_admin", {"team": "design", "user": "bob"}, 200),
        ("team_admin", {"team": "film"}, 403),
        ("team_admin", {"user": "bob"}, 403),
        ("org_admin", {"team": "film"}, 200),
        ("org_admin", {"org": "globex", "team": "film"}, 403),
        ("org_admin", {"label": "project"}, 400),
        ("org_admin", {"team": "not a name"}, 400),
        ("org_admin", {"key": "key_unknown"}, 404),
    ],
)
async def test_only_administrators_ask_for_others_and_only_within_their_reach(
    tmp_path: Path, redis_url: str, role: str, whose: dict[str, str], status: int
) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        client = await gateway.member(role=role)
        answer = await client.post(ESTIMATE, json=ASK, params=whose)

    assert answer.status_code == status, answer.text


async def test_a_key_of_another_org_does_not_exist_for_an_administrator(
    tmp_path: Path, redis_url: str
) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        other = (await gateway.admin.post("/eco/v1/keys", json={"org": "globex", "team": "t"})).json()
        own = (await gateway.admin.post("/eco/v1/keys", json={"org": "acme", "team": "t"})).json()
        client = await gateway.member(role="org_admin")
        answers = await asyncio.gather(
            *(client.post(ESTIMATE, json=ASK, params={"key": one["id"]}) for one in (other, own))
        )

    assert [answer.status_code for answer in answers] == [404, 200]


async def test_what_an_administrator_hears_of_a_key_is_what_its_requests_get(
    tmp_path: Path, redis_url: str
) -> None:
    labelled = budget(
        "launch", match={"label.project": "launch"}, per=["label.project"], limits={"images": 1}
    )
    async with gateway_running(tmp_path, redis_url, budgets=[labelled]) as gateway:
        client = await gateway.member(labels={"project": "launch"})
        owner = await gateway.member(role="org_admin")
        asked = {"team": "design", "label": "project=launch"}
        before = (await owner.post(ESTIMATE, json=ASK, params=asked)).json()
        sent = await client.post(GENERATIONS, json=ASK)
        after = (await owner.post(ESTIMATE, json=ASK, params=asked)).json()
        refused = await client.post(GENERATIONS, json=ASK)

    assert (before["verdict"], sent.status_code) == ("admit", 200)
    assert (after["verdict"], refused.status_code) == ("deny", 402)
