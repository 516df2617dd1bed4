"""`ecogate policies replay` on a real usage history."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest

from gateway.store.sql import open_database
from gateway.usage.journal import JournalConsumer
from tests.cli.commands import ecogate
from tests.usage.journals import append, record, refuse

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis

BUDGETS = """
budgets:
  - name: team-in-all
    per: [team]
    limits: {images: 5}
    window: {kind: fixed, from: 2020-01-01, to: 2060-01-01}
"""
HOUR_MS = 3_600_000


@pytest.fixture
async def past(tmp_path: Path, redis: Redis) -> Path:
    """A data directory with three requests of design, one of film and a refused one, an hour apart each."""
    now_ms = int(time.time() * 1000)
    for number, team in enumerate(["design", "design", "design", "film"]):
        await append(redis, record(id=f"req_{number}", team=team), at=now_ms - (9 - number) * HOUR_MS)
    given_back = record(id="req_back", outcome="not_started", images=0)
    await append(redis, given_back, kind="release", at=now_ms, central="0 0 0 0 0 0", high="0 0 0 0 0 0")
    no = record(id="req_no", team="film", decision="deny", outcome="refused", images_requested=2)
    await refuse(redis, no, at_ms=now_ms - HOUR_MS)
    database = await open_database(None, tmp_path / "data")
    await JournalConsumer(redis, database).drain_once()
    await database.close()
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "budgets.yaml").write_text(BUDGETS)
    return tmp_path


async def replay(folder: Path, *words: str) -> tuple[int, str]:
    where = ("--policies", str(folder / "policies"), "--data-dir", str(folder / "data"))
    result = await asyncio.to_thread(ecogate, "policies", "replay", *where, *words)
    return result.exit_code, result.stdout + result.stderr


async def test_a_folder_without_a_usage_history_is_told_and_left_as_it_is(past: Path) -> None:
    where = ("--policies", str(past / "policies"), "--data-dir", str(past / "other"))

    result = await asyncio.to_thread(ecogate, "policies", "replay", *where)

    assert result.exit_code == 2
    assert f"cannot be read: there is none in {past / 'other'}" in result.stderr
    assert not (past / "other").exists()


async def test_a_replay_tells_who_would_have_been_refused_and_what_it_cannot_know(past: Path) -> None:
    code, text = await replay(past)
    _, as_json = await replay(past, "--json", "--since", "30d")

    assert code == 0
    assert "5 requests from" in text
    assert "4 admitted, 1 refused (1 of them were admitted then)" in text
    assert "1 that were refused then would be admitted" in text
    assert "1 more were given back" in text
    assert "team-in-all [enforce]: 4 admitted, 1 refused, first at " in text
    assert "  org acme, team design: 2 admitted, 1 refused" in text
    assert "Not known:\n  - what requests in progress held" in text
    report = json.loads(as_json)
    assert (report["newly_refused"], report["newly_admitted"], report["not_charged"]) == (1, 1, 1)
    (line,) = report["budgets"]
    assert line["peak_share"] == {"images": 0.8}
    assert [one["scope"]["team"] for one in line["top"]] == ["design", "film"]


async def test_a_replay_may_begin_later_and_be_of_one_org(past: Path) -> None:
    _, later = await replay(past, "--since", "7h", "--json")
    _, other = await replay(past, "--org", "globex", "--json", "--top", "0")

    assert json.loads(later)["requests"] == 2
    assert (json.loads(other)["requests"], json.loads(other)["budgets"][0]["top"]) == (0, [])


@pytest.mark.parametrize("since", ["yesterday", "0d", "2026-01-01", "30"])
async def test_a_beginning_that_nobody_understands_is_a_mistake(past: Path, since: str) -> None:
    code, text = await replay(past, "--since", since)

    assert (code, "--since" in text) == (2, True)


async def test_a_mistake_in_the_budgets_is_told_with_its_place(past: Path) -> None:
    (past / "policies" / "budgets.yaml").write_text("budgets: 1\n")

    code, text = await replay(past)

    assert (code, "budgets.yaml:1:10: budgets: must be a list" in text) == (2, True)


async def test_a_replay_counts_requests_where_they_were_made_or_would_have_been_asked_for_first(
    past: Path, redis: Redis
) -> None:
    per_deployment = BUDGETS.replace("per: [team]", "per: [deployment]")
    (past / "policies" / "budgets.yaml").write_text(per_deployment)
    now_ms = int(time.time() * 1000)
    there = record(id="req_there", deployment="elsewhere")
    await append(redis, there, at=now_ms - HOUR_MS)
    candidates = [{"deployment": "elsewhere"}, {"deployment": "other"}]
    nowhere = record(
        id="req_nowhere", deployment=None, decision="deny", outcome="refused", candidates=candidates
    )
    await refuse(redis, nowhere, at_ms=now_ms - HOUR_MS // 2)
    database = await open_database(None, past / "data")
    await JournalConsumer(redis, database).drain_once()
    await database.close()

    _, as_json = await replay(past, "--json")

    (line,) = json.loads(as_json)["budgets"]
    counted = {one["scope"]["deployment"]: one["admitted"] for one in line["top"]}
    assert counted["elsewhere"] == 2
