"""A budget store that goes away in mid run: who may pass then, what is told, what is charged afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from gateway.budgets.wire import OrgKeys
from gateway.demo.faults import parse_fault
from tests.faults.world import store_running
from tests.running import GENERATIONS, MODEL, budget, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from tests.faults.world import Store

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}
ALLOWING: dict[str, Any] = {"on_store_down": "allow", "emergency": {"limits": {"images": 6}, "processes": 2}}
TEAM = budget(**ALLOWING)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with store_running(tmp_path / "store") as running:
        yield running


class Away:
    """The store does not answer while inside: its connections are refused and cut."""

    def __init__(self, store: Store) -> None:
        self._proxy = store.proxy

    async def __aenter__(self) -> None:
        self._proxy.faults.refusing = True
        self._proxy.reset_all()

    async def __aexit__(self, *_: object) -> None:
        self._proxy.faults.refusing = False


async def ask(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    return await client.post(GENERATIONS, json=ASK | fields)


async def used(client: httpx.AsyncClient) -> int:
    """Images that are charged, once the store answers and nothing waits any more."""
    async with asyncio.timeout(20):
        while True:
            answer = await client.get("/eco/v1/budgets")
            if answer.status_code == 200:
                rows = {row["dimension"]: row for row in answer.json()["data"]}
                return int(rows["images"]["used"])
            await asyncio.sleep(0.1)


async def until_used(client: httpx.AsyncClient, images: int) -> None:
    async with asyncio.timeout(20):
        while await used(client) != images:
            await asyncio.sleep(0.1)


async def posted(client: httpx.AsyncClient, request_id: str) -> dict[str, Any]:
    """The request as SQL has it once its charge is there."""
    async with asyncio.timeout(20):
        while True:
            answer = await client.get(f"/eco/v1/requests/{request_id}")
            if answer.status_code == 200 and answer.json()["entries"][-1]["kind"] == "orphan":
                found: dict[str, Any] = answer.json()
                return found
            await asyncio.sleep(0.1)


async def test_a_store_that_goes_away_stops_those_who_deny_and_not_those_who_allow(
    tmp_path: Path, store: Store
) -> None:
    strict = budget("strict", match={"team": ["strict"]}, limits={"images": 5})
    async with gateway_running(tmp_path, store.url, budgets=[TEAM, strict]) as gateway:
        allowed, denied = await gateway.member(), await gateway.member(team="strict")
        assert (await ask(allowed)).status_code == 200
        assert (await ask(denied)).status_code == 200
        async with Away(store):
            passed, stopped = await ask(allowed), await ask(denied)
        await until_used(allowed, 2)
        record = await posted(allowed, passed.headers["x-request-id"])
        metrics = (await allowed.get("/metrics")).text
    spans = gateway.span_tree()

    assert (passed.status_code, stopped.status_code) == (200, 503)
    assert stopped.json()["error"]["code"] == "budget_store_unavailable"
    assert passed.headers["ecogate-decision"] == "unenforced"
    assert "ecogate-budget-remaining" not in passed.headers
    assert "emergency" in passed.headers["ecogate-warning"]
    assert record["decision"] == "unenforced"
    assert record["policies"][0]["verdict"] == "unenforced"
    # The reserve may have been made without an answer, so that hold is released before the charge.
    assert [entry["kind"] for entry in record["entries"]] == ["release", "orphan"]
    assert (record["images"], record["basis"]) == (1, "settled")
    assert 'ecogate_unenforced_total{mode="emergency",route="images.generate"} 1.0' in metrics
    reserve = [span for span in spans if span.name == "budget.reserve"]
    assert [(span.attributes or {}).get("ecogate.decision") for span in reserve][-2:] == ["unenforced", None]


async def test_where_budgets_tell_deployments_apart_only_the_first_are_asked_without_the_store(
    tmp_path: Path, store: Store
) -> None:
    each = budget("each", per=["team", "deployment"], **ALLOWING)
    async with gateway_running(tmp_path, store.url, budgets=[each]) as gateway:
        client = await gateway.member()
        await ask(client)
        async with Away(store):
            gateway.standins["SE"].standin.faults_to_come.append(parse_fault("overload"))
            answers = [await ask(client) for _ in range(5)]
        async with asyncio.timeout(20):
            while (rows := await client.get("/eco/v1/budgets")).status_code != 200:
                await asyncio.sleep(0.1)
            while True:
                rows = await client.get("/eco/v1/budgets")
                used = {row["scope"]["deployment"]: row["used"] for row in rows.json()["data"]}
                if used["flux-se"] == 4:
                    break
                await asyncio.sleep(0.1)
        made = {zone: len(running.standin.generations) for zone, running in gateway.standins.items()}

    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 503, 503]
    assert (used["flux-pl"], made["PL"]) == (0, 0)


async def test_a_process_passes_its_share_and_answers_503_beyond(tmp_path: Path, store: Store) -> None:
    async with gateway_running(tmp_path, store.url, budgets=[TEAM]) as gateway:
        client = await gateway.member()
        assert (await ask(client)).status_code == 200
        async with Away(store):
            answers = await asyncio.gather(*(ask(client) for _ in range(12)))
        await until_used(client, 4)
        async with Away(store):
            again = await ask(client)

        assert sorted(answer.status_code for answer in answers) == [200] * 3 + [503] * 9
        assert again.status_code == 503  # the share is that of the window, not of each time
        assert len(gateway.generations()) == 4


async def test_what_surely_did_not_run_gives_the_allowance_back(tmp_path: Path, store: Store) -> None:
    async with gateway_running(tmp_path, store.url, budgets=[TEAM]) as gateway:
        client = await gateway.member()
        await ask(client)
        async with Away(store):
            for zone in ("SE", "PL"):
                gateway.standins[zone].standin.faults_to_come += [parse_fault("content_policy")] * 5
            refused = [await ask(client) for _ in range(5)]
            for zone in ("SE", "PL"):
                gateway.standins[zone].standin.faults_to_come.clear()
            passed = [await ask(client) for _ in range(4)]
        await until_used(client, 4)

    assert {answer.status_code for answer in refused} == {400}
    assert [answer.status_code for answer in passed] == [200, 200, 200, 503]


async def test_what_may_have_run_is_charged_as_it_was_written(tmp_path: Path, store: Store) -> None:
    async with gateway_running(tmp_path, store.url, budgets=[TEAM]) as gateway:
        client = await gateway.member()
        await ask(client)
        async with Away(store):
            gateway.standins["SE"].standin.faults_to_come.append(parse_fault("reset"))
            broken = await ask(client, n=2)
        await until_used(client, 3)

    assert broken.status_code == 502


async def test_a_stream_passes_and_is_charged_by_what_came(tmp_path: Path, store: Store) -> None:
    async with gateway_running(tmp_path, store.url, budgets=[TEAM]) as gateway:
        client = await gateway.member()
        await ask(client)
        async with Away(store):
            answer = await ask(client, stream=True)
        await until_used(client, 2)

    assert answer.headers["ecogate-decision"] == "unenforced"


async def test_an_edit_passes_too(tmp_path: Path, store: Store) -> None:
    async with gateway_running(tmp_path, store.url, budgets=[TEAM]) as gateway:
        client = await gateway.member()
        await ask(client)
        async with Away(store):
            files = {"image": ("a.png", b"png", "image/png")}
            answer = await client.post("/v1/images/edits", data=ASK, files=files)
        await until_used(client, 2)

    assert answer.headers["ecogate-decision"] == "unenforced"


async def test_a_request_with_an_idempotency_key_never_passes_without_the_store(
    tmp_path: Path, store: Store
) -> None:
    async with gateway_running(tmp_path, store.url, budgets=[TEAM]) as gateway:
        client = await gateway.member()
        await ask(client)
        async with Away(store):
            answer = await client.post(GENERATIONS, json=ASK, headers={"idempotency-key": "4711"})

        assert answer.status_code == 503
        assert len(gateway.generations()) == 1


async def test_without_any_budget_nothing_passes(tmp_path: Path, store: Store) -> None:
    async with gateway_running(tmp_path, store.url) as gateway:
        client = await gateway.member()
        await ask(client)
        async with Away(store):
            assert (await ask(client)).status_code == 503


async def test_a_process_that_started_without_the_store_has_no_allowance(
    tmp_path: Path, store: Store
) -> None:
    async with gateway_running(tmp_path, store.url, budgets=[TEAM]) as gateway:
        key = await gateway.key()
        assert (await ask(await gateway.http(key))).status_code == 200
    async with Away(store), gateway_running(tmp_path, store.url, budgets=[TEAM]) as gateway:
        assert (await ask(await gateway.http(key))).status_code == 503
        assert gateway.generations() == []


async def test_a_full_disk_lets_nothing_pass(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway_running(tmp_path, store.url, budgets=[TEAM]) as gateway:
        client = await gateway.member()
        await ask(client)
        (tmp_path / "data" / "emergency").write_text("not a folder")
        async with Away(store):
            assert (await ask(client)).status_code == 503
        assert len(gateway.generations()) == 1


async def test_a_frozen_store_is_decided_on_and_readiness_tells_the_choice(
    tmp_path: Path, store: Store
) -> None:
    """SIGSTOP: the first calls wait for their deadline, then the breaker answers at once."""
    strict = budget("strict", match={"team": ["strict"]})
    budgets = [TEAM, strict]
    async with gateway_running(tmp_path, store.url, budgets=budgets, store_timeout_ms=1000) as gateway:
        client = await gateway.member()
        await ask(client)
        pid = await store.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            answers = [await ask(client) for _ in range(5)]
            ready = await client.get("/readyz")
            alive = await client.get("/healthz")
        finally:
            os.kill(pid, signal.SIGCONT)
        await until_used(client, 4)

    assert [answer.status_code for answer in answers] == [200, 200, 200, 503, 503]
    assert (ready.status_code, alive.status_code) == (503, 200)
    assert ready.json()["policies"]["on_store_down"] == {"design-month": "allow", "strict": "deny"}


async def test_what_passed_stands_on_disk_before_it_is_sent(tmp_path: Path, store: Store) -> None:
    async with gateway_running(tmp_path, store.url, budgets=[TEAM]) as gateway:
        client = await gateway.member()
        await ask(client)
        async with Away(store):
            gateway.standins["SE"].standin.faults_to_come.append(parse_fault("stall:1"))
            asking = asyncio.create_task(ask(client, n=2))
            while len(gateway.generations()) < 2:
                await asyncio.sleep(0.01)
            lines = (tmp_path / "data" / "emergency" / "seat-1.jsonl").read_text().splitlines()
            await asking
        await until_used(client, 3)

    assert len(lines) == 1
    org, hold, charge, *_ = json.loads(lines[0])
    assert (org, hold.startswith("req_"), charge[0][3]) == ("acme", True, 2)


async def test_a_use_whose_tombstone_is_over_is_not_charged_again(tmp_path: Path, store: Store) -> None:
    """That it was posted may not have come to disk; the store forgets it after hours, SQL never."""
    async with gateway_running(tmp_path, store.url, budgets=[TEAM]) as gateway:
        key = await gateway.key()
        client = await gateway.http(key)
        await ask(client)
        async with Away(store):
            passed = await ask(client)
        await until_used(client, 2)
        record = await posted(client, passed.headers["x-request-id"])
    seat = tmp_path / "data" / "emergency" / "seat-1.jsonl"
    uses = [line for line in seat.read_text().splitlines(keepends=True) if line.startswith("[")]
    seat.write_text("".join(uses))
    hold = json.loads(uses[-1])[1]
    assert await store.redis.delete(OrgKeys("acme").hold(hold)) == 1

    async with gateway_running(tmp_path, store.url, budgets=[TEAM]) as gateway:
        client = await gateway.http(key)
        async with asyncio.timeout(20):
            while not seat.read_text().endswith(f'"{hold}"\n'):
                await asyncio.sleep(0.1)
        assert await used(client) == 2

    assert record["images"] == 1
