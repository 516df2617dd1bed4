"""Shadow, warn, enforce: the same verdicts in the log, told to more and more people."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.running import GENERATIONS, MODEL, Gateway, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}


async def recorded(gateway: Gateway, answers: list[httpx.Response]) -> list[dict[str, Any]]:
    """The records of these requests, as soon as the journal has them."""
    records = []
    for answer in answers:
        url = f"/eco/v1/requests/{answer.headers['x-request-id']}"
        async with asyncio.timeout(10):
            while (found := await gateway.admin.get(url)).status_code == 404:
                await asyncio.sleep(0.05)
        records.append(found.json())
    return records


async def answers_in(
    tmp_path: Path, redis_url: str, mode: str
) -> tuple[list[httpx.Response], list[dict[str, Any]], str, set[str]]:
    async with gateway_running(
        tmp_path, redis_url, budgets=[budget(limits={"images": 2}, mode=mode)]
    ) as gateway:
        client = await gateway.member()
        answers = [await client.post(GENERATIONS, json=ASK) for _ in range(4)]
        records = await recorded(gateway, answers)
        metrics = (await gateway.admin.get("/metrics")).text
    spans = {
        str(span.attributes.get("ecogate.would_refuse"))
        for span in gateway.span_tree()
        if span.name == "budget.reserve" and span.attributes is not None
    }
    return answers, records, metrics, spans


@pytest.mark.parametrize("mode", ["shadow", "warn", "enforce"])
async def test_the_same_traffic_gives_the_same_verdicts_in_every_mode(
    tmp_path: Path, redis_url: str, mode: str
) -> None:
    answers, records, metrics, spans = await answers_in(tmp_path, redis_url, mode)

    log = [record["policies"][0] for record in records]
    assert [line["mode"] for line in log] == [mode] * 4
    assert [line["verdict"] for line in log] == ["admit", "admit", "deny", "deny"]
    assert [line.get("exceeded") for line in log[2:]] == [{"images": "eco_budget_exceeded"}] * 2
    decisions = {"shadow": "allow", "warn": "warn", "enforce": "deny"}
    assert [record["decision"] for record in records] == ["allow", "allow", *[decisions[mode]] * 2]
    statuses = [answer.status_code for answer in answers]
    if mode == "enforce":
        assert statuses == [200, 200, 402, 402]
    else:
        assert statuses == [200] * 4
        assert f'ecogate_unenforced_total{{mode="{mode}",route="images.generate"}} 2.0' in metrics
        assert str(("design-month",)) in spans


async def test_only_a_budget_that_warns_tells_the_client(tmp_path: Path, redis_url: str) -> None:
    budgets = [
        budget("quiet", limits={"images": 0}, mode="shadow"),
        budget("loud", limits={"images": 1}, mode="warn"),
    ]
    async with gateway_running(tmp_path, redis_url, budgets=budgets) as gateway:
        client = await gateway.member()
        first, second = [await client.post(GENERATIONS, json=ASK) for _ in range(2)]
        rows = (await client.get("/eco/v1/budgets")).json()["data"]

    assert "ecogate-warning" not in first.headers
    assert (first.headers["ecogate-decision"], second.headers["ecogate-decision"]) == ("allow", "warn")
    assert second.headers["ecogate-warning"].startswith(
        "Not enforced: This request needs 1 image, and budget 'loud' (team design) has 0 images left of 1"
    )
    assert second.headers["ecogate-budget-remaining"] == "loud;images=0"
    assert {row["policy"]: (row["used"], row["limit"], row["remaining"]) for row in rows} == {
        "quiet": (2, 0, 0),
        "loud": (2, 1, 0),
    }


async def test_a_budget_that_warns_hides_amounts_from_those_who_may_not_see_them(
    tmp_path: Path, redis_url: str
) -> None:
    everyone = budget("everyone", per=[], limits={"images": 0}, mode="warn", warn_at=["10%"])
    async with gateway_running(tmp_path, redis_url, budgets=[everyone]) as gateway:
        answer = await (await gateway.member()).post(GENERATIONS, json=ASK)

    assert answer.headers["ecogate-warning"] == (
        "Not enforced: This request needs 1 image, more than budget 'everyone' allows per month."
    )


async def test_thresholds_are_told_from_the_request_that_passes_them(tmp_path: Path, redis_url: str) -> None:
    team = budget(limits={"images": 4}, warn_at=["80%", "50%"])
    async with gateway_running(tmp_path, redis_url, budgets=[team]) as gateway:
        client = await gateway.member()
        answers = [await client.post(GENERATIONS, json=ASK) for _ in range(4)]
        refused = await client.post(GENERATIONS, json=ASK)

    assert [answer.headers.get("ecogate-warning") for answer in answers] == [
        None,
        "Budget 'design-month' (team design) is past 50% of its images.",
        "Budget 'design-month' (team design) is past 50% of its images.",
        "Budget 'design-month' (team design) is past 80% of its images.",
    ]
    assert {answer.headers["ecogate-decision"] for answer in answers} == {"allow"}
    assert refused.status_code == 402


async def test_a_dry_run_agrees_that_a_budget_in_shadow_admits(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(
        tmp_path, redis_url, budgets=[budget(limits={"images": 0}, mode="shadow")]
    ) as gateway:
        answer = await (await gateway.member()).post("/eco/v1/estimate", json=ASK)

    assert answer.json()["verdict"] == "admit"
