"""`ecogate ledger`, on the data directory of a gateway that has stopped, and beside one that runs."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gateway.budgets.raises import IN_FORCE
from tests.cli.commands import ecogate
from tests.running import GENERATIONS, MODEL, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis


async def test_a_ledger_in_order_is_exact_and_a_changed_counter_is_shown(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    stores = {"ECOGATE_REDIS_URL": redis_url}
    words = ("ledger", "verify", "--data-dir", str(tmp_path / "data"))
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        client = await gateway.member()
        await client.post(GENERATIONS, json={"model": MODEL, "prompt": "a cat", "n": 2, "size": "64x64"})

        exact = await asyncio.to_thread(ecogate, *words, **stores)
        assert exact.exit_code == 0, exact.output
        assert exact.stdout.startswith("acme: exact (1 counters")

        [key] = [key async for key in redis.scan_iter("eg:{acme}:c:design-month:*")]
        await redis.hincrby(key, "s4", 1)
        wrong = await asyncio.to_thread(ecogate, *words, "--json", **stores)

    told = json.loads(wrong.stdout)
    assert wrong.exit_code == 1
    assert told["exact"] is False
    [difference] = told["data"][0]["differences"]
    assert difference["stored"] - difference["expected"] == 1


async def test_a_raise_that_the_store_lost_is_told(tmp_path: Path, redis_url: str, redis: Redis) -> None:
    stores = {"ECOGATE_REDIS_URL": redis_url}
    words = ("ledger", "verify", "--data-dir", str(tmp_path / "data"))
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        await (await gateway.member()).get("/eco/v1/budgets")
        body = {
            "org": "acme",
            "policy": "design-month",
            "scope": {"team": "design"},
            "amounts": {"images": 3},
            "until": (datetime.now(UTC) + timedelta(days=3)).isoformat(),
            "reason": "launch week",
        }
        granted = await gateway.admin.post("/eco/v1/raises", json=body)
        assert granted.status_code == 201, granted.text
        exact = await asyncio.to_thread(ecogate, *words, "--json", **stores)
        await redis.delete(IN_FORCE)
        wrong = await asyncio.to_thread(ecogate, *words, **stores)
        listed = await asyncio.to_thread(ecogate, *words, "--json", **stores)

    (before,), (after,) = json.loads(exact.stdout)["data"], json.loads(listed.stdout)["data"]
    assert (exact.exit_code, before["raises"], before["raise_differences"]) == (0, 1, [])
    named = granted.json()["id"]
    assert wrong.exit_code == 1
    assert f"raise {named} of design-month is missing" in wrong.stdout
    assert after["raise_differences"] == [{"raise": named, "policy": "design-month", "what": "missing"}]


def test_a_store_that_does_not_answer_is_told(tmp_path: Path) -> None:
    result = ecogate(
        *("ledger", "verify", "--data-dir", str(tmp_path)), ECOGATE_REDIS_URL="redis://127.0.0.1:9/0"
    )

    assert result.exit_code == 2
    assert "cannot be compared" in result.stderr
