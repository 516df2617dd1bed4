"""What questions about usage may name: attributes to filter by, attributes to group by.

Invariant: a text that comes out of here can be compared in every database. Refuses to know queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import InvalidRequest
from gateway.identity.names import LABEL_NAME
from gateway.store.tables import requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Table

ATTRIBUTES = ("org", "team", "user", "key", "model", "deployment", "zone", "route", "decision")
LABEL = "label."
MAX_GROUPS = 6
LONGEST_VALUE = 512


def checked_groups(names: Sequence[str]) -> tuple[str, ...]:
    """The names to group by, once each. Raises `InvalidRequest` for one that does not exist."""
    unique = tuple(dict.fromkeys(names))
    for name in unique:
        if name not in ATTRIBUTES and not (
            name.startswith(LABEL) and LABEL_NAME.fullmatch(name.removeprefix(LABEL)) is not None
        ):
            raise InvalidRequest(
                f"'group_by' takes {', '.join(ATTRIBUTES)} and label.<name>",
                code="unknown_group",
                param="group_by",
            )
    if len(unique) > MAX_GROUPS:
        raise InvalidRequest(f"'group_by' takes at most {MAX_GROUPS} names", param="group_by")
    return unique


def checked_filters(values: Mapping[str, str | None]) -> dict[str, str]:
    """The filters that were given. Raises `InvalidRequest` for a value that no request can have."""
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if name not in ATTRIBUTES or not storable(value):
            raise InvalidRequest(f"'{name}' is not something to filter by", param=name)
    return given


def conditions(filters: Mapping[str, str], table: Table = requests) -> list[ColumnElement[bool]]:
    """For the WHERE of a query on a table."""
    return [table.c[name] == value for name, value in filters.items()]


def group_column(name: str, table: Table = requests) -> ColumnElement[str | None]:
    """The column, or the part of one, that a checked name stands for."""
    if name.startswith(LABEL):
        label: ColumnElement[str | None] = table.c.labels[name.removeprefix(LABEL)].as_string()
        return label
    return table.c[name]


def storable(text: str) -> bool:
    """Whether a database can hold a text: PostgreSQL takes no NUL and no half of a surrogate pair."""
    return (
        len(text) <= LONGEST_VALUE
        and "\x00" not in text
        and not any("\ud800" <= character <= "\udfff" for character in text)
    )
