"""Alerts of whole gateways, from a client's request to a receiver's socket."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from gateway.store.keyspace import alerts_key
from tests.ports import free_port
from tests.processes import gateway_process
from tests.receiver import SECRET, receiving
from tests.running import GENERATIONS, MODEL, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from redis.asyncio import Redis

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}


def alerting(url: str, **fields: Any) -> dict[str, Any]:
    hook = {"webhook": url, "secret": "${HOOK_SECRET}"}
    return budget(**{"limits": {"images": 100}, "warn_at": ["50%", "80%"], "alerts": [hook], **fields})


async def test_a_hundred_parallel_requests_bring_one_message_per_threshold(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    async with (
        receiving() as receiver,
        gateway_running(
            tmp_path, redis_url, budgets=[alerting(receiver.url)], store_timeout_ms=10_000
        ) as gateway,
    ):
        client = await gateway.member()
        answers = await asyncio.gather(*(client.post(GENERATIONS, json=ASK) for _ in range(100)))
        assert [answer.status_code for answer in answers] == [200] * 100
        await receiver.until(2)
        refused = await asyncio.gather(*(client.post(GENERATIONS, json=ASK) for _ in range(20)))
        assert [answer.status_code for answer in refused] == [402] * 20
        await receiver.until(3)
        await asyncio.sleep(1.5)
        metrics = (await gateway.admin.get("/metrics")).text

    told = sorted(
        str(message.data.get("threshold", message.data.get("code"))) for message in receiver.messages
    )
    assert told == ["50%", "80%", "eco_budget_exceeded"]
    assert all(message.is_signed for message in receiver.messages)
    assert all(message.data["scope"] == {"team": "design"} for message in receiver.messages)
    assert 'ecogate_alerts_total{result="delivered"} 3.0' in metrics


async def test_a_shadow_budget_tells_its_owner_and_not_its_clients(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    async with receiving() as receiver:
        trial = alerting(receiver.url, mode="shadow", limits={"images": 1}, warn_at=["100%"])
        async with gateway_running(tmp_path, redis_url, budgets=[trial]) as gateway:
            client = await gateway.member()
            for _ in range(3):
                answer = await client.post(GENERATIONS, json=ASK)
                assert answer.status_code == 200
                assert "ecogate-warning" not in answer.headers
            await receiver.until(2)
            await asyncio.sleep(1.5)

    assert sorted(message.body.split(b'"')[3] for message in receiver.messages) == [
        b"budget.over_limit",
        b"budget.threshold",
    ]
    assert {message.data["mode"] for message in receiver.messages} == {"shadow"}


async def test_a_gateway_that_is_killed_between_threshold_and_delivery_loses_no_alert(
    tmp_path: Path, redis_url: str, redis: Redis
) -> None:
    port = free_port()
    shared = {"ECOGATE_REDIS_URL": redis_url, "HOOK_SECRET": SECRET}
    budgets = [alerting(f"http://127.0.0.1:{port}/hook", limits={"images": 2}, warn_at=["50%"])]
    async with serving(StandInSettings(zone="SE")) as service:
        services = {"SE": service.base_url}
        async with gateway_process(tmp_path / "one", services, budgets=budgets, **shared) as killed:
            async with killed.client() as client:
                made = await client.post("/eco/v1/keys", json={"org": "acme", "team": "design"})
            async with killed.client(made.json()["key"]) as member:
                assert (await member.post(GENERATIONS, json=ASK)).status_code == 200
            killed.send(signal.SIGKILL)
            await killed.ended()
        (waiting,) = await redis.zrange(alerts_key("acme"), 0, -1)
        await redis.zadd(alerts_key("acme"), {str(waiting): 0})  # or it would wait out the dead one's turn

        async with (
            receiving(port) as receiver,
            gateway_process(tmp_path / "two", services, budgets=budgets, **shared),
        ):
            (message,) = await receiver.until(1)

    assert message.is_signed
    assert (message.data["threshold"], message.data["used"]) == ("50%", 1)
