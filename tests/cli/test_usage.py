"""`ecogate usage` at a running gateway."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from tests.cli.commands import ecogate
from tests.lifecycle.reading import recorded
from tests.running import GENERATIONS, MODEL, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = "http://127.0.0.1:9"


async def test_usage_is_shown_as_a_table_and_as_json(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        key = await gateway.key()
        client = await gateway.http(key)
        made = await client.post(
            GENERATIONS, json={"model": MODEL, "prompt": "a cat", "n": 2, "size": "64x64"}
        )
        await recorded(client, made.headers["x-request-id"])
        words = ("usage", "--key", key, "--url", gateway.url, "--window", "total", "--group-by", "team,zone")

        table = await asyncio.to_thread(ecogate, *words, COLUMNS="80")
        shown = await asyncio.to_thread(ecogate, *words, "--json")

        (row,) = json.loads(shown.stdout)["data"]
        assert row["group"] == {"team": "design", "zone": "SE"}
        assert (row["requests"], row["images"]) == (1, 2)
        for text in ("design", "SE", "Wh", f"{row['energy_wh']:,.4g}", row["start"][:10]):
            assert text in table.stdout
        assert "…" not in table.stdout


async def test_what_the_gateway_refuses_is_told_in_its_words(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        key = await gateway.key()
        at = ("--url", gateway.url)

        stranger = await asyncio.to_thread(ecogate, "usage", "--key", "egk_nobody", *at)
        mistaken = await asyncio.to_thread(ecogate, "usage", "--key", key, *at, "--window", "fortnight")

    assert (stranger.exit_code, mistaken.exit_code) == (1, 1)
    assert "key" in stranger.stderr
    assert "'window' must be one of" in mistaken.stderr


def test_a_gateway_that_does_not_answer_is_told() -> None:
    result = ecogate("usage", ECOGATE_KEY="egk_x", ECOGATE_URL=NOBODY)

    assert result.exit_code == 1
    assert f"The gateway at {NOBODY} did not answer" in result.stderr


def test_a_key_is_needed() -> None:
    assert ecogate("usage").exit_code == 2
