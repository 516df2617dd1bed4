"""`ecogate report` at a running gateway."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.cli.report import markdown
from tests.cli.commands import ecogate
from tests.lifecycle.reading import recorded
from tests.running import GENERATIONS, MODEL, gateway_running

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_month_is_reported_with_bounds_baselines_and_method(tmp_path: Path, redis_url: str) -> None:
    month = datetime.now(UTC).strftime("%Y-%m")
    async with gateway_running(tmp_path, redis_url) as gateway:
        key = await gateway.key()
        client = await gateway.http(key)
        made = await client.post(
            GENERATIONS, json={"model": MODEL, "prompt": "a cat", "n": 2, "size": "64x64"}
        )
        await recorded(client, made.headers["x-request-id"])
        words = ("report", "--key", key, "--url", gateway.url, "--month", month)
        file = tmp_path / "report.md"

        written = await asyncio.to_thread(ecogate, *words, "--output", str(file))
        shown = await asyncio.to_thread(ecogate, *words, "--json")
        before = await asyncio.to_thread(ecogate, *words[:-1], "1999-01")

    facts = json.loads(shown.stdout)
    text = file.read_text()
    total = facts["total"]
    assert (written.exit_code, total["images"], total["basis"]) == (0, 2, "settled")
    assert total["avoided"]["even_spread"]["known_requests"] == 1
    assert f"| Carbon | {total['carbon_g_range']['low']:,.6g} | {total['carbon_g']:,.6g} |" in text
    assert facts["method"] in text
    assert facts["by"]["zone"][0]["group"] == {"zone": "SE"}
    assert all(meaning in text for meaning in facts["baselines"].values())
    assert facts["factors"]
    assert "0 requests" in before.stdout


def test_texts_stay_in_their_cells_and_unknown_amounts_are_called_so() -> None:
    around = {f"{name}_range": {"high": 2.0} for name in ("energy_wh", "water_ml", "carbon_g")}
    row = {"requests": 1, "refused": 0, "images": 1, "energy_wh": 1.0, "water_ml": 1.0, "carbon_g": 1.0}
    avoided = {"even_spread": {"carbon_g": None, "known_requests": 0}}
    facts = {
        "month": "2026-10",
        "timezone": "UTC",
        "total": row | around | {"avoided": avoided},
        "by": {"team": [row | around | {"group": {"team": "a|<b>`"}}]},
        "budgets": [],
        "warnings": {},
        "warnings_from_latest_requests": 1,
        "factors": [],
        "units": {},
        "method": "m",
        "baselines": {"even_spread": "mean"},
    }

    text = "\n".join(markdown(facts))

    assert "| a\\|&lt;b>' | 1 |" in text
    assert "1 (unknown to 2)" in text
    assert "| even_spread | unknown | 0 of 1 |" in text


def test_a_month_that_is_none_is_refused() -> None:
    assert ecogate("report", "--key", "k", "--month", "October").exit_code == 2


def test_a_gateway_that_is_not_there_is_told() -> None:
    result = ecogate("report", "--key", "k", "--url", "http://127.0.0.1:9")

    assert result.exit_code == 1
    assert "did not answer" in result.stderr
