"""`ecogate keys`, beside a gateway that runs on the same data directory."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.commands import ecogate
from tests.running import gateway_running

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_key_made_here_works_at_a_running_gateway_until_it_is_revoked(
    tmp_path: Path, redis_url: str
) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    async with gateway_running(tmp_path, redis_url) as gateway:
        who = ("--org", "acme", "--team", "design", "--user", "ada", "--label", "project=spring")
        made = await asyncio.to_thread(ecogate, "keys", "create", *who, *data, "--json")
        issued = json.loads(made.stdout)
        client = await gateway.http(issued["key"])

        me = (await client.get("/eco/v1/me")).json()
        assert me["role"] == "member"
        assert me["subject"] == {
            "org": "acme",
            "team": "design",
            "user": "ada",
            "labels": {"project": "spring"},
            "key": issued["id"],
        }

        revoked = await asyncio.to_thread(ecogate, "keys", "revoke", issued["id"], *data)
        assert (revoked.exit_code, revoked.stdout) == (0, f"revoked {issued['id']}\n")
        async with asyncio.timeout(10):
            while (await client.get("/eco/v1/me")).status_code != 401:
                await asyncio.sleep(0.1)


def test_create_prints_the_key_and_nothing_else(tmp_path: Path) -> None:
    result = ecogate("keys", "create", "--data-dir", str(tmp_path))

    assert result.stdout.startswith("egk_")
    assert len(result.stdout.split()) == 1


def test_a_key_may_have_a_limit_of_its_own(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path))

    made = json.loads(ecogate("keys", "create", "--requests-per-minute", "30", *data, "--json").stdout)
    refused = ecogate("keys", "create", "--requests-per-minute", "60001", *data)
    listed = json.loads(ecogate("keys", "list", *data, "--json").stdout)["data"]

    assert made["requests_per_minute"] == 30
    assert (refused.exit_code, "between 0 (no limit) and 60000" in refused.stderr) == (1, True)
    assert [one["requests_per_minute"] for one in listed] == [30]


def test_the_list_has_revoked_keys_and_no_secret(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path))
    first, second = (
        json.loads(ecogate("keys", "create", "--team", team, *data, "--json").stdout)
        for team in ("design", "film")
    )
    ended = ecogate("keys", "revoke", first["id"], *data, "--json")
    assert json.loads(ended.stdout) == {"id": first["id"], "revoked": True}

    listed = ecogate("keys", "list", *data, "--json").stdout
    table = ecogate("keys", "list", *data).stdout

    rows = {row["id"]: row for row in json.loads(listed)["data"]}
    assert rows[first["id"]]["revoked_at"]
    assert rows[second["id"]]["revoked_at"] is None
    assert rows[second["id"]]["team"] == "film"
    for output in (listed, table):
        assert first["key"] not in output
        assert second["key"] not in output
    assert len(table.splitlines()) == 2
    assert "revoked" in table
    assert json.loads(ecogate("keys", "list", "--org", "other", *data, "--json").stdout) == {"data": []}


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("create", "--role", "boss"), 2, "--role"),
        (("create", "--label", "alone"), 2, "--label"),
        (("create", "--team", "two words"), 1, "'team' must have"),
        (("revoke", "key_nobody"), 1, "no such live key"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, words: tuple[str, ...], exit_code: int, said: str) -> None:
    result = ecogate("keys", *words, "--data-dir", str(tmp_path))

    assert result.exit_code == exit_code
    assert said in result.stderr


def test_a_database_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = ecogate("keys", "list", "--data-dir", str(tmp_path / "file"))

    assert result.exit_code == 1
    assert result.stderr
