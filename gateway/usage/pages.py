"""Stored requests as they are listed: one of them with its entries, or a page of them, newest first.

Knows how rows become requests and how a page goes on. Refuses to know who may see which.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, or_

from gateway.errors import InvalidRequest
from gateway.store.tables import requests
from gateway.usage.entries import Amounts
from gateway.usage.filters import storable
from gateway.usage.record import Record, decode
from gateway.usage.storing import charged

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Row

MAX_PAGE = 200


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One journal entry of a request."""

    kind: str
    at_ms: int
    central: Amounts
    high: Amounts


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """One request: its newest record, what it was charged so far, and when (UTC epoch milliseconds)."""

    org: str
    id: str
    at_ms: int
    updated_at_ms: int
    charge: Amounts
    record: Record
    entries: tuple[StoredEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Some requests, newest first, and where to go on."""

    requests: list[StoredRequest]
    next: str | None = None


def read_request(row: Row[Any], entries: tuple[StoredEntry, ...] = ()) -> StoredRequest:
    """A row of `storing.with_record`."""
    return StoredRequest(
        org=row.org,
        id=row.id,
        at_ms=row.at_ms,
        updated_at_ms=row.updated_at_ms,
        charge=charged(row),
        record=decode(row.record),
        entries=entries,
    )


def read_entry(row: Row[Any]) -> StoredEntry:
    """A row of `journal`."""
    return StoredEntry(
        kind=row.kind,
        at_ms=row.at_ms,
        central=Amounts(*(getattr(row, f"central_{name}") for name in Amounts._fields)),
        high=Amounts(*(getattr(row, f"high_{name}") for name in Amounts._fields)),
    )


def cursor_after(last: StoredRequest) -> str:
    """Where the page that ends with this request goes on."""
    return base64.urlsafe_b64encode(msgspec.json.encode((last.at_ms, last.org, last.id))).decode().rstrip("=")


def older_than(cursor: str) -> ColumnElement[bool]:
    """What stands behind a cursor. A made-up one moves the page and shows nothing that is not visible.

    Raises `InvalidRequest` for one that does not stand for a place.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        at_ms, org, request_id = msgspec.json.decode(text, type=tuple[int, str, str])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise InvalidRequest("'cursor' is not the 'next' of a page", param="cursor") from error
    if not 0 <= at_ms < 2**53 or not storable(org) or not storable(request_id):
        raise InvalidRequest("'cursor' is not the 'next' of a page", param="cursor")
    return or_(
        requests.c.at_ms < at_ms,
        and_(requests.c.at_ms == at_ms, requests.c.org < org),
        and_(requests.c.at_ms == at_ms, requests.c.org == org, requests.c.id < request_id),
    )
