from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import InvalidRequest
from gateway.identity.subject import Role, Subject
from gateway.usage.entries import read_entry
from gateway.usage.filters import checked_filters, checked_groups
from gateway.usage.periods import Window, period, rfc3339, zone_named
from gateway.usage.queries import UsageQueries
from gateway.usage.storing import store_entries
from gateway.usage.totals import UsageQuestion, UsageRow
from tests.usage.journals import fields, record

if TYPE_CHECKING:
    from gateway.store.sql import Database

OWNER = Subject(org="acme", key="key_owner", role=Role.ORG_ADMIN)
NUMBERS = iter(range(1, 1_000_000))


def milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


async def store(database: Database, at: str = "2026-01-15T12:00:00Z", **changes: Any) -> str:
    """Store one request that was settled at a time; answers its id."""
    settled = record(**changes)
    written = {name: value.encode() for name, value in fields(settled, at=milliseconds(at)).items()}
    entry = read_entry(
        settled.org,
        "journal",
        f"{next(NUMBERS)}-0",
        {name.encode(): value for name, value in written.items()},
    )
    assert await store_entries(database, settled.org, [entry]) == 1
    return settled.id


async def ask(
    database: Database,
    start: str,
    end: str,
    window: Window,
    *groups: str,
    tz: str = "UTC",
    who: Subject = OWNER,
    **filters: str,
) -> list[UsageRow]:
    within = period(start, end, zone_named(tz), window=window, now=datetime.now(UTC))
    question = UsageQuestion(within, window, checked_groups(groups), checked_filters(filters))
    return await UsageQueries(database).usage(who, question)


async def test_days_are_local_days_through_a_change_of_the_clocks(database: Database) -> None:
    # In Paris the 29th of March 2026 has 23 hours, from 23:00 to 22:00 UTC.
    for at in (
        "2026-03-28T22:59:59Z",
        "2026-03-28T23:00:00Z",
        "2026-03-29T21:59:59Z",
        "2026-03-29T22:00:00Z",
    ):
        await store(database, at)

    rows = await ask(database, "2026-03-28", "2026-03-31", "day", tz="Europe/Paris")

    paris = zone_named("Europe/Paris")
    assert [(rfc3339(row.start_ms, paris), row.requests) for row in rows] == [
        ("2026-03-28T00:00:00+01:00", 1),
        ("2026-03-29T00:00:00+01:00", 2),
        ("2026-03-30T00:00:00+02:00", 1),
    ]
    assert rows[1].end_ms - rows[1].start_ms == 23 * 3_600_000


async def test_the_hour_that_the_clocks_repeat_is_two_rows(database: Database) -> None:
    await store(database, "2026-10-25T00:30:00Z")
    await store(database, "2026-10-25T01:30:00Z")

    rows = await ask(database, "2026-10-25", "2026-10-26", "hour", tz="Europe/Paris")

    paris = zone_named("Europe/Paris")
    assert [rfc3339(row.start_ms, paris) for row in rows] == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
    ]


async def test_weeks_begin_on_monday_and_months_on_the_first(database: Database) -> None:
    for at in (
        "2026-01-04T23:00:00Z",
        "2026-01-05T00:00:00Z",
        "2026-01-31T23:59:59Z",
        "2026-02-01T00:00:00Z",
    ):
        await store(database, at)

    weeks = await ask(database, "2026-01-01", "2026-03-01", "week")
    months = await ask(database, "2026-01-01", "2026-03-01", "month")

    assert [(rfc3339(row.start_ms)[:10], row.requests) for row in weeks] == [
        ("2026-01-01", 1),  # the week began in December, the period did not
        ("2026-01-05", 1),
        ("2026-01-26", 2),
    ]
    assert [(rfc3339(row.start_ms)[:10], row.requests) for row in months] == [
        ("2026-01-01", 3),
        ("2026-02-01", 1),
    ]


async def test_zones_off_the_full_hour_have_their_own_days(database: Database) -> None:
    await store(database, "2026-01-14T18:14:59Z")
    await store(database, "2026-01-14T18:15:00Z")

    rows = await ask(database, "2026-01-14", "2026-01-16", "day", tz="Asia/Kathmandu")

    assert [row.requests for row in rows] == [1, 1]
    assert rfc3339(rows[1].start_ms) == "2026-01-14T18:15:00Z"


async def test_the_end_of_a_period_is_not_in_it(database: Database) -> None:
    await store(database, "2026-01-15T00:00:00Z")

    assert await ask(database, "2026-01-14", "2026-01-15", "day") == []
    assert len(await ask(database, "2026-01-15", "2026-01-16", "day")) == 1


async def test_groups_split_by_attributes_and_labels_and_keep_what_has_none(database: Database) -> None:
    await store(database, model="a", labels={"cost-center": "x.1"})
    await store(database, model="a", labels={})
    await store(database, model="b", labels={"cost-center": "x.1"}, team=None)

    by_label = await ask(database, "2026-01-01", "2026-02-01", "month", "label.cost-center")
    by_team = await ask(database, "2026-01-01", "2026-02-01", "total", "team", "model")

    assert [(row.group, row.requests) for row in by_label] == [
        ({"label.cost-center": None}, 1),
        ({"label.cost-center": "x.1"}, 2),
    ]
    assert [(row.group["team"], row.group["model"], row.requests) for row in by_team] == [
        (None, "b", 1),
        ("design", "a", 2),
    ]


async def test_sums_are_exact_and_an_unknown_lower_bound_is_unknown_for_the_sum(database: Database) -> None:
    await store(database)
    await store(database)
    [known] = await ask(database, "2026-01-01", "2026-02-01", "total")
    await store(database, footprint={"energy_wh": {"low": 1, "central": 2, "high": 3}}, basis="estimate")

    [row] = await ask(database, "2026-01-01", "2026-02-01", "total")

    assert (known.energy_uwh.low, known.energy_uwh.central, known.energy_uwh.high) == (
        2_000_000,
        4_000_000,
        8_000_000,
    )
    assert (row.energy_uwh.low, row.water_ul.low, row.water_ul.central) == (3_000_000, None, 12_000)
    assert (row.settled, row.estimated, row.images) == (2, 1, 6)


@pytest.mark.parametrize("groups", [("team", "zone", "decision"), ("team", "user", "key", "decision")])
async def test_sums_by_the_hour_and_the_edges_of_a_period_are_the_sums_over_requests(
    database: Database, groups: tuple[str, ...]
) -> None:
    for minute in range(0, 300, 7):
        at = f"2026-01-15T{10 + minute // 60:02}:{minute % 60:02}:30Z"
        team, zone = ("film", None) if minute % 3 else (None, "SE")
        asked = {"team": team, "zone": zone, "user": None if minute % 4 else "ana"}
        await store(database, at, **asked, decision="deny" if minute % 5 == 0 else "allow")

    for start, end in (("10:00", "15:00"), ("10:20", "14:07"), ("11:01", "11:59"), ("11:30", "12:30")):
        within = (f"2026-01-15T{start}:00Z", f"2026-01-15T{end}:00Z", "hour", *groups)
        by_hour = await ask(database, *within)  # type: ignore[arg-type]
        by_request = await ask(database, *within, "label.project")  # type: ignore[arg-type]

        for row in by_request:
            assert row.group.pop("label.project") == "spring"
        assert by_hour == by_request


async def test_a_total_without_requests_is_a_row_of_zeros(database: Database) -> None:
    [row] = await ask(database, "2026-01-01", "2026-02-01", "total")

    assert (row.requests, row.images, row.energy_uwh.central, row.energy_uwh.low) == (0, 0, 0, 0)
    assert await ask(database, "2026-01-01", "2026-02-01", "total", "team") == []


async def test_a_value_to_filter_by_is_a_value_and_never_sql(database: Database) -> None:
    await store(database, team="design")

    assert await ask(database, "2026-01-01", "2026-02-01", "day", team="' OR '1'='1") == []
    assert await ask(database, "2026-01-01", "2026-02-01", "day", team="%") == []
    assert len(await ask(database, "2026-01-01", "2026-02-01", "day", team="design")) == 1


async def test_more_rows_than_can_be_answered_are_refused(database: Database) -> None:
    for number in range(4):
        await store(database, user=f"u{number}")
    within = period("2026-01-01", "2026-02-01", zone_named("UTC"), window="total", now=datetime.now(UTC))
    question = UsageQuestion(within, "total", ("user",))

    assert len(await UsageQueries(database, max_rows=4).usage(OWNER, question)) == 4
    with pytest.raises(InvalidRequest) as caught:
        await UsageQueries(database, max_rows=3).usage(OWNER, question)
    assert caught.value.code == "too_many_rows"


ROLES = [
    (Role.PLATFORM_ADMIN, {"team": "film"}, 5),
    (Role.ORG_ADMIN, {"team": "film"}, 4),
    (Role.TEAM_ADMIN, {"team": "design"}, 3),
    (Role.TEAM_ADMIN, {}, 1),  # no team: no more than its own key
    (Role.MEMBER, {"team": "film", "user": "ana"}, 3),  # its user, in every team
    (Role.MEMBER, {"team": "design"}, 1),
    (Role.SERVICE, {"team": "design", "user": "ana"}, 1),
]


@pytest.mark.parametrize(("role", "names", "seen"), ROLES, ids=str)
async def test_each_role_sees_its_own(
    database: Database, role: Role, names: dict[str, str], seen: int
) -> None:
    await store(database, key="key_mine", user="ana", team="design")
    await store(database, key="key_other", user="ana", team="design")
    await store(database, key="key_third", user="ana", team="film")
    await store(database, key="key_fourth", user="bo", team="design")
    foreign = await store(database, org="globex", key="key_mine", user="ana", team="design")
    who = Subject(org="acme", key="key_mine", role=role, **names)  # type: ignore[arg-type]

    [row] = await ask(database, "2026-01-01", "2026-02-01", "total", who=who)
    page = await UsageQueries(database).page(who, limit=50)

    assert (row.requests, len(page.requests)) == (seen, seen)
    single = await UsageQueries(database).request(who, foreign)
    assert (single is not None) == (role is Role.PLATFORM_ADMIN)


async def test_a_page_ends_where_the_next_begins_also_within_a_millisecond(database: Database) -> None:
    ids = [await store(database, id=f"req_same_{number}") for number in range(5)]
    queries = UsageQueries(database)
    seen, cursor = [], None

    while True:
        page = await queries.page(OWNER, limit=2, cursor=cursor)
        seen += [stored.id for stored in page.requests]
        cursor = page.next
        if cursor is None:
            break

    assert seen == sorted(ids, reverse=True)


async def test_a_request_that_arrives_between_two_pages_moves_nothing(database: Database) -> None:
    for day in range(1, 5):
        await store(database, f"2026-01-0{day}T00:00:00Z", id=f"req_day_{day}")
    queries = UsageQueries(database)
    first = await queries.page(OWNER, limit=2)
    await store(database, "2026-01-09T00:00:00Z", id="req_new")

    second = await queries.page(OWNER, limit=2, cursor=first.next)

    assert [stored.id for stored in second.requests] == ["req_day_2", "req_day_1"]
    assert second.next is None


@pytest.mark.parametrize("request_id", ["", "\x00", "\ud800", "x" * 10_000, "%"])
async def test_an_id_that_cannot_be_one_finds_nothing(database: Database, request_id: str) -> None:
    await store(database)

    assert await UsageQueries(database).request(OWNER, request_id) is None
