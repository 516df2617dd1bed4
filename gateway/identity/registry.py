"""Who holds which key: issuing, looking up, revoking.

A key that is unknown, revoked or malformed brings the same answer. A look-up is remembered for less than
`CACHE_S`, so a revocation is effective everywhere within that time, and at once in the process that was told.
When the store is down, a key that is not remembered is refused with 503. Refuses to know what a role may see.
"""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from gateway.errors import InvalidRequest, NotAuthenticated, StoreError, Unavailable
from gateway.identity.keys import digest, mint, mint_id, pepper_id, well_formed
from gateway.identity.names import NAME, checked_labels, checked_name
from gateway.identity.subject import Role, Subject
from gateway.settings import MOST_PER_MINUTE
from gateway.store.tables import api_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import SecretStr
    from sqlalchemy import Row

    from gateway.store.sql import Database

CACHE_S = 4.0
CACHE_ENTRIES = 10_000
ADMIN = Subject(org="default", key="admin", role=Role.PLATFORM_ADMIN)
REFUSED = "Incorrect API key provided."
CHALLENGE = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What may be shown of a key. `created_at_ms` and `revoked_at_ms` are UTC epoch milliseconds."""

    subject: Subject
    created_at_ms: int
    revoked_at_ms: int | None = None

    @property
    def id(self) -> str:
        return self.subject.key


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key. `key` is the secret itself, which nobody can read again."""

    key: str
    entry: KeyEntry

    @property
    def id(self) -> str:
        return self.entry.id

    def __repr__(self) -> str:
        return f"IssuedKey(id={self.id!r}, key='***')"


class KeyRegistry:
    """The keys of one database, and the admin key of this process if it has one."""

    def __init__(
        self,
        database: Database,
        pepper: bytes,
        admin_key: SecretStr | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._pepper = pepper
        self._pepper_id = pepper_id(pepper)
        self._admin_digest = None if admin_key is None else digest(pepper, admin_key.get_secret_value())
        self._monotonic = monotonic
        self._remembered: dict[str, tuple[float, Subject]] = {}
        self._revocations = 0

    async def authenticate(self, token: str) -> Subject:
        """The holder of a key.

        Raises `NotAuthenticated` for anything that is not a live key, and `Unavailable` when that cannot be
        found out.
        """
        wanted = digest(self._pepper, token)
        if self._admin_digest is not None and hmac.compare_digest(wanted, self._admin_digest):
            return ADMIN
        if not well_formed(token):
            raise _refused()
        remembered = self._remembered.get(wanted)
        if remembered is not None and self._monotonic() < remembered[0]:
            return remembered[1]
        return await self._look_up(wanted)

    async def create(
        self,
        *,
        org: str,
        team: str | None = None,
        user: str | None = None,
        labels: Mapping[str, str] | None = None,
        role: Role = Role.MEMBER,
        requests_per_minute: int | None = None,
    ) -> IssuedKey:
        """Issue a key. Raises `InvalidRequest` for a bad name or rate, or a team admin without a team."""
        subject = Subject(
            org=checked_name(org, param="org"),
            team=None if team is None else checked_name(team, param="team"),
            user=None if user is None else checked_name(user, param="user"),
            labels=checked_labels(labels or {}),
            role=role,
            key=mint_id(),
            requests_per_minute=_checked_rate(requests_per_minute),
        )
        if role is Role.TEAM_ADMIN and team is None:
            raise InvalidRequest("a team admin needs a team", code="missing_team", param="team")
        secret = mint()
        now_ms = time.time_ns() // 1_000_000
        row = {
            "id": subject.key,
            "digest": digest(self._pepper, secret),
            "pepper_id": self._pepper_id,
            "org": subject.org,
            "team": subject.team,
            "user": subject.user,
            "labels": subject.labels,
            "role": role.value,
            "created_at_ms": now_ms,
            "requests_per_minute": subject.requests_per_minute,
        }
        async with self._database.writing() as connection:
            await connection.execute(api_keys.insert().values(row))
        return IssuedKey(key=secret, entry=KeyEntry(subject=subject, created_at_ms=now_ms))

    async def entry(self, key_id: str, *, org: str | None = None) -> KeyEntry | None:
        """One key by its id, within an org if one is given."""
        if NAME.fullmatch(key_id) is None:
            return None
        query = select(api_keys).where(api_keys.c.id == key_id)
        if org is not None:
            query = query.where(api_keys.c.org == org)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _entry(row)

    async def revoke(self, key_id: str) -> bool:
        """End a key's life. False when there is no such key or it was revoked before."""
        if NAME.fullmatch(key_id) is None:
            return False
        statement = (
            update(api_keys)
            .where(api_keys.c.id == key_id, api_keys.c.revoked_at_ms.is_(None))
            .values(revoked_at_ms=time.time_ns() // 1_000_000)
        )
        async with self._database.writing() as connection:
            changed = (await connection.execute(statement)).rowcount
        # A look-up under way may have read the row before: it must not be remembered after this.
        self._revocations += 1
        self._remembered = {
            known: value for known, value in self._remembered.items() if value[1].key != key_id
        }
        return bool(changed)

    async def listing(self, org: str | None = None) -> list[KeyEntry]:
        """All keys, revoked ones too, of an org or of all orgs; newest first."""
        query = select(api_keys).order_by(api_keys.c.created_at_ms.desc(), api_keys.c.id)
        if org is not None:
            if NAME.fullmatch(org) is None:
                return []
            query = query.where(api_keys.c.org == org)
        async with self._database.reading() as connection:
            return [_entry(row) for row in await connection.execute(query)]

    async def subjects(self, org: str | None = None) -> list[Subject]:
        """The holders of all live keys of an org, or of all orgs."""
        return [entry.subject for entry in await self.listing(org) if entry.revoked_at_ms is None]

    async def _look_up(self, wanted: str) -> Subject:
        revocations = self._revocations
        try:
            async with self._database.reading() as connection:
                query = select(api_keys).where(api_keys.c.digest == wanted)
                row = (await connection.execute(query)).one_or_none()
        except StoreError as error:
            raise Unavailable(
                "API keys cannot be checked right now.", code="key_store_unavailable"
            ) from error
        if row is None or not hmac.compare_digest(row.digest, wanted) or row.revoked_at_ms is not None:
            self._remembered.pop(wanted, None)
            raise _refused()
        subject = _entry(row).subject
        if revocations == self._revocations:
            if len(self._remembered) >= CACHE_ENTRIES:
                self._remembered.clear()
            self._remembered[wanted] = (self._monotonic() + CACHE_S, subject)
        return subject


def _checked_rate(per_minute: int | None) -> int | None:
    if per_minute is not None and not 0 <= per_minute <= MOST_PER_MINUTE:
        raise InvalidRequest(
            f"requests_per_minute must be between 0 (no limit) and {MOST_PER_MINUTE}",
            code="invalid_value",
            param="requests_per_minute",
        )
    return per_minute


def _refused() -> NotAuthenticated:
    return NotAuthenticated(REFUSED, headers=dict(CHALLENGE))


def _entry(row: Row[Any]) -> KeyEntry:
    subject = Subject(
        org=row.org,
        key=row.id,
        role=Role(row.role),
        team=row.team,
        user=row.user,
        labels=dict(row.labels),
        requests_per_minute=row.requests_per_minute,
    )
    return KeyEntry(subject=subject, created_at_ms=row.created_at_ms, revoked_at_ms=row.revoked_at_ms)
