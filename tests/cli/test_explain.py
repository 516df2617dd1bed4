"""`ecogate explain` at a running gateway."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from tests.api.test_conversations import ASKS, running
from tests.cli.commands import ecogate
from tests.running import ADMIN_KEY, GENERATIONS, MODEL, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}
BUDGETS = [
    budget(),
    budget("total", per=[], limits={"images": 100}),
    budget("film-only", match={"team": ["film"]}, limits={"images": 1}),
]


async def test_a_request_is_explained_to_its_key_and_to_administrators(
    tmp_path: Path, redis_url: str
) -> None:
    body = tmp_path / "request.json"
    body.write_text(json.dumps(ASK | {"n": 2}))
    async with gateway_running(tmp_path, redis_url, budgets=BUDGETS) as gateway:
        made = (await gateway.admin.post("/eco/v1/keys", json={"org": "acme", "team": "design"})).json()
        client = await gateway.http(made["key"])
        for _ in range(2):
            assert (await client.post(GENERATIONS, json=ASK | {"n": 2})).status_code == 200

        def explain(*words: str) -> Any:
            return asyncio.to_thread(ecogate, "explain", "--url", gateway.url, "--body", str(body), *words)

        own = await explain("--key", made["key"])
        by_id = await explain("--as", ADMIN_KEY, "--key", made["id"], "--json")
        described = await explain("--as", ADMIN_KEY, "--org", "acme", "--team", "film", "--json")
        unknown = await explain("--as", ADMIN_KEY, "--key", "nobody")
        refused = await explain("--as", made["key"], "--team", "film")

    assert own.exit_code == 1
    assert "design-month (team design): deny in mode enforce, month from" in own.stdout
    assert "images: used and requested amounts are over the limit" in own.stdout
    assert "limit 5, raised 0, used 4, held 0, remaining 1, requested 2" in own.stdout
    assert "total: admit in mode enforce" in own.stdout
    assert "limit 100" not in own.stdout, "a member does not see what belongs to nobody"
    assert "would fit: n=1" in own.stdout
    assert "film-only" not in own.stdout

    whole = json.loads(by_id.stdout)
    assert whole["verdict"] == "deny"
    assert [(one["policy"], one["verdict"]) for one in whole["policies"]] == [
        ("design-month", "deny"),
        ("total", "admit"),
    ]
    assert whole["policies"][1]["limits"] == [
        {
            "dimension": "images",
            "unit": "images",
            "limit": 100,
            "raised": 0,
            "used": 4,
            "held": 0,
            "remaining": 96,
            "requested": 2,
        }
    ]
    film = {one["policy"]: one["because"] for one in json.loads(described.stdout)["policies"]}
    assert film["film-only"] == ["images: the request alone is over the limit"]
    assert film["design-month"] == ["there is room in every dimension"]
    assert (unknown.exit_code, unknown.stderr.strip()) == (2, "There is no such key.")
    assert (refused.exit_code, refused.stderr.strip()) == (2, "Your key's role may only ask for itself.")


async def test_a_key_that_is_not_known_is_told_with_the_gateway_that_was_asked(
    tmp_path: Path, redis_url: str
) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        words = ("explain", "--url", gateway.url, "--key", "egk_unknown", "--body", "-")
        result = await asyncio.to_thread(CliRunner().invoke, app, words, input=json.dumps(ASK))

    assert result.exit_code == 2
    assert result.stderr.strip().endswith(f"It was shown to {gateway.url}.")


async def test_a_body_may_come_by_standard_input(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        words = ("explain", "--url", gateway.url, "--key", await gateway.key(), "--body", "-")
        result = await asyncio.to_thread(CliRunner().invoke, app, words, input=json.dumps(ASK))

    assert result.exit_code == 0
    assert "no budget has a say" in result.stdout


@pytest.mark.parametrize(("kind", "requested"), [("responses", 1), ("chat", 4)], ids=["a response", "a chat"])
async def test_a_conversation_is_explained_by_what_it_can_cause(
    tmp_path: Path, redis_url: str, kind: str, requested: int
) -> None:
    deployment, _, asked = ASKS[kind]
    body = tmp_path / "request.json"
    body.write_text(json.dumps(asked))
    async with running(tmp_path, redis_url, deployment, budget()) as gateway:
        words = ("--url", gateway.url, "--body", str(body), "--key", await gateway.key())
        explained = await asyncio.to_thread(ecogate, "explain", *words)

    assert explained.exit_code == 0
    assert f"limit 5, raised 0, used 0, held 0, remaining 5, requested {requested}" in explained.stdout
    assert gateway.generations() == []


async def test_an_edit_is_explained_with_the_pictures_it_starts_from(tmp_path: Path, redis_url: str) -> None:
    edit, plain = ASK | {"images": [{"file_id": "one"}, {"file_id": "two"}], "n": 2}, ASK | {"n": 2}
    body = tmp_path / "request.json"
    budgets = [budget("gifts", match={"route": ["images.edit"]}, limits={"images": 1})]
    async with gateway_running(tmp_path, redis_url, budgets=budgets) as gateway:
        words = ("--url", gateway.url, "--body", str(body), "--key", await gateway.key())
        explained = []
        for one in (edit, plain):
            body.write_text(json.dumps(one))
            explained.append(await asyncio.to_thread(ecogate, "explain", *words))

    assert [one.exit_code for one in explained] == [1, 0]
    assert "gifts (team design): deny in mode enforce" in explained[0].stdout
    assert "requested 2" in explained[0].stdout
    assert "no budget has a say" in explained[1].stdout


def test_what_cannot_be_asked_is_told(tmp_path: Path) -> None:
    there = tmp_path / "request.json"
    there.write_text("{}")

    assert ecogate("explain", "--body", str(there)).exit_code == 2
    assert ecogate("explain", "--key", "egk_x", "--body", str(tmp_path / "absent.json")).exit_code == 2
    away = ecogate("explain", "--key", "egk_x", "--body", str(there), "--url", "http://127.0.0.1:9")
    assert (away.exit_code, "did not answer" in away.stderr) == (2, True)


async def test_where_budgets_tell_deployments_apart_each_candidate_is_explained(
    tmp_path: Path, redis_url: str
) -> None:
    body = tmp_path / "request.json"
    body.write_text(json.dumps(ASK))
    budgets = [budget("clean-only", match={"deployment": "flux-se"}, limits={"images": 0})]
    async with gateway_running(tmp_path, redis_url, budgets=budgets) as gateway:
        words = ("--url", gateway.url, "--body", str(body), "--key", await gateway.key())
        explained = await asyncio.to_thread(ecogate, "explain", *words)

    assert explained.exit_code == 0
    assert "reroute: flux-pl" in explained.stdout
    assert "  flux-pl instead of flux-se" in explained.stdout
    assert "  flux-se counts against clean-only" in explained.stdout
    assert "  flux-pl counts against no budget" in explained.stdout
