"""Journal entries into SQL: each counted once, in one transaction with the request that it belongs to.

Invariant: the amounts of a row of `requests` are the sum over the entries in `journal` with its id, and those
of a cell of `usage_hours` the sum over its requests, at every commit, whatever was delivered twice or posted
to two servers of the store (`endings`, `turns`). Knows how a request's row follows from its entries; it does
not know where the entries come from.
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from gateway.store.tables import JOURNALED, journal, journal_rejects, postings, requests
from gateway.usage.avoided import avoided_ug
from gateway.usage.endings import Ended
from gateway.usage.entries import JOURNAL, Amounts
from gateway.usage.record import Record, decode
from gateway.usage.rollup import move
from gateway.usage.turns import in_turn
from gateway.usage.waste import wasted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Row, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.store.sql import Database
    from gateway.usage.entries import Entry

REQUEST_KEY = ("org", "id")


@dataclass(frozen=True, slots=True)
class Request:
    """What is known of one request so far, and when its first and its newest entry were written."""

    at_ms: int
    updated_at_ms: int
    central: Amounts
    high: Amounts
    record: Record
    record_entry: tuple[str, str]  # stream and id of the entry that the record stands in

    def with_entry(self, entry: Entry) -> Request:
        newest = entry.at_ms >= self.updated_at_ms
        return replace(
            self,
            at_ms=min(self.at_ms, entry.at_ms),
            updated_at_ms=max(self.updated_at_ms, entry.at_ms),
            central=self.central.plus(entry.central),
            high=self.high.plus(entry.high),
            record=entry.record if newest else self.record,
            record_entry=(entry.stream, entry.entry_id) if newest else self.record_entry,
        )


async def store_entries(database: Database, org: str, entries: Sequence[Entry], *, turn: str = "") -> int:
    """Store the entries of one org that are not stored yet; answers how many those were.

    `turn` is that of the server from which they were read. Raises `Superseded`, which is a `StoreError`, when
    another one has its turn since; `StoreError` when the database does not answer, and another SQLAlchemy
    error for a value that it does not take; then nothing is stored.
    """
    async with database.storing() as connection:
        await in_turn(database, connection, org, turn)
        fresh = await _counting(connection, org, await _unknown(connection, org, entries, turn))
        if not fresh:
            return 0
        await connection.execute(journal.insert(), [_journal_row(entry) for entry in fresh])
        posted = [row for entry in fresh for row in _posting_rows(entry)]
        if posted:
            await connection.execute(postings.insert(), posted)
        before = await _stored(connection, org, {entry.request_id for entry in fresh})
        known = {row.id: _request(row) for row in before}
        for entry in fresh:
            so_far = known.get(entry.request_id)
            known[entry.request_id] = _first(entry) if so_far is None else so_far.with_entry(entry)
        rows = [_request_row(request) for request in known.values()]
        changed = tuple(name for name in rows[0] if name not in REQUEST_KEY)
        await connection.execute(database.upsert(requests, REQUEST_KEY, replace=changed), rows)
        await move(database, connection, [row._asdict() for row in before], rows)
    return len(fresh)


async def store_reject(
    database: Database, org: str, stream: str, entry_id: str, *, fields: Mapping[bytes, bytes], reason: str
) -> None:
    """Keep an entry that cannot be read, field by field, for a person to look at."""
    row = {
        "org": org,
        "stream": stream,
        "entry_id": entry_id,
        "fields": json.dumps({_shown(name): _shown(value) for name, value in fields.items()}),
        "reason": reason,
        "rejected_at_ms": time.time_ns() // 1_000_000,
    }
    async with database.storing() as connection:
        await connection.execute(database.insert(journal_rejects).values(row).on_conflict_do_nothing())


def charged(row: Row[Any]) -> Amounts:
    """What a row of `requests` was charged, by central estimates."""
    unpriced = int(row.cost_uusd is None)
    return Amounts(row.energy_uwh, row.water_ul, row.carbon_ug, row.images, row.cost_uusd or 0, unpriced)


def with_record() -> Select[Any]:
    """A query for requests, each with the text of its newest record as `record`."""
    newest = (
        (journal.c.org == requests.c.org)
        & (journal.c.stream == requests.c.record_stream)
        & (journal.c.entry_id == requests.c.record_entry_id)
    )
    return select(requests, journal.c.record).join(journal, newest)


async def _unknown(connection: AsyncConnection, org: str, entries: Sequence[Entry], turn: str) -> list[Entry]:
    """Those that are not stored; two servers may have given one id, which then gets the turn behind it."""
    query = select(journal.c.stream, journal.c.entry_id, journal.c.hold).where(
        journal.c.org == org,
        journal.c.stream.in_(sorted({entry.stream for entry in entries})),
        journal.c.entry_id.in_([one for entry in entries for one in (entry.entry_id, _other(entry, turn))]),
    )
    stored = {(row.stream, row.entry_id): row.hold for row in await connection.execute(query)}
    unknown = []
    for entry in entries:
        hold = stored.get((entry.stream, entry.entry_id))
        if hold is None:
            unknown.append(entry)
        elif hold != entry.hold and (entry.stream, _other(entry, turn)) not in stored:
            unknown.append(replace(entry, entry_id=_other(entry, turn)))
    return unknown


def _other(entry: Entry, turn: str) -> str:
    return f"{entry.entry_id}@{turn}"


async def _counting(connection: AsyncConnection, org: str, entries: Sequence[Entry]) -> list[Entry]:
    """The entries as they count beside those that are stored for the same holds, oldest first."""
    posted = {entry.hold for entry in entries if entry.stream == JOURNAL}
    amounts = [
        journal.c[f"{bound}_{name}"].label(f"{bound}_{name}")
        for bound in ("central", "high")
        for name in Amounts._fields
    ]
    query = select(journal.c.hold, journal.c.kind, *amounts).where(
        journal.c.org == org, JOURNALED, journal.c.hold.in_(posted)
    )
    ended: dict[str, Ended] = {}
    for row in await connection.execute(query) if posted else ():
        central, high = (
            Amounts(*(getattr(row, f"{bound}_{name}") for name in Amounts._fields))
            for bound in ("central", "high")
        )
        before = ended.get(row.hold, Ended())
        ended[row.hold] = Ended(
            before.kinds | {row.kind}, before.central.plus(central), before.high.plus(high)
        )
    counting = []
    for entry in sorted(entries, key=lambda entry: entry.at_ms):
        if entry.stream != JOURNAL:
            counting.append(entry)
            continue
        before = ended.get(entry.hold, Ended())
        counts = before.counts(entry)
        if counts is not None:
            ended[entry.hold] = before.after(counts)
            counting.append(counts)
    return counting


async def _stored(connection: AsyncConnection, org: str, ids: set[str]) -> Sequence[Row[Any]]:
    query = with_record().where(requests.c.org == org, requests.c.id.in_(ids))
    rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
    return rows


def _first(entry: Entry) -> Request:
    return Request(
        at_ms=entry.at_ms,
        updated_at_ms=entry.at_ms,
        central=entry.central,
        high=entry.high,
        record=entry.record,
        record_entry=(entry.stream, entry.entry_id),
    )


def _request(row: Row[Any]) -> Request:
    return Request(
        at_ms=row.at_ms,
        updated_at_ms=row.updated_at_ms,
        central=charged(row),
        high=charged(row)._replace(
            energy_uwh=row.energy_high_uwh, water_ul=row.water_high_ul, carbon_ug=row.carbon_high_ug
        ),
        record=decode(row.record),
        record_entry=(row.record_stream, row.record_entry_id),
    )


def _request_row(request: Request) -> dict[str, Any]:
    record, central, high = request.record, request.central, request.high
    return {
        "org": record.org,
        "id": record.id,
        "at_ms": request.at_ms,
        "updated_at_ms": request.updated_at_ms,
        "team": record.team,
        "user": record.user,
        "key": record.key,
        "labels": record.labels,
        "model": record.model,
        "deployment": record.deployment,
        "zone": record.zone,
        "route": record.route,
        "decision": record.decision,
        "outcome": record.outcome,
        "basis": record.basis,
        "images": central.images,
        "energy_uwh": central.energy_uwh,
        "water_ul": central.water_ul,
        "carbon_ug": central.carbon_ug,
        "energy_low_uwh": _low(record, "energy_wh", central.energy_uwh),
        "water_low_ul": _low(record, "water_ml", central.water_ul),
        "carbon_low_ug": _low(record, "carbon_g", central.carbon_ug),
        "energy_high_uwh": high.energy_uwh,
        "water_high_ul": high.water_ul,
        "carbon_high_ug": high.carbon_ug,
        "cost_uusd": None if central.unpriced else central.cost_uusd,
        "avoided_even_ug": avoided_ug(record, "even_spread", central.carbon_ug),
        "avoided_fixed_ug": avoided_ug(record, "best_fixed", central.carbon_ug),
        "waste_energy_uwh": wasted(record, "energy_wh"),
        "waste_water_ul": wasted(record, "water_ml"),
        "waste_carbon_ug": wasted(record, "carbon_g"),
        "record_stream": request.record_entry[0],
        "record_entry_id": request.record_entry[1],
        "retry_of": record.retry_of,
    }


def _low(record: Record, field: str, central: int) -> int | None:
    """The lower bound of a charge: as far below it as the footprint's is below its central value.

    The journal carries central and high amounts only. A charge may be a part of the footprint (a late
    correction) or nothing at all (a refusal), so the footprint's own bound would not fit it.
    """
    if central == 0:
        return 0
    quantity = record.footprint.get(field)
    if not isinstance(quantity, dict):
        return None
    low, middle = quantity.get("low"), quantity.get("central")
    if not isinstance(low, int | float) or not isinstance(middle, int | float) or middle <= 0:
        return None
    return round(central * low / middle)


def _journal_row(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {
        "org": entry.org,
        "stream": entry.stream,
        "entry_id": entry.entry_id,
        "kind": entry.kind,
        "hold": entry.hold,
        "request_id": entry.request_id,
        "at_ms": entry.at_ms,
        "record": entry.record_text,
    }
    for bound, amounts in (("central", entry.central), ("high", entry.high)):
        row |= {f"{bound}_{name}": amount for name, amount in amounts._asdict().items()}
    return row


def _posting_rows(entry: Entry) -> list[dict[str, Any]]:
    return [
        {
            "org": entry.org,
            "stream": entry.stream,
            "entry_id": entry.entry_id,
            "position": position,
            "counter": posting.counter,
            "bucket_start_ms": posting.bucket_start_ms,
            "bound": posting.bound,
        }
        for position, posting in enumerate(entry.postings)
    ]


def _shown(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(value).decode()}"
