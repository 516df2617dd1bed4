"""Requests per minute, as clients meet them: point 65 of the table in docs/conformance.md."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import openai
import pytest
from redis.asyncio import Redis

from tests.api.test_images import assert_openai_error
from tests.contract.behind import ASK, COMPLETED, behind, give_images, images
from tests.running import GENERATIONS, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.contract.scripted import Exchange

FIGURES = tuple(f"x-ratelimit-{figure}-requests" for figure in ("limit", "remaining", "reset"))
EMERGENCY = {"on_store_down": "allow", "emergency": {"limits": {"images": 2}, "processes": 1}}


def figures(answer: httpx.Response) -> list[str | None]:
    return [answer.headers.get(name) for name in FIGURES[:2]]


async def test_a_key_gets_its_requests_of_a_minute_and_a_429_that_costs_nothing(
    tmp_path: Path, redis_url: str
) -> None:
    async with behind(tmp_path, redis_url, give_images, budgets=[budget()], requests_per_minute=2) as here:
        first, second, third = [await here.post() for _ in range(3)]
        other = await (await here.gateway.member()).post(GENERATIONS, json=ASK)
        models = await here.client.get("/v1/models")

        assert [one.status_code for one in (first, second, other, models)] == [200] * 4
        assert [figures(one) for one in (first, second, other)] == [["2", "1"], ["2", "0"], ["2", "1"]]
        assert_openai_error(third, 429, "rate_limit_exceeded")
        assert third.json()["error"]["type"] == "requests"
        assert figures(third) == ["2", "0"]
        assert 1 <= int(third.headers["retry-after"]) <= 30
        assert third.headers["x-ratelimit-reset-requests"].endswith("s")
        assert await here.budgets() == (3, 0)
        assert len(here.service.exchanges) == 3
        assert not set(FIGURES) & set(models.headers)
        metrics = (await here.gateway.admin.get("/metrics")).text
        assert 'ecogate_rate_total{outcome="refused"} 1.0' in metrics


async def test_a_refused_body_is_not_read_and_a_malformed_one_counts(tmp_path: Path, redis_url: str) -> None:
    async with behind(tmp_path, redis_url, give_images, requests_per_minute=1) as here:
        malformed = await here.post(n=0)
        waits = here.head(
            "Content-Length: 900", "Content-Type: application/json", "Expect: 100-continue",
            "Connection: close",
        )  # fmt: skip
        refused = await here.raw(waits)

        assert_openai_error(malformed, 400, "invalid_value")
        assert figures(malformed) == ["1", "0"]
        assert refused.startswith(b"HTTP/1.1 429 ")
        assert here.service.exchanges == []


@pytest.mark.parametrize("path", ["/v1/images/edits", "/v1/responses", "/v1/chat/completions"])
async def test_every_route_that_makes_images_counts(tmp_path: Path, redis_url: str, path: str) -> None:
    async with behind(tmp_path, redis_url, give_images, requests_per_minute=1) as here:
        await here.post()

        assert_openai_error(await here.post(path), 429, "rate_limit_exceeded")


async def test_a_limit_of_the_key_replaces_the_setting(tmp_path: Path, redis_url: str) -> None:
    async with behind(tmp_path, redis_url, give_images, requests_per_minute=1) as here:
        own = await here.gateway.member(requests_per_minute=7)
        free = await here.gateway.member(requests_per_minute=0)

        assert figures(await own.post(GENERATIONS, json=ASK)) == ["7", "6"]
        assert [figures(await free.post(GENERATIONS, json=ASK)) for _ in range(2)] == [[None, None]] * 2
        shown = (await here.gateway.admin.get("/eco/v1/keys")).json()["data"]
        assert [one.get("requests_per_minute") for one in shown] == [0, 7, None]
        refused = await here.gateway.admin.post("/eco/v1/keys", json={"requests_per_minute": -1})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "requests_per_minute")


async def test_the_stock_client_waits_as_it_is_told_and_is_served(tmp_path: Path, redis_url: str) -> None:
    async with behind(tmp_path, redis_url, give_images, requests_per_minute=20) as here:
        client = await here.gateway.openai(here.key)
        await client.images.generate(**ASK)
        async with Redis.from_url(redis_url) as store:
            [key] = [name async for name in store.scan_iter("eg:*:rate:*")]
            await store.set(key, f"{(time.time() + 60) * 1e6:.0f}")

        with pytest.raises(openai.RateLimitError) as refused:
            await client.images.generate(**ASK)
        answer = await client.with_options(max_retries=2).images.with_raw_response.generate(**ASK)

        assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "requests")
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 3
        assert answer.headers["x-ratelimit-limit-requests"] == "20"
        assert len(here.service.exchanges) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_of_two_limits_under_one_name_only_the_callers_own_is_told(
    tmp_path: Path, redis_url: str, stream: bool
) -> None:
    theirs = {
        "x-ratelimit-limit-requests": "5000",
        "x-ratelimit-remaining-tokens": "9",
        "x-ms-region": "UK South",
    }

    async def script(exchange: Exchange) -> None:
        if exchange.json.get("stream"):
            await exchange.begin_stream(**theirs)
            await exchange.chunk(COMPLETED)
            await exchange.chunk(b"")
        else:
            await exchange.answer(images(), **theirs)

    async with behind(tmp_path, redis_url, script, requests_per_minute=8) as here:
        limited = await here.post(stream=stream)
        free = await (await here.gateway.member(requests_per_minute=0)).post(
            GENERATIONS, json={**ASK, "stream": stream}
        )

        assert limited.headers.get_list("x-ratelimit-limit-requests") == ["8"]
        assert "x-ratelimit-remaining-tokens" not in limited.headers
        assert limited.headers["x-ms-region"] == "UK South"
        assert {name: free.headers[name] for name in theirs} == theirs


@pytest.mark.parametrize(
    ("on_store_down", "statuses"), [({}, [503] * 4), (EMERGENCY, [200, 200, 503, 503])], ids=["deny", "allow"]
)
async def test_while_the_store_is_away_budgets_alone_decide_who_gets_in(
    tmp_path: Path, on_store_down: dict[str, Any], statuses: list[int]
) -> None:
    """A key that has used up its minute neither loses nor gains by it."""
    async with gateway_running(
        tmp_path,
        None,
        budgets=[budget(limits={"images": 50}, **on_store_down)],
        store_timeout_ms=250,
        requests_per_minute=1,
    ) as gateway:
        client = await gateway.member()
        before = [(await client.post(GENERATIONS, json=ASK)).status_code for _ in range(2)]
        async with Redis(unix_socket_path=str(next((tmp_path / "data").rglob("*.sock")))) as store:
            pid = (await store.info("server"))["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            away = [await client.post(GENERATIONS, json=ASK) for _ in range(4)]
        finally:
            os.kill(pid, signal.SIGCONT)

        assert before == [200, 429]
        assert [one.status_code for one in away] == statuses
        assert not any(set(FIGURES) & set(one.headers) for one in away)
        metrics = (await gateway.admin.get("/metrics")).text
        assert 'ecogate_rate_total{outcome="uncounted"} 4.0' in metrics
