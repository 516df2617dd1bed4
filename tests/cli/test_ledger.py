"""`ecogate ledger`, on the data directory of a gateway that has stopped, and beside one that runs."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

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


def test_a_store_that_does_not_answer_is_told(tmp_path: Path) -> None:
    result = ecogate(
        *("ledger", "verify", "--data-dir", str(tmp_path)), ECOGATE_REDIS_URL="redis://127.0.0.1:9/0"
    )

    assert result.exit_code == 2
    assert "cannot be compared" in result.stderr
