"""The eco side with real stores, for tests: keys of every role, requests of two orgs, budgets.

`acme` has the teams design (Ana, its admin Ada) and film (Bo); `globex` has one member, Gil. Each of them
asked for two images, and so did a service of acme's film team and a member of design without a user.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import httpx
from litestar import Litestar
from litestar.di import Provide
from pydantic import SecretStr

from gateway.api.admin import admin_router
from gateway.api.auth import provide_subject
from gateway.api.eco import eco_router
from gateway.api.errors import EXCEPTION_HANDLERS
from gateway.budgets.ledger import Ledger
from gateway.budgets.policy import load_policies
from gateway.footprint.factors import load_factors
from gateway.identity.registry import KeyRegistry
from gateway.identity.subject import Role, Subject
from gateway.lifecycle.plan import Configuration
from gateway.upstreams.deployments import Deployment, DeploymentSet
from gateway.upstreams.rules import Rules
from gateway.usage.journal import JournalConsumer
from gateway.usage.queries import UsageQueries
from tests.usage.journals import append, record

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis

    from gateway.store.sql import Database

ADMIN_KEY = "the-admin-key-of-these-tests-0123456789"
PEOPLE: dict[str, dict[str, Any]] = {
    "platform": {"org": "acme", "role": Role.PLATFORM_ADMIN, "user": "root"},
    "owner": {"org": "acme", "role": Role.ORG_ADMIN, "user": "olga"},
    "ada": {"org": "acme", "role": Role.TEAM_ADMIN, "team": "design", "user": "ada"},
    "ana": {"org": "acme", "role": Role.MEMBER, "team": "design", "user": "ana"},
    "bo": {"org": "acme", "role": Role.MEMBER, "team": "film", "user": "bo"},
    "nobody": {"org": "acme", "role": Role.MEMBER, "team": "design"},
    "robot": {"org": "acme", "role": Role.SERVICE, "team": "film", "user": "bo"},
    "gil": {"org": "globex", "role": Role.MEMBER, "team": "design", "user": "ana"},
    "gina": {"org": "globex", "role": Role.ORG_ADMIN},
}
ASKED = ("ada", "ana", "bo", "nobody", "robot", "gil")

POLICY = """
timezone: Europe/Paris
budgets:
  - name: team-month
    match: {org: [acme]}
    per: [team]
    limits: {carbon: 5 g, energy: 8 Wh}
    window: {kind: calendar, every: month}
  - name: acme-month
    match: {org: [acme]}
    limits: {images: 100}
    window: {kind: calendar, every: month}
  - name: dear-model
    match: {model: [dear]}
    per: [user]
    limits: {water: 1 L}
    window: {kind: calendar, every: day}
    bound: high
  - name: edits
    match: {route: [images.edit], team: [film]}
    limits: {images: 3}
    window: {kind: calendar, every: day}
"""


@dataclass
class EcoSide:
    """Keys and request ids by person, and a client that speaks as anyone."""

    app: Litestar
    http: httpx.AsyncClient
    registry: KeyRegistry
    ledger: Ledger
    redis: Redis
    database: Database
    keys: dict[str, str] = field(default_factory=lambda: {"bootstrap": ADMIN_KEY})
    subjects: dict[str, Subject] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)

    async def ask(self, who: str, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.keys[who]}", **options.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **options)

    async def rows(self, who: str, path: str, **parameters: Any) -> list[dict[str, Any]]:
        answer = await self.ask(who, path, params=parameters)
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["data"]
        return rows


async def open_eco_side(
    redis: Redis, database: Database, folder: Path, *, ledger_redis: Redis | None = None
) -> EcoSide:
    """The eco side with everybody's keys and requests; `ledger_redis` is the ledger's, if it is another."""
    (folder / "budgets.yaml").write_text(POLICY)
    policies = load_policies(folder)
    names = ("starter-pack", "dear")
    deployments = tuple(
        Deployment(id=name, models=(name,), base_url="http://127.0.0.1:9/v1") for name in names
    )
    configuration = Configuration(
        policies, DeploymentSet(deployments, Rules(), "test"), load_factors(), loaded_at=0
    )
    registry = KeyRegistry(database, b"pepper", SecretStr(ADMIN_KEY))
    ledger = Ledger(ledger_redis or redis, lease_s=60, timeout_ms=2000)
    usage = UsageQueries(database)
    parts = {
        "keys": registry,
        "usage": usage,
        "ledger": ledger,
        "configuration": configuration,
    }
    app = Litestar(
        route_handlers=[eco_router(), admin_router()],
        dependencies={
            "subject": Provide(provide_subject),
            **{name: Provide(_give(part), sync_to_thread=False) for name, part in parts.items()},
        },
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,
        logging_config=None,
    )
    http = httpx.AsyncClient(transport=httpx.ASGITransport(cast("Any", app)), base_url="http://gateway")
    side = EcoSide(app, http, registry, ledger, redis, database)
    for name, person in PEOPLE.items():
        issued = await registry.create(**person)
        side.keys[name], side.subjects[name] = issued.key, issued.entry.subject
    for name in ASKED:
        subject = side.subjects[name]
        asked = record(
            id=f"req_{name}",
            org=subject.org,
            key=subject.key,
            team=subject.team,
            user=subject.user,
        )
        await append(redis, asked)
        side.requests[name] = asked.id
    assert await JournalConsumer(redis, database).drain_once() == len(ASKED)
    return side


def _give(part: Any) -> Any:
    return lambda: part
