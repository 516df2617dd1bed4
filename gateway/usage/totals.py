"""Sums over requests per bucket of time and group: the question, its SQL and its rows.

Amounts are the ledger's integers, summed exactly; a lower bound that one request lacks is unknown for the
whole sum. Refuses to know who asks (`visibility`) and how answers look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, and_, case, func, literal, or_, select

from gateway.store.tables import requests
from gateway.usage.filters import conditions, group_column
from gateway.usage.periods import DAY_MS, DAYS_PER_WEEK, HOUR_MS, MONDAY, bounds, month_starts, offsets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Select

    from gateway.usage.periods import Period, Window

QUANTITIES = {
    "energy_uwh": ("energy_low_uwh", "energy_uwh", "energy_high_uwh"),
    "water_ul": ("water_low_ul", "water_ul", "water_high_ul"),
    "carbon_ug": ("carbon_low_ug", "carbon_ug", "carbon_high_ug"),
}


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """What to sum up; `filters` checks what may be named."""

    period: Period
    window: Window
    group_by: tuple[str, ...] = ()
    filters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sum:
    """A summed quantity in ledger integers; `low` is `None` where a lower bound is not known."""

    low: int | None
    central: int
    high: int


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The usage of one group in one bucket, from `start_ms` to `end_ms`, UTC epoch milliseconds.

    Of all `requests`, `refused` were denied by a budget and `retries` repeated an earlier one. `settled` and
    `estimated` took something, and say whether the amounts come from what came back. `cost_uusd` is None
    where the cost of one of them is not known; `unpriced` counts those.
    """

    start_ms: int
    end_ms: int
    group: dict[str, str | None]
    requests: int
    refused: int
    retries: int
    settled: int
    estimated: int
    images: int
    energy_uwh: Sum
    water_ul: Sum
    carbon_ug: Sum
    cost_uusd: int | None
    unpriced: int


def statement(question: UsageQuestion, visible: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """The query that answers a question, over the requests that are visible."""
    counted = [requests.c[name] for columns in QUANTITIES.values() for name in columns]
    groups = {f"group_{n}": group_column(name) for n, name in enumerate(question.group_by)}
    # Computed in a subquery, since PostgreSQL does not see that two expressions with parameters are one.
    rows = (
        select(
            _bucket_number(question).label("bucket"),
            *(column.label(name) for name, column in groups.items()),
            *(requests.c.decision, requests.c.basis, requests.c.retry_of),
            *(requests.c.images, requests.c.cost_uusd, *counted),
        )
        .where(
            *visible,
            *conditions(question.filters),
            requests.c.at_ms >= question.period.start_ms,
            requests.c.at_ms < question.period.end_ms,
        )
        .subquery()
    )
    took = or_(rows.c.images != 0, rows.c.energy_uwh != 0)
    by = [rows.c[name] for name in (*([] if question.window == "total" else ["bucket"]), *groups)]
    query = select(
        *by,
        func.count().label("requests"),
        _count(rows.c.decision == "deny").label("refused"),
        func.count(rows.c.retry_of).label("retries"),
        _count(and_(took, rows.c.basis == "settled")).label("settled"),
        _count(and_(took, rows.c.basis != "settled")).label("estimated"),
        func.sum(rows.c.images).label("images"),
        func.sum(rows.c.cost_uusd).label("cost_uusd"),
        func.count(rows.c.cost_uusd).label("priced"),
        *(func.sum(rows.c[column.name]).label(column.name) for column in counted),
        *(func.count(rows.c[low]).label(f"{name}_lows") for name, (low, _, _) in QUANTITIES.items()),
    )
    return query.group_by(*by) if by else query


def read_row(row: Mapping[Any, Any], question: UsageQuestion) -> UsageRow:
    """One row of the statement's answer."""
    start_ms, end_ms = bounds(int(row.get("bucket", 0)), question.window, question.period)
    count = int(row["requests"])
    sums = {
        name: Sum(
            low=int(row[low] or 0) if int(row[f"{name}_lows"]) == count else None,
            central=int(row[central] or 0),
            high=int(row[high] or 0),
        )
        for name, (low, central, high) in QUANTITIES.items()
    }
    return UsageRow(
        start_ms=start_ms,
        end_ms=end_ms,
        group={name: row[f"group_{n}"] for n, name in enumerate(question.group_by)},
        requests=count,
        refused=int(row["refused"] or 0),
        retries=int(row["retries"]),
        settled=int(row["settled"] or 0),
        estimated=int(row["estimated"] or 0),
        images=int(row["images"] or 0),
        cost_uusd=int(row["cost_uusd"] or 0) if int(row["priced"]) == count else None,
        unpriced=count - int(row["priced"]),
        **sums,
    )


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _bucket_number(question: UsageQuestion) -> ColumnElement[int]:
    """A number per bucket, growing with time; `periods.bounds` knows what it stands for."""
    at_ms, within = requests.c.at_ms, question.period
    if question.window == "total":
        return literal(0)
    if question.window == "month":
        starts = month_starts(within)[1:]
        return _first_below(at_ms, [(start, literal(number)) for number, start in enumerate(starts)])
    ranges = [(offset.until_ms, literal(offset.ms, BigInteger)) for offset in offsets(within)]
    offset = _first_below(at_ms, ranges)
    if question.window == "hour":
        # The start itself in UTC: an hour that the clocks repeat has two.
        return (at_ms + offset) // HOUR_MS * HOUR_MS - offset
    day = (at_ms + offset) // DAY_MS
    return day if question.window == "day" else (day + MONDAY) // DAYS_PER_WEEK


def _first_below(
    at_ms: ColumnElement[int], values: Sequence[tuple[int, ColumnElement[int]]]
) -> ColumnElement[int]:
    """The value of the first limit that a time is below; it is below the last one."""
    *others, (_, last) = values
    return case(*((at_ms < limit, value) for limit, value in others), else_=last) if others else last
