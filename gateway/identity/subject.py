"""Who asks: the subject that budgets, usage and permissions speak of.

A subject comes only from a key (or the admin key); nothing in a request body or another header changes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a key may see and do; each key has exactly one."""

    PLATFORM_ADMIN = "platform_admin"
    ORG_ADMIN = "org_admin"
    TEAM_ADMIN = "team_admin"
    MEMBER = "member"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Subject:
    """The holder of a key. `key` is the key's public id, never the secret.

    `requests_per_minute` is the key's own limit, 0 for none; None where that of all keys holds.
    """

    org: str
    key: str
    role: Role
    team: str | None = None
    user: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    requests_per_minute: int | None = None
