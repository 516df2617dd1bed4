"""Managing API keys: issuing, listing, revoking.

Org admins stay within their org; nobody hands out or takes back a role above its own. Refuses to know how
keys are made and kept.
"""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.di import Provide
from litestar.params import FromPath, JSONBody, QueryParameter

from gateway.api.auth import outranks, provide_administrator
from gateway.api.errors import as_response
from gateway.api.openapi import errors
from gateway.api.parts import Part
from gateway.errors import InvalidRequest, NotAllowed, NotFound
from gateway.identity.registry import IssuedKey, KeyEntry, KeyRegistry
from gateway.identity.subject import Role, Subject
from gateway.usage.periods import rfc3339

LARGEST_BODY_BYTES = 16_384


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """Whom a key speaks for. `org` is the caller's own where it is left out.

    `requests_per_minute` replaces the setting of that name for this key; 0: any number.
    """

    org: str | None = None
    team: str | None = None
    user: str | None = None
    labels: dict[str, str] = {}
    role: Role = Role.MEMBER
    requests_per_minute: int | None = None


class KeyAnswer(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A key without its secret."""

    id: str
    org: str
    role: str
    created_at: str
    team: str | None = None
    user: str | None = None
    labels: dict[str, str] = {}
    requests_per_minute: int | None = None
    revoked_at: str | None = None


class IssuedKeyAnswer(KeyAnswer, omit_defaults=True, kw_only=True):
    """A new key. `key` is shown this once."""

    key: str


class KeysAnswer(msgspec.Struct):
    """Keys, newest first, revoked ones too."""

    data: list[KeyAnswer]


def _unreadable(_: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """Bodies nested too deeply or not in UTF-8, for which the framework has no answer of its own."""
    del error
    return as_response(InvalidRequest("The body is not JSON that can be read.", code="invalid_json"))


@post(
    "/keys",
    summary="Issue a key",
    responses=errors(400, 401, 403, 413, 503),
    request_max_body_size=LARGEST_BODY_BYTES,
    exception_handlers={RecursionError: _unreadable, UnicodeDecodeError: _unreadable},
)
async def create_key(
    data: JSONBody[NewKey], administrator: Part[Subject], keys: Part[KeyRegistry]
) -> IssuedKeyAnswer:
    """Issue a key. The answer is the only place where it can be read."""
    org = administrator.org if data.org is None else data.org
    if not _manages(administrator, org):
        raise NotAllowed("You may issue keys for your own org only.", param="org")
    if not outranks(administrator, data.role):
        raise NotAllowed("You may not issue a key with a role above your own.", param="role")
    issued = await keys.create(
        org=org,
        team=data.team,
        user=data.user,
        labels=data.labels,
        role=data.role,
        requests_per_minute=data.requests_per_minute,
    )
    return issued_key_answer(issued)


@get("/keys", summary="List keys", responses=errors(400, 401, 403, 503))
async def list_keys(
    administrator: Part[Subject],
    keys: Part[KeyRegistry],
    org: Annotated[str | None, QueryParameter(description="Only the keys of this org")] = None,
) -> KeysAnswer:
    """The keys of the caller's org, or of all orgs for platform admins; newest first."""
    if administrator.role is not Role.PLATFORM_ADMIN:
        if org not in {None, administrator.org}:
            return KeysAnswer(data=[])
        org = administrator.org
    return KeysAnswer(data=[key_answer(entry) for entry in await keys.listing(org)])


@delete(
    "/keys/{key_id:str}",
    summary="Revoke a key",
    status_code=200,
    responses=errors(400, 401, 403, 404, 503),
)
async def revoke_key(
    key_id: FromPath[str], administrator: Part[Subject], keys: Part[KeyRegistry]
) -> KeyAnswer:
    """Revoke a key: at once here, within five seconds everywhere. A revoked key stays in the list."""
    entry = await keys.entry(key_id)
    if entry is None or not _manages(administrator, entry.subject.org):
        raise NotFound("There is no such key.", code="key_not_found", param="id")
    if not outranks(administrator, entry.subject.role):
        raise NotAllowed("You may not revoke a key with a role above your own.")
    await keys.revoke(key_id)
    return key_answer(await keys.entry(key_id) or entry)


def admin_router() -> Router:
    """What administrators do below `/eco/v1`."""
    return Router(
        path="/eco/v1",
        route_handlers=[create_key, list_keys, revoke_key],
        dependencies={"administrator": Provide(provide_administrator)},
        tags=["admin"],
    )


def _manages(administrator: Subject, org: str) -> bool:
    return administrator.role is Role.PLATFORM_ADMIN or administrator.org == org


def key_answer(entry: KeyEntry) -> KeyAnswer:
    """What may be shown of a key."""
    return KeyAnswer(**_key_fields(entry))


def issued_key_answer(issued: IssuedKey) -> IssuedKeyAnswer:
    """A new key with its secret."""
    return IssuedKeyAnswer(key=issued.key, **_key_fields(issued.entry))


def _key_fields(entry: KeyEntry) -> dict[str, Any]:
    subject = entry.subject
    return {
        "id": entry.id,
        "org": subject.org,
        "team": subject.team,
        "user": subject.user,
        "labels": subject.labels,
        "role": subject.role.value,
        "requests_per_minute": subject.requests_per_minute,
        "created_at": rfc3339(entry.created_at_ms),
        "revoked_at": None if entry.revoked_at_ms is None else rfc3339(entry.revoked_at_ms),
    }
