"""What a caller may see of the requests in SQL, as conditions that every query carries.

Invariant: a query that went through `conditions` cannot answer a row that is not the caller's. Roles narrow;
nothing that a caller sends widens. Refuses to know routes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.identity.subject import Role
from gateway.store.tables import requests

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Table

    from gateway.identity.subject import Subject


@dataclass(frozen=True, slots=True)
class Visibility:
    """Which requests: all of them where every field is `None`, else those that have all the named values."""

    org: str | None = None
    team: str | None = None
    user: str | None = None
    key: str | None = None

    @classmethod
    def of(cls, subject: Subject) -> Visibility:
        """Platform admins see everything, org admins their org, team admins their team.

        Members see what their user asked for, with any of its keys; services, and members without a user,
        what their own key asked for.
        """
        match subject.role:
            case Role.PLATFORM_ADMIN:
                return cls()
            case Role.ORG_ADMIN:
                return cls(org=subject.org)
            case Role.TEAM_ADMIN if subject.team is not None:
                return cls(org=subject.org, team=subject.team)
            case Role.MEMBER if subject.user is not None:
                return cls(org=subject.org, user=subject.user)
            case _:
                return cls(org=subject.org, key=subject.key)

    def named(self) -> dict[str, str]:
        """The attributes that requests must have, with their values."""
        wanted = (("org", self.org), ("team", self.team), ("user", self.user), ("key", self.key))
        return {name: value for name, value in wanted if value is not None}

    def conditions(self, table: Table = requests) -> list[ColumnElement[bool]]:
        """For the WHERE of every query on `requests`, or on another table with its attributes."""
        return [table.c[name] == value for name, value in self.named().items()]

    def __contains__(self, subject: Subject) -> bool:
        """Whether the requests of this subject are among them."""
        wanted = (
            (self.org, subject.org),
            (self.team, subject.team),
            (self.user, subject.user),
            (self.key, subject.key),
        )
        return all(value in {None, its} for value, its in wanted)
