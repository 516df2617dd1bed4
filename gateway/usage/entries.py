"""Journal entries as they stand in Redis, read strictly.

An entry is a flat map of texts that the ledger's scripts wrote. Whatever cannot be read completely is an
`Unreadable`, never half an entry: amounts are not guessed. Knows the form of an entry and no store.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from gateway.errors import EcogateError
from gateway.usage.record import Record, decode

if TYPE_CHECKING:
    from collections.abc import Mapping

JOURNAL = "journal"
REFUSALS = "refusals"
KINDS = frozenset({"commit", "expire", "late", "orphan", "release"})
MAX_STORED = 2**53 - 1  # the largest integer that the ledger's scripts handle exactly
INTEGER = re.compile(rb"-?[0-9]{1,16}")


class Unreadable(EcogateError):
    """An entry has a missing, malformed or foreign field. The message names the field, not its value."""


class Amounts(NamedTuple):
    """What an entry adds, in the ledger's integers and in the order in which its scripts write them.

    `unpriced` counts charges whose cost nobody knows: while it is not 0, `cost_uusd` lacks something.
    """

    energy_uwh: int
    water_ul: int
    carbon_ug: int
    images: int
    cost_uusd: int
    unpriced: int

    def plus(self, other: Amounts) -> Amounts:
        return Amounts(*(mine + its for mine, its in zip(self, other, strict=True)))

    def less(self, other: Amounts) -> Amounts:
        return Amounts(*(mine - its for mine, its in zip(self, other, strict=True)))


NOTHING = Amounts(0, 0, 0, 0, 0, 0)


class Posting(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A counter that an entry changed; `bound` says whether by its central or its high amounts."""

    counter: str
    bucket_start_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_STORED)]
    bound: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an org's journal or refusals. `at_ms` is Redis time, UTC epoch milliseconds."""

    org: str
    stream: str
    entry_id: str
    kind: str
    hold: str
    at_ms: int
    central: Amounts
    high: Amounts
    postings: tuple[Posting, ...]
    record: Record
    record_text: str

    @property
    def request_id(self) -> str:
        return self.record.id


def read_entry(org: str, stream: str, entry_id: str, fields: Mapping[bytes, bytes]) -> Entry:
    """The entry with these fields. Raises `Unreadable`."""
    if stream == JOURNAL:
        kind = _text(fields, "kind")
        if kind not in KINDS:
            raise Unreadable("kind is not one of the journal's")
        central, high = _amounts(fields, "central"), _amounts(fields, "high")
        postings = _postings(fields)
    else:
        kind, central, high, postings = "refusal", NOTHING, NOTHING, ()
    record_text = _text(fields, "record")
    try:
        record = decode(record_text)
    except msgspec.MsgspecError as error:
        msg = "record is not one of this version"
        raise Unreadable(msg) from error
    if record.org != org:
        raise Unreadable("record belongs to another org")
    if not record.id:
        raise Unreadable("record has no id")
    return Entry(
        org=org,
        stream=stream,
        entry_id=entry_id,
        kind=kind,
        hold=_text(fields, "hold"),
        at_ms=_integer(fields, "at"),
        central=central,
        high=high,
        postings=postings,
        record=record,
        record_text=record_text,
    )


def read_grant(fields: Mapping[bytes, bytes]) -> tuple[str, int, str]:
    """The id of a raise, when its entry was written (UTC epoch ms), and its JSON. Raises `Unreadable`."""
    return _text(fields, "hold"), _integer(fields, "at"), _text(fields, "record")


def _raw(fields: Mapping[bytes, bytes], name: str) -> bytes:
    value = fields.get(name.encode())
    if value is None:
        msg = f"{name} is missing"
        raise Unreadable(msg)
    return value


def _text(fields: Mapping[bytes, bytes], name: str) -> str:
    try:
        value = _raw(fields, name).decode()
    except UnicodeDecodeError as error:
        msg = f"{name} is not UTF-8"
        raise Unreadable(msg) from error
    # PostgreSQL stores no NUL, neither as a character nor, in the parts of a record, as its escape.
    if "\x00" in value or "\\u0000" in value:
        msg = f"{name} holds a NUL"
        raise Unreadable(msg)
    return value


def _integer(fields: Mapping[bytes, bytes], name: str) -> int:
    value = _raw(fields, name)
    if INTEGER.fullmatch(value) is None:
        msg = f"{name} is not an integer"
        raise Unreadable(msg)
    return int(value)


def _amounts(fields: Mapping[bytes, bytes], name: str) -> Amounts:
    parts = _raw(fields, name).split(b" ")
    if len(parts) != len(Amounts._fields) or any(INTEGER.fullmatch(part) is None for part in parts):
        msg = f"{name} is not six integers"
        raise Unreadable(msg)
    amounts = [int(part) for part in parts]
    if any(abs(amount) > MAX_STORED for amount in amounts):
        msg = f"{name} is larger than any counter"
        raise Unreadable(msg)
    return Amounts(*amounts)


def _postings(fields: Mapping[bytes, bytes]) -> tuple[Posting, ...]:
    try:
        return tuple(msgspec.json.decode(_text(fields, "counters"), type=list[Posting]))
    except msgspec.MsgspecError as error:
        msg = "counters is not a list of counters"
        raise Unreadable(msg) from error
