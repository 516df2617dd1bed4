"""`ecogate raises` at a running gateway."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from tests.cli.commands import ecogate
from tests.running import ADMIN_KEY, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_raise_is_made_listed_and_ended(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits={"images": 1})]) as gateway:
        at = ("--key", ADMIN_KEY, "--url", gateway.url)
        design = ("--policy", "design-month", "--scope", "team=design", "--reason", "launch")

        made = await asyncio.to_thread(
            ecogate, "raises", "create", *at, *design, "--amount", "images=5", "--json"
        )
        granted = json.loads(made.stdout)
        listed = await asyncio.to_thread(ecogate, "raises", "list", *at)
        ended = await asyncio.to_thread(ecogate, "raises", "end", granted["id"], *at)
        as_json = await asyncio.to_thread(ecogate, "raises", "list", *at, "--json")
        wrong = await asyncio.to_thread(ecogate, "raises", "create", *at, *design, "--amount", "carbon=1 kg")

    assert granted["amounts"] == {"images": 5}
    assert "design-month (team design)  images +5  until" in listed.stdout
    assert "admin: launch" in listed.stdout
    assert "ended" in ended.stdout
    assert [one["id"] for one in json.loads(as_json.stdout)["data"]] == [granted["id"]]
    assert (wrong.exit_code, wrong.stderr.strip()) == (1, "The budget has no limit of carbon.")


def test_a_scope_without_a_value_and_a_gateway_that_is_away_are_mistakes() -> None:
    words = ("raises", "create", "--key", "k", "--policy", "p", "--reason", "r")

    assert ecogate(*words, "--scope", "team").exit_code == 2
    assert ecogate(*words, "--url", "http://127.0.0.1:9").exit_code == 1
