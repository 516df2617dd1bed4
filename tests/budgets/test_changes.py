"""What each change of a policy does to a window that is running: every row of the table, on a real ledger."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.budgets.amounts import Dimension
from gateway.budgets.changes import restarts
from gateway.budgets.holds import Held
from gateway.budgets.ledger import Ledger
from gateway.budgets.matching import counters_for
from gateway.budgets.policy import load_policies
from gateway.identity.subject import Role, Subject
from tests.budgets.ledger_builders import ORG, RECORD, charge
from tests.budgets.virtual_time import set_clock, virtual_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.asyncio import Redis

    from gateway.budgets.matching import MatchedBudget
    from gateway.budgets.policy import PolicySet

README = Path(__file__).parents[2] / "policies" / "README.md"
NOW = datetime(2099, 11, 18, 10, 30, tzinfo=UTC)  # a Wednesday, before which no key can have expired
NOW_MS = int(NOW.timestamp() * 1000)
ANA = Subject(ORG, "k1", Role.MEMBER, "design", "ana")
MONTH = {"kind": "calendar", "every": "month"}
DAY = {"kind": "calendar", "every": "day"}
HOUR = {"kind": "calendar", "every": "hour"}
WEEK = {"kind": "calendar", "every": "week"}
YEAR = {"kind": "calendar", "every": "year"}
ROLLING = {"kind": "rolling", "every": "24h"}
CAMPAIGN = {"kind": "fixed", "from": "2099-11-01", "to": "2099-11-20"}
USED = 40


@dataclass(frozen=True)
class Row:
    """`used` is what counts after the change of what was used before; `restarts` whether one is warned of."""

    name: str
    before: dict[str, Any]
    after: dict[str, Any]
    used: int = USED
    restarts: bool = False


ROWS = [
    Row("a limit", {}, {"limits": {"images": 500}}),
    Row("a limit", {}, {"limits": {"images": 10}}),
    Row("a dimension more or less", {"limits": {"energy": "1 Wh"}}, {}),
    Row("a dimension more or less", {}, {"limits": {"images": 100, "water": "1 L"}}),
    Row("a dimension more or less", {}, {"limits": {"images": "unlimited"}}),
    Row("`match`", {"match": {"team": ["design"]}}, {"match": {"user": ["ana"]}}),
    Row("`bound`", {}, {"bound": "high"}),
    Row("`mode`", {"mode": "shadow"}, {"mode": "enforce"}),
    Row("`warn_at`, `alerts`", {}, {"warn_at": ["10%"]}),
    Row("`on_exceed`, `on_store_down`, `emergency`", {}, {"on_exceed": [{"downgrade": [{"n": 1}]}, "deny"]}),
    Row("`name`", {}, {"name": "another"}, used=0, restarts=True),
    Row("`per`", {"per": ["team"]}, {"per": ["user"]}, used=0, restarts=True),
    Row("`per`", {"per": ["team"]}, {"per": ["team", "user"]}, used=0, restarts=True),
    Row("`per`", {"per": ["team", "user"]}, {"per": ["user", "team"]}),
    Row("`timezone`", {}, {"timezone": "Asia/Tokyo"}, used=0, restarts=True),
    Row("`timezone`", {"window": HOUR}, {"window": HOUR, "timezone": "Asia/Tokyo"}),
    Row("`timezone`", {"timezone": "Europe/Paris"}, {"timezone": "Europe/Berlin"}),
    Row("`timezone`", {"window": ROLLING}, {"window": ROLLING, "timezone": "Asia/Tokyo"}),
    Row("`every` of a calendar window", {"window": DAY}, {"window": MONTH}, used=0, restarts=True),
    Row("`every` of a calendar window", {"window": MONTH}, {"window": DAY}, used=0, restarts=True),
    Row(
        "`week_start`, `year_start`",
        {"window": WEEK},
        {"window": {**WEEK, "week_start": "sunday"}},
        0,
        restarts=True,
    ),
    Row(
        "`week_start`, `year_start`",
        {"window": YEAR},
        {"window": {**YEAR, "year_start": "04-01"}},
        0,
        restarts=True,
    ),
    Row(
        "`every` of a rolling window",
        {"window": ROLLING},
        {"window": {**ROLLING, "every": "48h"}},
        restarts=True,
    ),
    Row(
        "`every` of a rolling window",
        {"window": ROLLING},
        {"window": {**ROLLING, "every": "31h"}},
        0,
        restarts=True,
    ),
    Row(
        "`from` of a fixed window",
        {"window": CAMPAIGN},
        {"window": {**CAMPAIGN, "from": "2099-11-02"}},
        0,
        restarts=True,
    ),
    Row("`to` of a fixed window", {"window": CAMPAIGN}, {"window": {**CAMPAIGN, "to": "2099-12-24"}}),
    Row("`kind`", {"window": DAY}, {"window": CAMPAIGN}, used=0, restarts=True),
    Row("`kind`", {"window": CAMPAIGN}, {"window": MONTH}),
    Row("`kind`", {"window": ROLLING}, {"window": MONTH}, used=0, restarts=True),
    Row("`kind`", {"window": MONTH}, {"window": ROLLING}, used=0, restarts=True),
    Row("`kind`", {"window": DAY}, {"window": ROLLING}, restarts=True),
]


@pytest.fixture(autouse=True)
def bent() -> Iterator[None]:
    with virtual_time():
        yield


def policies(folder: Path, **fields: Any) -> PolicySet:
    budget = {"name": "budget", "limits": {"images": 100}, "window": MONTH, **fields}
    folder.mkdir(exist_ok=True)
    (folder / "budgets.yaml").write_text(yaml.safe_dump({"budgets": [budget]}))
    return load_policies(folder)


def matched(found: PolicySet) -> MatchedBudget:
    (one,) = counters_for(found, ANA, model="flux", route="images.generate", deployment="d", now=NOW)
    return one


async def spend(ledger: Ledger, found: PolicySet, hold: str, images: int) -> None:
    held = await ledger.reserve(
        ORG, hold, [charge(energy=1, images=images)], [matched(found).counter], RECORD
    )
    assert isinstance(held, Held)
    await ledger.settle(ORG, hold, charge(energy=1, images=images), RECORD, held.counters)


@pytest.mark.parametrize("row", ROWS, ids=[f"{number}-{row.name}" for number, row in enumerate(ROWS)])
async def test_a_change_does_to_the_running_window_what_the_table_says(
    redis: Redis, tmp_path: Path, row: Row
) -> None:
    ledger = Ledger(redis, lease_s=60, timeout_ms=5000)
    await set_clock(redis, NOW_MS)
    before, after = policies(tmp_path / "before", **row.before), policies(tmp_path / "after", **row.after)
    await spend(ledger, before, "h1", USED)

    (balance,) = await ledger.balances(ORG, [matched(after).counter])
    told = [str(one) for one in restarts(before, after, NOW)]
    (back,) = await ledger.balances(ORG, [matched(before).counter])

    assert balance.used[Dimension.IMAGES] == row.used
    assert len(told) == int(row.restarts), told
    assert not told or ("but for parts" in told[0]) is ("rolling" in str(row) and row.name != "`per`")
    assert back.used[Dimension.IMAGES] == USED, "what was used comes back with the policy"


def test_the_table_has_the_rows_that_are_tested_and_no_others() -> None:
    table = README.read_text().partition("| change | effect |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()]

    assert rows == list(dict.fromkeys(row.name for row in ROWS))


async def test_what_is_held_when_the_window_changes_is_settled_where_it_was_reserved(
    redis: Redis, tmp_path: Path
) -> None:
    ledger = Ledger(redis, lease_s=60, timeout_ms=5000)
    await set_clock(redis, NOW_MS)
    before, after = policies(tmp_path / "before", window=DAY), policies(tmp_path / "after")
    held = await ledger.reserve(ORG, "h1", [charge(images=7)], [matched(before).counter], RECORD)
    assert isinstance(held, Held)
    await spend(ledger, after, "h2", 2)
    await ledger.settle(ORG, "h1", charge(images=7), RECORD, held.counters)

    used = [
        (await ledger.balances(ORG, [matched(one).counter]))[0].used[Dimension.IMAGES]
        for one in (before, after)
    ]

    assert used == [7, 2]


def test_a_restart_names_its_place_its_reason_and_since_when_nothing_counts(tmp_path: Path) -> None:
    before = policies(tmp_path / "before", window=DAY, timezone="Europe/Paris")
    after = policies(tmp_path / "after", window=MONTH, timezone="Europe/Paris")

    (told,) = [str(one) for one in restarts(before, after, NOW)]

    assert re.fullmatch(
        r".*/after/budgets\.yaml:\d+: budget 'budget' starts at zero, because its window changed: what was"
        r" used since 2099-11-01T00:00:00\+01:00 stays in usage, but does not count here",
        told,
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {}),
        ({"window": DAY}, {"window": {"kind": "fixed", "from": "2099-12-01", "to": "2099-12-02"}}),
        ({"window": DAY}, {"name": "other", "window": MONTH}),
        ({"match": {"team": ["design"]}}, {"name": "other", "match": {"team": ["film"]}}),
    ],
    ids=["nothing", "a window that has not begun", "another budget", "of others"],
)
def test_nothing_is_told_of_budgets_that_are_new_or_go_on(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any]
) -> None:
    old, new = policies(tmp_path / "before", **before), policies(tmp_path / "after", **after)

    assert restarts(old, new, NOW) == []


def test_a_window_that_begins_at_this_very_moment_loses_nothing(tmp_path: Path) -> None:
    midnight = datetime(2099, 12, 1, tzinfo=UTC)
    before, after = policies(tmp_path / "before", window=HOUR), policies(tmp_path / "after", window=YEAR)
    month = policies(tmp_path / "month", window=MONTH)

    assert restarts(before, month, midnight) == []
    assert len(restarts(before, after, midnight)) == 1
