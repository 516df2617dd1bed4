"""What a request costs in money: by declared price, by what an answer states, or unknown."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.demo.standin import StandInSettings
from tests.lifecycle.reading import budgets_of, recorded
from tests.running import GENERATIONS, MODEL, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a fox", "size": "512x512"}
COSTLY = budget(limits={"cost": "0.10 USD"})
ONE_ZONE = {"SE": StandInSettings(zone="SE")}


async def test_a_priced_request_counts_its_cost_everywhere(tmp_path: Path, redis_url: str) -> None:
    price = {"price": {"usd_per_image": 0.03}}
    async with gateway_running(
        tmp_path, redis_url, budgets=[COSTLY], zones=ONE_ZONE, deployment=price
    ) as gateway:
        client = await gateway.member()

        estimate = (await client.post("/eco/v1/estimate", json=ASK | {"n": 2})).json()
        answer = await client.post(GENERATIONS, json=ASK | {"n": 2})
        refused = await client.post(GENERATIONS, json=ASK | {"n": 2})

        assert answer.status_code == 200, answer.text
        record = await recorded(client, answer.headers["x-request-id"])
        cost = (await budgets_of(client))["cost"]
        usage = (await client.get("/eco/v1/usage?window=total")).json()["data"][0]
        sheet = (await client.get("/eco/v1/usage?window=total", headers={"accept": "text/csv"})).text
    assert estimate["hold"]["central"]["cost_usd"] == 0.06
    assert estimate["policies"][0]["remaining"] == {"cost_usd": 0.1}
    assert answer.headers["ecogate-budget-remaining"] == "design-month;cost=0.04"
    assert record["charge"]["cost_usd"] == record["entries"][0]["high"]["cost_usd"] == 0.06
    assert (cost["used"], cost["remaining"], cost["unit"], cost["unpriced"]) == (0.06, 0.04, "USD", 0)
    assert (usage["cost_usd"], usage["unpriced_requests"]) == (0.06, 0)
    assert (
        dict(zip(*(line.split(",") for line in sheet.split("\r\n")[:2]), strict=True))["cost_usd"] == "0.06"
    )
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["eco"]["dimension"]) == (
        402,
        "eco_budget_exceeded",
        "cost",
    )
    assert "needs 0.06 USD" in error["message"]
    assert error["eco"]["alternatives"][0]["requested"]["cost_usd"] == 0.03


async def test_a_deployment_without_a_price_serves_nothing_that_a_cost_budget_counts(
    tmp_path: Path, redis_url: str
) -> None:
    budgets = [budget("film-cost", match={"team": ["film"]}, limits={"cost": "9 USD"}), budget()]
    async with gateway_running(tmp_path, redis_url, budgets=budgets, zones=ONE_ZONE) as gateway:
        film, design = await gateway.member(team="film"), await gateway.member()

        refused = await film.post(GENERATIONS, json=ASK)
        served = await design.post(GENERATIONS, json=ASK)

        record = await recorded(design, served.headers["x-request-id"])
        usage = (await design.get("/eco/v1/usage?window=total")).json()["data"][0]
        assert len(gateway.generations()) == 1
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (503, "no_route")
    assert "a budget limits cost, and the deployment's price is not given" in error["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert served.status_code == 200
    assert record["charge"]["cost_usd"] is None
    assert (usage["cost_usd"], usage["unpriced_requests"]) == (None, 1)


async def test_a_priced_deployment_serves_where_a_cleaner_one_has_no_price(
    tmp_path: Path, redis_url: str
) -> None:
    zones = {"SE": StandInSettings(zone="SE"), "PL": StandInSettings(zone="PL")}
    async with gateway_running(tmp_path, redis_url, budgets=[COSTLY], zones=zones) as gateway:
        file = tmp_path / "deployments.yaml"
        text = file.read_text().replace("id: flux-pl", "id: flux-pl\n  price: {usd_per_image: 0.02}")
        file.write_text(text)
        client = await gateway.member()
        while (estimate := (await client.post("/eco/v1/estimate", json=ASK)).json()).get("error"):
            await asyncio.sleep(0.1)

        answer = await client.post(GENERATIONS, json=ASK)

    assert answer.headers["ecogate-deployment"] == estimate["deployment"] == "flux-pl"
    assert [one["reason"] for one in estimate["candidates"] if not one["usable"]] == [
        "a budget limits cost, and the deployment's price is not given"
    ]


async def test_a_budget_in_shadow_notes_an_unknown_cost_and_lets_pass(tmp_path: Path, redis_url: str) -> None:
    shadow = budget(limits={"cost": "1 USD"}, mode="shadow")
    async with gateway_running(tmp_path, redis_url, budgets=[shadow], zones=ONE_ZONE) as gateway:
        client = await gateway.member()

        answer = await client.post(GENERATIONS, json=ASK)

        record = await recorded(client, answer.headers["x-request-id"])
        cost = (await budgets_of(client))["cost"]
    assert record["policies"][0]["exceeded"] == {"cost": "eco_cost_unknown"}
    assert (cost["used"], cost["remaining"], cost["unpriced"], cost["limit"]) == (None, None, 1, 1)


@pytest.mark.parametrize("price", [None, 0.5])
async def test_an_answer_that_states_its_cost_is_settled_at_that(
    tmp_path: Path, redis_url: str, price: float | None
) -> None:
    zones = {"SE": StandInSettings(zone="SE", usage="ticks")}
    deployment = {"dialect": "xai", "price": {"usd_per_image": price} if price else {}}
    async with gateway_running(tmp_path, redis_url, zones=zones, deployment=deployment) as gateway:
        client = await gateway.member()

        answer = await client.post(GENERATIONS, json=ASK | {"n": 2})

        record = await recorded(client, answer.headers["x-request-id"])
    assert record["charge"]["cost_usd"] == 0.04


async def test_what_is_unlimited_is_counted_and_shown_and_refuses_nothing(
    tmp_path: Path, redis_url: str
) -> None:
    counted = budget(limits={"images": "unlimited", "cost": "unlimited", "energy": "1 kWh"})
    async with gateway_running(tmp_path, redis_url, budgets=[counted], zones=ONE_ZONE) as gateway:
        client = await gateway.member()

        answer = await client.post(GENERATIONS, json=ASK | {"n": 2})

        rows = await budgets_of(client)
        raising = {"policy": "design-month", "scope": {"team": "design"}, "reason": "why", "org": "acme"}
        raised = await gateway.admin.post("/eco/v1/raises", json=raising | {"amounts": {"images": 1}})
    assert answer.status_code == 200, answer.text
    assert answer.headers["ecogate-budget-remaining"].startswith("design-month;energy=")
    images, cost = rows["images"], rows["cost"]
    assert (images["limit"], images["unlimited"], images["used"], images["remaining"]) == (
        None,
        True,
        2,
        None,
    )
    assert (cost["limit"], cost["unlimited"], cost["used"], cost["unpriced"]) == (None, True, None, 1)
    assert (rows["energy"]["limit"], rows["energy"]["unlimited"]) == (1000, False)
    assert (raised.status_code, raised.json()["error"]["param"]) == (400, "amounts")
