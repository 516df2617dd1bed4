"""The example policies that we publish, each in front of a real request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.budgets.policy import load_policies
from tests.running import GENERATIONS, MODEL, gateway_running

EXAMPLES = sorted([*Path("docs/policies").glob("*.yaml"), *Path("policies").glob("*.yaml")])
ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "512x512"}


def test_all_examples_can_stand_in_one_folder() -> None:
    names = [budget.name for budget in load_policies(Path("docs/policies")).budgets]

    assert len(names) == len(set(names)) > 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
async def test_an_example_counts_what_it_says_and_refuses_at_its_limit(
    path: Path, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECO_HOOK_SECRET", "a secret only of this test".replace(" ", "-"))
    document = yaml.safe_load(path.read_text())
    budgets = [
        {"timezone": document["timezone"], **one, "window": _now(one["window"]), **_here(one)}
        for one in document["budgets"]
    ]
    async with gateway_running(tmp_path, redis_url, budgets=budgets) as gateway:
        client = await gateway.member(role="org_admin", labels={"project": "launch"})
        answer = await client.post(GENERATIONS, json=ASK)
        rows = (await client.get("/eco/v1/budgets")).json()["data"]

    assert answer.status_code == 200, answer.text
    assert {row["policy"] for row in rows} == {one["name"] for one in budgets}
    assert all(row["used"] > 0 for row in rows)
    assert all(row["used"] + row["remaining"] == pytest.approx(row["limit"]) for row in rows)

    tight = [one | {"limits": _nothing(one["limits"])} for one in budgets]
    async with gateway_running(tmp_path, redis_url, budgets=tight) as gateway:
        client = await gateway.member(team="other", user="bob", org="other", labels={"project": "launch"})
        answer = await client.post(GENERATIONS, json=ASK)

    enforced = any(one.get("mode", "enforce") == "enforce" for one in budgets)
    assert answer.status_code == (402 if enforced else 200)


def _now(window: dict[str, Any]) -> dict[str, Any]:
    """A campaign with its dates moved so that it is on."""
    if window["kind"] != "fixed":
        return window
    today = datetime.now(UTC).date()
    dates = {"from": today - timedelta(days=2), "to": today + timedelta(days=2)}
    return window | {name: day.isoformat() for name, day in dates.items()}


def _here(one: dict[str, Any]) -> dict[str, Any]:
    """Its webhooks on this machine, where nobody listens."""
    alerts = [alert | {"webhook": "http://127.0.0.1:9/"} for alert in one.get("alerts", ())]
    return {"alerts": alerts} if alerts else {}


def _nothing(limits: dict[str, Any]) -> dict[str, Any]:
    zeros = {"energy": "0 kWh", "water": "0 L", "carbon": "0 kg", "images": 0}
    return {name: zeros[name] for name in limits}
