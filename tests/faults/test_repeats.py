"""A request with an idempotency key is done once, whatever fails and whichever gateway is asked."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway.budgets.scripts import Script
from tests.faults.world import ASK, PLENTY, assert_exact, service
from tests.processes import gateway_process
from tests.running import GENERATIONS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.world import Store

KEY = {"idempotency-key": "order 4711"}
SETTINGS = {"ECOGATE_LEASE_S": "5", "ECOGATE_KEY_PEPPER": "one pepper for all of the gateways here"}


async def ask(client: httpx.AsyncClient, **fields: Any) -> tuple[int | None, str | None]:
    """Status and error code; nothing when the connection broke."""
    with contextlib.suppress(httpx.TransportError):
        answer = await client.post(GENERATIONS, json=ASK | fields, headers=KEY)
        error = answer.json().get("error") if answer.status_code != 200 else None
        return answer.status_code, error["code"] if error else None
    return None, None


async def until_told(client: httpx.AsyncClient) -> tuple[int | None, str | None]:
    """The first answer that is not to be waited for."""
    async with asyncio.timeout(40):
        while True:
            answer = await ask(client)
            if answer[0] != 503 and answer[1] != "idempotency_in_progress":
                return answer
            await asyncio.sleep(0.2)


async def test_fifty_at_once_over_two_gateways_are_one(tmp_path: Path, store: Store) -> None:
    one_home, two_home = tmp_path / "one", tmp_path / "two"
    async with service(seconds_per_image=0.5) as images:
        services = {"SE": images.base_url}
        shared = {
            "ECOGATE_REDIS_URL": store.url,
            "ECOGATE_DATABASE_URL": f"sqlite:///{one_home / 'data' / 'ecogate.sqlite3'}",
            **SETTINGS,
        }
        async with (
            gateway_process(one_home, services, budgets=PLENTY, **shared) as one,
            gateway_process(two_home, services, budgets=PLENTY, **shared) as two,
            one.client() as first,
            two.client() as second,
        ):
            answers = await asyncio.gather(*(ask(first if n % 2 else second) for n in range(50)))

            assert sorted(status or 0 for status, _ in answers) == [200] + [409] * 49
            assert {await ask(first), await ask(second)} == {(409, "idempotency_completed")}
            assert await ask(first, n=2) == (409, "idempotency_key_conflict")
            await assert_exact(store.redis, one_home / "data", [images])
            assert len(images.standin.generations) == 1


async def test_a_reserve_whose_reply_is_lost_leads_to_one_call_and_one_charge(
    tmp_path: Path, store: Store
) -> None:
    home = tmp_path / "gateway"
    async with service() as images:
        async with (
            gateway_process(
                home, {"SE": images.base_url}, budgets=PLENTY, ECOGATE_REDIS_URL=store.url, **SETTINGS
            ) as gateway,
            gateway.client() as client,
        ):
            assert (await client.post(GENERATIONS, json=ASK)).status_code == 200
            store.proxy.faults.only = Script.load("reserve").sha.encode()
            store.proxy.faults.drop_replies = 1.0
            assert await ask(client) == (503, "budget_store_unavailable")
            assert store.proxy.dropped == 1
            store.proxy.faults.drop_replies = 0.0

            assert await until_told(client) == (200, None)
            assert await ask(client) == (409, "idempotency_completed")
            assert len(images.standin.generations) == 2
        await assert_exact(store.redis, home / "data", [images])


@pytest.mark.long
@pytest.mark.parametrize(
    ("step", "told", "made"),
    [
        ("after_reserve", (200, None), 1),
        ("before_mark", (200, None), 1),
        ("after_mark", (409, "idempotency_unknown_outcome"), 0),
        ("after_upstream", (409, "idempotency_unknown_outcome"), 1),
        ("after_settle", (409, "idempotency_completed"), 1),
    ],
)
async def test_after_a_gateway_was_killed_another_one_does_it_only_if_it_surely_did_not_run(
    tmp_path: Path, store: Store, step: str, told: tuple[int, str | None], made: int
) -> None:
    home = tmp_path / "gateway"
    shared = {"ECOGATE_REDIS_URL": store.url, **SETTINGS}
    async with service() as images:
        async with (
            gateway_process(
                home,
                {"SE": images.base_url},
                budgets=PLENTY,
                command=("-m", "tests.faults.crashing", "serve"),
                CRASH_AT=step,
                **shared,
            ) as doomed,
            doomed.client() as client,
        ):
            assert await ask(client) == (None, None)
            await doomed.ended()
        async with (
            gateway_process(home, {"SE": images.base_url}, budgets=PLENTY, **shared) as next_one,
            next_one.client() as client,
        ):
            assert await until_told(client) == told
            assert len(images.standin.generations) == made
            await assert_exact(store.redis, home / "data", [images], unknown=1 - made)


async def test_claims_that_a_lost_store_forgot_are_brought_back_with_their_requests(
    tmp_path: Path, store: Store
) -> None:
    home = tmp_path / "gateway"
    async with (
        service() as images,
        gateway_process(
            home, {"SE": images.base_url}, budgets=PLENTY, ECOGATE_REDIS_URL=store.url, **SETTINGS
        ) as gateway,
        gateway.client() as client,
    ):
        assert await ask(client) == (200, None)
        await store.redis.flushall()

        assert await until_told(client) == (409, "idempotency_completed")
        assert len(images.standin.generations) == 1
