from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from gateway.identity.keys import well_formed
from gateway.identity.subject import Role

if TYPE_CHECKING:
    from tests.api.eco_side import EcoSide

KEYS = "/eco/v1/keys"


async def test_a_new_key_is_shown_once_and_works_at_once(eco: EcoSide) -> None:
    body = {"org": "acme", "team": "design", "user": "eve", "labels": {"project": "x"}, "role": "member"}

    answer = await eco.ask("bootstrap", KEYS, "POST", json=body)

    assert answer.status_code == 201
    made = answer.json()
    assert well_formed(made["key"])
    assert {name: made[name] for name in body} == body
    me = await eco.http.get("/eco/v1/me", headers={"authorization": f"Bearer {made['key']}"})
    assert me.json()["subject"]["key"] == made["id"]
    assert made["key"] not in (await eco.ask("bootstrap", KEYS)).text


async def test_a_key_without_an_org_is_of_the_callers(eco: EcoSide) -> None:
    made = (await eco.ask("gina", KEYS, "POST", json={"user": "new"})).json()

    assert (made["org"], made["role"]) == ("globex", "member")


@pytest.mark.parametrize("who", ["bootstrap", "platform", "owner", "gina", "ada", "ana", "robot"])
async def test_nobody_issues_beyond_its_org_or_above_its_role(eco: EcoSide, who: str) -> None:
    platform = who in {"bootstrap", "platform"}
    own = {"owner": "acme", "gina": "globex"}.get(who)

    for org, role in itertools.product(("acme", "globex"), Role):
        answer = await eco.ask(who, KEYS, "POST", json={"org": org, "team": "t", "role": role})

        allowed = platform or (org == own and role is not Role.PLATFORM_ADMIN)
        assert answer.status_code == (201 if allowed else 403), (org, role)


BAD: list[tuple[Any, str | None]] = [
    ({"org": ""}, "org"),
    ({"org": "a b"}, "org"),
    ({"team": "x:y"}, "team"),
    ({"user": "\r\nx"}, "user"),
    ({"labels": {"A": "x"}}, "labels"),
    ({"labels": {"a": {}}}, None),
    ({"role": "king"}, None),
    ({"role": "team_admin"}, "team"),
    ({"key": "egk_mine"}, None),
    ({"org": 1}, None),
    ([], None),
    ("x", None),
]


async def test_a_bad_body_issues_nothing(eco: EcoSide) -> None:
    before = len(await eco.rows("bootstrap", KEYS))

    for body, param in BAD:
        answer = await eco.ask("bootstrap", KEYS, "POST", json=body)

        assert answer.status_code == 400, (body, answer.text)
        assert answer.json()["error"]["param"] == param, body
    assert len(await eco.rows("bootstrap", KEYS)) == before


BROKEN = [b"", b"{", b"\xff", b'{"org": "\xff"}', b"[" * 10_000, b'{"org": "' + b"x" * 20_000 + b'"}']


async def test_a_broken_body_is_the_clients_mistake(eco: EcoSide) -> None:
    headers = {"content-type": "application/json"}

    for content in BROKEN:
        answer = await eco.ask("bootstrap", KEYS, "POST", content=content, headers=headers)

        assert answer.status_code in {400, 413}, (content[:20], answer.text)
        assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_the_list_stays_within_the_org(eco: EcoSide) -> None:
    def orgs(rows: list[dict[str, Any]]) -> set[str]:
        return {row["org"] for row in rows}

    assert orgs(await eco.rows("owner", KEYS)) == {"acme"}
    assert orgs(await eco.rows("gina", KEYS)) == {"globex"}
    assert orgs(await eco.rows("bootstrap", KEYS)) == {"acme", "globex"}
    assert orgs(await eco.rows("platform", KEYS, org="globex")) == {"globex"}
    assert await eco.rows("gina", KEYS, org="acme") == []
    assert await eco.rows("bootstrap", KEYS, org="\x00") == []


async def test_a_revoked_key_is_refused_at_once_and_stays_in_the_list(eco: EcoSide) -> None:
    key_id = eco.subjects["ana"].key
    assert (await eco.ask("ana", "/eco/v1/me")).status_code == 200

    answer = await eco.ask("owner", f"{KEYS}/{key_id}", "DELETE")

    assert answer.status_code == 200
    assert answer.json()["revoked_at"].endswith("Z")
    assert (await eco.ask("ana", "/eco/v1/me")).status_code == 401
    again = await eco.ask("owner", f"{KEYS}/{key_id}", "DELETE")
    assert again.json()["revoked_at"] == answer.json()["revoked_at"]
    assert key_id in {row["id"] for row in await eco.rows("owner", KEYS)}


async def test_a_key_of_another_org_does_not_exist(eco: EcoSide) -> None:
    for who, target in (("gina", "ana"), ("owner", "gil")):
        answer = await eco.ask(who, f"{KEYS}/{eco.subjects[target].key}", "DELETE")

        assert answer.status_code == 404
        assert (await eco.ask(target, "/eco/v1/me")).status_code == 200


async def test_an_org_admin_cannot_revoke_a_platform_admin(eco: EcoSide) -> None:
    answer = await eco.ask("owner", f"{KEYS}/{eco.subjects['platform'].key}", "DELETE")

    assert answer.status_code == 403
    assert (await eco.ask("platform", "/eco/v1/me")).status_code == 200


async def test_a_key_that_nobody_has_is_not_found(eco: EcoSide) -> None:
    for key_id in ("key_none", "admin", "%00", "x" * 500, "'%20OR%201=1"):
        answer = await eco.ask("bootstrap", f"{KEYS}/{key_id}", "DELETE")

        assert answer.status_code == 404, key_id
        assert answer.json()["error"]["code"] == "key_not_found"
