"""Requests summed up by the hour, so that usage of a month reads thousands of rows and not a million.

Invariant: at every commit a cell is the sum over the rows of `requests` in it, because each change of a row
moves its contribution in the same transaction. Knows contributions, no questions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, literal, or_, select

from gateway.store.tables import requests, usage_hours, usage_user_hours
from gateway.usage.periods import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Select, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.store.sql import Database

ROLLUPS: dict[Table, tuple[str, ...]] = {
    usage_hours: ("org", "team", "model", "deployment", "zone", "route", "decision"),
    usage_user_hours: ("org", "team", "user", "key", "decision"),
}
"""Each table of sums with what its cells are told apart by, beside the hour."""
AMOUNTS = (
    *("energy_uwh", "water_ul", "carbon_ug"),
    *("energy_low_uwh", "water_low_ul", "carbon_low_ug"),
    *("energy_high_uwh", "water_high_ul", "carbon_high_ug"),
    *("cost_uusd", "avoided_even_ug", "avoided_fixed_ug"),
    *("waste_energy_uwh", "waste_water_ul", "waste_carbon_ug"),
)
KNOWN = {
    "retries": "retry_of",
    "energy_lows": "energy_low_uwh",
    "water_lows": "water_low_ul",
    "carbon_lows": "carbon_low_ug",
    "priced": "cost_uusd",
    "avoided_even_known": "avoided_even_ug",
    "avoided_fixed_known": "avoided_fixed_ug",
}
"""Counts of the requests that have what others may lack."""
SUMS = ("requests", "settled", "estimated", "images", *AMOUNTS, *KNOWN)

Cell = tuple[Any, ...]


async def move(
    database: Database,
    connection: AsyncConnection,
    before: Sequence[Mapping[Any, Any]],
    after: Sequence[Mapping[Any, Any]],
) -> None:
    """Takes rows of `requests` as they were out of their cells and puts them in as they are."""
    signed = [(-1, row, _contribution(row)) for row in before] + [
        (1, row, _contribution(row)) for row in after
    ]
    for table, keys in ROLLUPS.items():
        await _move(database, connection, table, keys, signed)


async def _move(
    database: Database,
    connection: AsyncConnection,
    table: Table,
    keys: tuple[str, ...],
    signed: Sequence[tuple[int, Mapping[Any, Any], Mapping[str, int]]],
) -> None:
    changes: dict[Cell, dict[str, int]] = {}
    for sign, row, contribution in signed:
        sums = changes.setdefault(_cell(row, keys), dict.fromkeys(SUMS, 0))
        for name, amount in contribution.items():
            sums[name] += sign * amount
    names = ("hour_ms", *keys)
    moved = [
        dict(zip(names, cell, strict=True)) | sums for cell, sums in changes.items() if any(sums.values())
    ]
    if not moved:
        return
    await connection.execute(database.upsert(table, names, add=SUMS), moved)


def contributions() -> dict[str, ColumnElement[int]]:
    """What a row of `requests` adds to each sum, as SQL."""
    took = or_(requests.c.images != 0, requests.c.energy_uwh != 0)
    settled = requests.c.basis == "settled"
    return {
        "requests": literal(1),
        "settled": case((took & settled, 1), else_=0),
        "estimated": case((took & ~settled, 1), else_=0),
        "images": requests.c.images,
        **{name: func.coalesce(requests.c[name], 0) for name in AMOUNTS},
        **{name: case((requests.c[amount].is_not(None), 1), else_=0) for name, amount in KNOWN.items()},
    }


def recounted(table: Table) -> Select[Any]:
    """What every cell of a table must hold, counted from `requests` anew."""
    names = ROLLUPS[table]
    keys = [(requests.c.at_ms // HOUR_MS * HOUR_MS).label("hour_ms")]
    keys += [func.coalesce(requests.c[name], "").label(name) for name in names]
    sums = [name_sum.label(name) for name, name_sum in contributions().items()]
    rows = select(*keys, *sums).subquery()
    by = [rows.c[name] for name in ("hour_ms", *names)]
    return select(*by, *(func.sum(rows.c[name]).label(name) for name in SUMS)).group_by(*by)


def _cell(row: Mapping[Any, Any], keys: tuple[str, ...]) -> Cell:
    return (row["at_ms"] // HOUR_MS * HOUR_MS, *(row[name] or "" for name in keys))


def _contribution(row: Mapping[Any, Any]) -> dict[str, int]:
    took = row["images"] != 0 or row["energy_uwh"] != 0
    settled = row["basis"] == "settled"
    return {
        "requests": 1,
        "settled": int(took and settled),
        "estimated": int(took and not settled),
        "images": row["images"],
        **{name: row[name] or 0 for name in AMOUNTS},
        **{name: int(row[amount] is not None) for name, amount in KNOWN.items()},
    }
