"""Sums over requests per bucket of time and group: the question, its SQL and its rows.

Amounts are the ledger's integers, summed exactly; a lower bound that one request lacks is unknown for the
whole sum. Refuses to know who asks (`visibility`) and how answers look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, case, func, literal, select, union_all

from gateway.store.tables import requests
from gateway.usage.filters import conditions, group_column
from gateway.usage.periods import DAY_MS, DAYS_PER_WEEK, HOUR_MS, MONDAY, bounds, month_starts, offsets
from gateway.usage.rollup import ROLLUPS, SUMS, contributions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, CompoundSelect, Select, Table

    from gateway.usage.periods import Period, Window
    from gateway.usage.visibility import Visibility

QUANTITIES = {
    "energy_uwh": ("energy_low_uwh", "energy_uwh", "energy_high_uwh", "energy_lows"),
    "water_ul": ("water_low_ul", "water_ul", "water_high_ul", "water_lows"),
    "carbon_ug": ("carbon_low_ug", "carbon_ug", "carbon_high_ug", "carbon_lows"),
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
class Avoided:
    """Carbon avoided against a baseline in ugCO2e, over the `known` requests whose records tell."""

    ug: int
    known: int


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The usage of one group in one bucket, from `start_ms` to `end_ms`, UTC epoch milliseconds.

    Of all `requests`, `refused` were denied by a budget and `retries` repeated an earlier one. `settled` and
    `estimated` took something, and say whether the amounts come from what came back. `cost_uusd` is None
    where the cost of one of them is not known; `unpriced` counts those. `waste_*` is what failed attempts may
    have taken for nothing.
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
    avoided_even: Avoided
    avoided_fixed: Avoided
    waste_energy_uwh: int
    waste_water_ul: int
    waste_carbon_ug: int


def statement(question: UsageQuestion, visible: Visibility) -> Select[Any]:
    """The query that answers a question, over the requests that are visible.

    Whole hours come from the sums by the hour where these can tell, the rest from the requests themselves.
    """
    parts = [
        _summed(_part(question, visible, table, start_ms, end_ms), question)
        for table, start_ms, end_ms in _sources(question, visible)
    ]
    # Each part is summed up before they are put together, so that few rows are.
    return parts[0] if len(parts) == 1 else _summed(union_all(*parts), question)


def _summed(part: Select[Any] | CompoundSelect[Any], question: UsageQuestion) -> Select[Any]:
    # Computed in a subquery, since PostgreSQL does not see that two expressions with parameters are one.
    rows = part.subquery()
    groups = [f"group_{n}" for n in range(len(question.group_by))]
    by = [rows.c[name] for name in (*([] if question.window == "total" else ["bucket"]), *groups)]
    sums = [func.sum(rows.c[name]).label(name) for name in (*SUMS, "refused")]
    # A cell that every request has left is still there, with sums of 0.
    return select(*by, *sums).group_by(*by).having(func.sum(rows.c.requests) > 0) if by else select(*sums)


def _sources(question: UsageQuestion, visible: Visibility) -> list[tuple[Table, int, int]]:
    """Which table answers for which stretch of the period."""
    within = question.period
    start, end = -(-within.start_ms // HOUR_MS) * HOUR_MS, within.end_ms // HOUR_MS * HOUR_MS
    named = {*question.group_by, *question.filters, *visible.named()}
    whole = question.window == "total" or all(one.ms % HOUR_MS == 0 for one in offsets(within))
    table = next((one for one, keys in ROLLUPS.items() if named <= set(keys)), None)
    # An attribute that is not there is an empty text in the sums, so nobody may ask for an empty text.
    if table is None or start >= end or not whole or "" in question.filters.values():
        return [(requests, within.start_ms, within.end_ms)]
    edges = [(requests, within.start_ms, start), (requests, end, within.end_ms)]
    return [(table, start, end), *(edge for edge in edges if edge[1] < edge[2])]


def _part(
    question: UsageQuestion, visible: Visibility, table: Table, start_ms: int, end_ms: int
) -> Select[Any]:
    """What one table has to add: a number of the bucket, the groups and the sums."""
    by_hour = table in ROLLUPS
    at_ms = table.c.hour_ms if by_hour else requests.c.at_ms
    groups = {f"group_{n}": group_column(name, table) for n, name in enumerate(question.group_by)}
    sums = {name: table.c[name] for name in SUMS} if by_hour else contributions()
    refused = case((table.c.decision == "deny", sums["requests"]), else_=0)
    return select(
        _bucket_number(question, at_ms).label("bucket"),
        *((func.nullif(column, "") if by_hour else column).label(name) for name, column in groups.items()),
        *(column.label(name) for name, column in sums.items()),
        refused.label("refused"),
    ).where(
        *visible.conditions(table),
        *conditions(question.filters, table),
        at_ms >= start_ms,
        at_ms < end_ms,
    )


def read_row(row: Mapping[Any, Any], question: UsageQuestion) -> UsageRow:
    """One row of the statement's answer."""
    start_ms, end_ms = bounds(int(row.get("bucket", 0)), question.window, question.period)
    number = {name: int(row[name] or 0) for name in (*SUMS, "refused")}
    count = number["requests"]
    sums = {
        name: Sum(
            low=number[low] if number[lows] == count else None, central=number[central], high=number[high]
        )
        for name, (low, central, high, lows) in QUANTITIES.items()
    }
    return UsageRow(
        start_ms=start_ms,
        end_ms=end_ms,
        group={name: row[f"group_{n}"] for n, name in enumerate(question.group_by)},
        requests=count,
        refused=number["refused"],
        retries=number["retries"],
        settled=number["settled"],
        estimated=number["estimated"],
        images=number["images"],
        cost_uusd=number["cost_uusd"] if number["priced"] == count else None,
        unpriced=count - number["priced"],
        avoided_even=Avoided(number["avoided_even_ug"], number["avoided_even_known"]),
        waste_energy_uwh=number["waste_energy_uwh"],
        waste_water_ul=number["waste_water_ul"],
        waste_carbon_ug=number["waste_carbon_ug"],
        avoided_fixed=Avoided(number["avoided_fixed_ug"], number["avoided_fixed_known"]),
        **sums,
    )


def _bucket_number(question: UsageQuestion, at_ms: ColumnElement[int]) -> ColumnElement[int]:
    """A number per bucket, growing with time; `periods.bounds` knows what it stands for."""
    within = question.period
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
