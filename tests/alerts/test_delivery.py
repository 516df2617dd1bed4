"""Alerts on their way to receivers on real sockets: signed, repeated, given up, and never lost."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest

from gateway.alerts import delivery
from gateway.alerts.delivery import Deliveries, delay_s
from gateway.budgets.alerts import Alert, AlertQueue
from gateway.budgets.policy import load_policies
from gateway.budgets.windows import Window
from gateway.store.keyspace import ORGS, alerts_key
from gateway.telemetry import Telemetry
from tests.budgets.ledger_builders import now_ms
from tests.receiver import SECRET, Message, Receiver, receiving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from redis.asyncio import Redis

    from gateway.budgets.policy import PolicySet
    from gateway.telemetry.metrics import Metrics

ALERT = Alert(
    counter='team-month|{"team":"design"}',
    starts="1790812800000",
    ends="1793491200000",
    place="3",
    name="80",
    limit="5000000000",
    used="4100000000",
    held="120000000",
    at="1791000000000",
)
POLICY = """
timezone: Europe/Paris
budgets:
  - name: team-month
    per: [team]
    limits: {{carbon: 5 kg}}
    window: {{kind: calendar, every: month}}
    warn_at: [80%]
    alerts: [{hooks}]
"""


def policies(folder: Path, *urls: str) -> PolicySet:
    hooks = ", ".join(f"{{webhook: '{url}', secret: '${{HOOK_SECRET}}'}}" for url in urls)
    (folder / "budgets.yaml").write_text(POLICY.format(hooks=hooks))
    return load_policies(folder, environ={"HOOK_SECRET": SECRET})


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = Telemetry.start()
    yield made.metrics
    made.shutdown()


@asynccontextmanager
async def deliveries(redis: Redis, found: PolicySet, metrics: Metrics) -> AsyncIterator[Deliveries]:
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False) as http:
        yield Deliveries(AlertQueue(redis, timeout_ms=5000), http, lambda: found, metrics)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def put(redis: Redis, *alerts: Alert, due_ms: int = 0) -> None:
    await redis.sadd(ORGS, "acme")
    for alert in alerts:
        await redis.zadd(alerts_key("acme"), {msgspec.json.encode(alert).decode(): due_ms})


async def make_due(redis: Redis) -> None:
    for one in await redis.zrange(alerts_key("acme"), 0, -1):
        await redis.zadd(alerts_key("acme"), {str(one): 0})


def recent(**changes: Any) -> Alert:
    return msgspec.structs.replace(ALERT, at=str(now_ms()), **changes)


def counted(metrics: Metrics) -> dict[str, float]:
    lines = metrics.prometheus().decode().splitlines()
    rows = [line for line in lines if line.startswith("ecogate_alerts_total{")]
    return {row.split('result="')[1].split('"')[0]: float(row.split()[-1]) for row in rows}


async def test_an_owner_reads_what_happened_in_units_with_a_signature(
    redis: Redis, receiver: Receiver, metrics: Metrics, tmp_path: Path
) -> None:
    await put(redis, ALERT)
    async with deliveries(redis, policies(tmp_path, receiver.url), metrics) as work:
        assert [await work.deliver_due() for _ in range(3)] == [1, 1, 0]

    (message,) = receiver.messages
    assert message.is_signed
    assert abs(int(message.headers["webhook-timestamp"]) - time.time()) < 60
    assert message.headers["content-type"] == "application/json"
    whole = msgspec.json.decode(message.body)
    assert (whole["type"], whole["timestamp"]) == ("budget.threshold", "2026-10-03T06:00:00+02:00")
    assert "estimates" in message.data.pop("note")
    data = message.data
    data.pop("note")
    assert data == {
        "policy": "team-month",
        "org": "acme",
        "scope": {"team": "design"},
        "mode": "enforce",
        "bound": "central",
        "window": {
            "kind": "calendar",
            "every": "month",
            "timezone": "Europe/Paris",
            "start": "2026-10-01T02:00:00+02:00",
            "end": "2026-11-01T01:00:00+01:00",
        },
        "dimension": "carbon",
        "unit": "g",
        "limit": 5000.0,
        "used": 4100.0,
        "held": 120.0,
        "threshold": "80%",
        "time": "2026-10-03T06:00:00+02:00",
    }
    assert counted(metrics) == {"delivered": 1.0}
    assert await redis.exists(alerts_key("acme")) == 0


@pytest.mark.parametrize(
    "event",
    [
        ("exceeded", "budget.refused", {"code": "eco_budget_exceeded"}),
        ("toolarge", "budget.refused", {"code": "eco_request_too_large"}),
        ("over", "budget.over_limit", {"threshold": "100%"}),
    ],
)
async def test_each_kind_of_event_has_its_name(
    redis: Redis, receiver: Receiver, metrics: Metrics, tmp_path: Path, event: tuple[str, str, dict[str, str]]
) -> None:
    name, kind, what = event
    await put(redis, recent(name=name))
    async with deliveries(redis, policies(tmp_path, receiver.url), metrics) as work:
        await work.deliver_due()
        await work.deliver_due()

    (message,) = receiver.messages
    assert msgspec.json.decode(message.body)["type"] == kind
    assert message.data.items() >= what.items()


async def test_a_rolling_window_is_told_as_what_counts_in_it(
    redis: Redis, receiver: Receiver, metrics: Metrics, tmp_path: Path
) -> None:
    hour_ms = 3_600_000
    starts_ms = now_ms() // hour_ms * hour_ms
    await put(redis, recent(starts=str(starts_ms), ends=str(starts_ms + 25 * hour_ms)))
    found = policies(tmp_path, receiver.url)
    day = replace(found.budgets[0], window=Window("rolling", "24h"), timezone="UTC")
    async with deliveries(redis, replace(found, budgets=(day,)), metrics) as work:
        await work.deliver_due()
        await work.deliver_due()

    window = receiver.messages[0].data["window"]
    start, end = (datetime.fromisoformat(window[name]).timestamp() * 1000 for name in ("start", "end"))
    assert (window["kind"], window["every"]) == ("rolling", "24h")
    assert (start, end) == (starts_ms - 24 * hour_ms, starts_ms + hour_ms)


@pytest.mark.parametrize("answer", [500, 503, 408, 425, 429, None])
async def test_what_may_pass_is_tried_again_with_the_same_id(
    redis: Redis, receiver: Receiver, metrics: Metrics, tmp_path: Path, answer: int | None
) -> None:
    receiver.answers = [answer]
    await put(redis, recent())
    async with deliveries(redis, policies(tmp_path, receiver.url), metrics) as work:
        await work.deliver_due()
        await work.deliver_due()
        assert await work.deliver_due() == 0, "it waits"
        await make_due(redis)
        await work.deliver_due()

    first, second = receiver.messages
    assert first.id == second.id
    assert first.body == second.body
    assert first.is_signed
    assert second.is_signed
    assert counted(metrics) == {"failed": 1.0, "delivered": 1.0}


@pytest.mark.parametrize("answer", [301, 307, 400, 401, 404, 410])
async def test_a_refusal_for_good_is_logged_and_counted_and_not_repeated(
    redis: Redis,
    receiver: Receiver,
    metrics: Metrics,
    tmp_path: Path,
    answer: int,
) -> None:
    receiver.answers, receiver.headers = [answer], {"location": receiver.url}
    await put(redis, recent())
    async with deliveries(redis, policies(tmp_path, receiver.url), metrics) as work:
        for _ in range(3):
            await work.deliver_due()
            await make_due(redis)

    assert len(receiver.messages) == 1
    assert counted(metrics) == {"dead": 1.0}


async def test_a_log_entry_about_an_alert_names_the_host_and_no_secret(
    redis: Redis, receiver: Receiver, metrics: Metrics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [400]
    await put(redis, recent())
    async with deliveries(redis, policies(tmp_path, receiver.url), metrics) as work:
        await work.deliver_due()
        await work.deliver_due()

    (entry,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert (entry.__dict__["host"], entry.__dict__["policy"]) == ("127.0.0.1", "team-month")
    assert "secret" not in repr(entry.__dict__)


async def test_a_receiver_that_is_not_there_is_given_up_at_last(
    redis: Redis, metrics: Metrics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiving() as gone:
        url = gone.url
    old = msgspec.structs.replace(ALERT, at=str(now_ms() - int(delivery.GIVE_UP_S * 1000) - 1))
    await put(redis, recent(), old)
    async with deliveries(redis, policies(tmp_path, url), metrics) as work:
        await work.deliver_due()
        await work.deliver_due()

    assert counted(metrics) == {"failed": 1.0, "dead": 1.0}
    assert await redis.zcard(alerts_key("acme")) == 1
    assert "secret" not in caplog.text


async def test_a_receiver_that_hangs_is_left_after_a_while(
    redis: Redis, receiver: Receiver, metrics: Metrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT_S", 0.2)
    receiver.delay_s = 5.0
    await put(redis, recent())
    async with deliveries(redis, policies(tmp_path, receiver.url), metrics) as work:
        await work.deliver_due()
        async with asyncio.timeout(4):
            await work.deliver_due()

    assert counted(metrics) == {"failed": 1.0}


async def test_each_webhook_of_a_budget_hears_of_it_on_its_own(
    redis: Redis, receiver: Receiver, metrics: Metrics, tmp_path: Path
) -> None:
    async with receiving() as other:
        other.answers = [500]
        await put(redis, recent())
        async with deliveries(redis, policies(tmp_path, receiver.url, other.url), metrics) as work:
            await work.deliver_due()
            await work.deliver_due()
            await make_due(redis)
            await work.deliver_due()

        assert (len(receiver.messages), len(other.messages)) == (1, 2)


async def test_many_gateways_deliver_each_alert_once(
    redis: Redis, receiver: Receiver, metrics: Metrics, tmp_path: Path
) -> None:
    await put(redis, *(recent(counter=f'team-month|{{"team":"t{n}"}}') for n in range(60)))
    found = policies(tmp_path, receiver.url)
    async with deliveries(redis, found, metrics) as one, deliveries(redis, found, metrics) as two:
        for _ in range(12):
            await asyncio.gather(one.deliver_due(), two.deliver_due())

    assert sorted(message.data["scope"]["team"] for message in receiver.messages) == sorted(
        f"t{n}" for n in range(60)
    )
    assert len({message.id for message in receiver.messages}) == 60


async def test_an_alert_of_a_gateway_that_died_while_delivering_is_delivered_by_another(
    redis: Redis, receiver: Receiver, metrics: Metrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "LEASE_MS", 300)
    found = policies(tmp_path, receiver.url)
    await put(redis, recent())
    receiver.delay_s = 5.0
    async with deliveries(redis, found, metrics) as first, deliveries(redis, found, metrics) as second:
        await first.deliver_due()
        dying = asyncio.create_task(first.deliver_due())
        await receiver.until(1)
        dying.cancel()
        await asyncio.wait({dying})
        receiver.delay_s = 0.0
        assert await second.deliver_due() == 0
        await asyncio.sleep(0.35)
        await second.deliver_due()

    assert [message.id for message in receiver.messages] == [receiver.messages[0].id] * 2
    assert await redis.zcard(alerts_key("acme")) == 0


async def test_alerts_of_webhooks_that_the_policies_dropped_are_withdrawn(
    redis: Redis, receiver: Receiver, metrics: Metrics, tmp_path: Path
) -> None:
    await put(redis, recent(to="another"), recent(counter="gone|{}"))
    async with deliveries(redis, policies(tmp_path, receiver.url), metrics) as work:
        await work.deliver_due()

    assert receiver.messages == []
    assert counted(metrics) == {"withdrawn": 2.0}
    assert await redis.zcard(alerts_key("acme")) == 0


async def test_the_store_is_not_asked_when_no_budget_has_webhooks(metrics: Metrics, tmp_path: Path) -> None:
    silent = policies(tmp_path, "https://hooks.example/")
    silent = replace(silent, budgets=(replace(silent.budgets[0], alerts=()),))
    queue: Any = object()
    async with httpx.AsyncClient() as http:
        assert await Deliveries(queue, http, lambda: silent, metrics).deliver_due() == 0


def test_waits_double_up_to_a_quarter_of_an_hour_for_more_than_an_hour() -> None:
    age_s, attempts = 0.0, 0
    while age_s < delivery.GIVE_UP_S:
        wait_s = delay_s(age_s)
        assert 0.75 <= wait_s / min(max(age_s, 1.0), 900.0) <= 1.25
        age_s += wait_s
        attempts += 1

    assert 20 < attempts < 60
    assert delivery.GIVE_UP_S > 3600


def test_neither_secrets_nor_paths_of_webhooks_show_in_a_budget(tmp_path: Path) -> None:
    found = policies(tmp_path, "https://hooks.example/secret-path?token=secret-query")

    shown = f"{found!r} {found.budgets[0]}"
    assert "secret-" not in shown
    assert SECRET not in shown


def test_a_message_knows_when_it_was_not_signed_by_us() -> None:
    forged = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}

    assert not Message(forged, b"{}").is_signed
