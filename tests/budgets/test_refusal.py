"""Refusals: codes, headers, amounts and sentences."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.budgets.amounts import Dimension
from gateway.budgets.counter import Shortfall
from gateway.budgets.matching import MatchedBudget, counters_for
from gateway.budgets.policy import Budget, PolicySet
from gateway.budgets.refusal import IN_FLIGHT_RETRY_S, refusal, tightest
from gateway.budgets.windows import Window
from gateway.identity.subject import Role, Subject

if TYPE_CHECKING:
    from gateway.budgets.windows import Every
    from gateway.errors import BudgetExceeded

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ALICE = Subject(org="acme", key="k1", role=Role.MEMBER, team="design", user="alice")
G = 10**6


def matched(
    name: str = "team-month",
    *,
    per: tuple[str, ...] = ("team",),
    every: Every = "month",
    limits: dict[Dimension, int] | None = None,
) -> MatchedBudget:
    budget = Budget(
        name=name,
        file="f.yaml",
        line=1,
        match={},
        per=per,
        limits=limits or {Dimension.CARBON: 5000 * G},
        window=Window(kind="calendar", every=every),
        timezone="Europe/Paris",
        bound="central",
        mode="enforce",
        on_exceed=("deny",),
        on_store_down="deny",
    )
    (match,) = counters_for(
        PolicySet((budget,), "v"), ALICE, model="m", route="chat", deployment="d", now=NOW
    )
    return match


def short(
    match: MatchedBudget,
    *,
    limit: int = 5000 * G,
    used: int = 0,
    held: int = 0,
    requested: int = 0,
    dimension: Dimension = Dimension.CARBON,
    candidate: int = 0,
) -> Shortfall:
    end_ms = match.counter.current.end_ms
    return Shortfall(
        candidate, match.counter, match.counter.current, dimension, limit, used, held, requested, end_ms
    )


def refused(*rows: Shortfall, matches: list[MatchedBudget], subject: Subject = ALICE) -> BudgetExceeded:
    return refusal(rows, matches, subject, now=NOW)


TEAM = matched()
USED_UP = short(TEAM, used=4995 * G, held=1_300_000, requested=12_500_000)
TOO_LARGE = short(TEAM, requested=5000 * G + 1)
IN_FLIGHT = short(TEAM, used=4000 * G, held=999 * G, requested=2 * G)


def test_a_budget_that_is_used_up_is_a_402_until_its_window_ends() -> None:
    answer = refused(USED_UP, matches=[TEAM])

    assert (answer.status, answer.type, answer.code) == (402, "budget_exceeded", "eco_budget_exceeded")
    assert answer.headers == {"x-should-retry": "false", "retry-after": str((7 * 24 + 11) * 3600)}
    assert answer.message == (
        "This request needs an estimated 12.5 g of carbon, and budget 'team-month' (team design)"
        " has 3.7 g left of 5000 g until 2026-12-01T00:00:00+01:00."
    )
    row = {
        "policy": "team-month",
        "scope": {"team": "design"},
        "dimension": "carbon",
        "unit": "g",
        "limit": 5000.0,
        "used": 4995.0,
        "held": 1.3,
        "requested": 12.5,
        "remaining": 3.7,
        "window": {
            "kind": "calendar",
            "every": "month",
            "start": "2026-11-01T00:00:00+01:00",
            "end": "2026-12-01T00:00:00+01:00",
            "timezone": "Europe/Paris",
        },
        "resets_at": "2026-12-01T00:00:00+01:00",
    }
    violation = {"candidate": 0, "code": "eco_budget_exceeded"} | row
    assert answer.eco == row | {"alternatives": [], "violations": [violation]}
    assert answer.body()["error"]["eco"] == answer.eco


def test_a_request_larger_than_the_limit_is_a_402_without_a_time_to_come_back() -> None:
    answer = refused(TOO_LARGE, matches=[TEAM])

    assert (answer.status, answer.code) == (402, "eco_request_too_large")
    assert answer.headers == {"x-should-retry": "false"}
    assert answer.message == (
        "This request needs an estimated 5001 g of carbon, more than the 5000 g that budget 'team-month'"
        " (team design) allows per month."
    )


def test_room_that_others_hold_is_a_429_to_try_again_soon() -> None:
    answer = refused(IN_FLIGHT, matches=[TEAM])

    assert (answer.status, answer.code) == (429, "eco_budget_in_flight")
    assert answer.headers == {"retry-after": str(IN_FLIGHT_RETRY_S)}
    assert answer.message == (
        "This request needs an estimated 2 g of carbon, and budget 'team-month' (team design)"
        " has 1 g free while requests in progress hold 999 g. Try again shortly."
    )


def test_images_are_counted_and_not_estimated() -> None:
    daily = matched("user-day", per=("team", "user"), every="day", limits={Dimension.IMAGES: 3})
    row = short(daily, limit=3, used=2, requested=2, dimension=Dimension.IMAGES)

    answer = refused(row, matches=[daily])

    assert answer.message == (
        "This request needs 2 images, and budget 'user-day' (team design, user alice) has 1 image left of"
        " 3 images until 2026-11-24T00:00:00+01:00."
    )
    assert answer.eco is not None
    assert {"limit": 3, "used": 2, "unit": "images"}.items() <= answer.eco.items()
    assert isinstance(answer.eco["limit"], int)


@given(limit=st.integers(0, 4), used=st.integers(0, 5), held=st.integers(0, 4), requested=st.integers(1, 5))
def test_the_code_says_what_would_have_to_change(limit: int, used: int, held: int, requested: int) -> None:
    assume(used + held + requested > limit)

    answer = refused(short(TEAM, limit=limit, used=used, held=held, requested=requested), matches=[TEAM])

    fits_an_empty_window = requested <= limit
    fits_without_holds = used + requested <= limit
    expected = {
        (False, False): "eco_request_too_large",
        (True, False): "eco_budget_exceeded",
        (True, True): "eco_budget_in_flight",
    }[fits_an_empty_window, fits_without_holds]
    assert answer.code == expected
    assert answer.eco is not None
    assert answer.eco["remaining"] == max(0, limit - used - held) / G
    assert ("retry-after" in answer.headers) == (expected != "eco_request_too_large")
    assert ("x-should-retry" in answer.headers) == (answer.status == 402)


@given(used=st.integers(0, 2**53 - 1), room=st.integers(0, 2**40), beyond=st.integers(1, 2**40))
def test_a_sentence_never_makes_the_room_look_enough(used: int, room: int, beyond: int) -> None:
    row = short(TEAM, limit=used + room, used=used, requested=room + beyond)

    words = refused(row, matches=[TEAM]).message.split()

    if "left" in words:
        assert float(words[words.index("estimated") + 1]) > float(words[words.index("has") + 1])


def test_one_candidate_counts_by_its_worst_row() -> None:
    day = matched("day", every="day")

    answer = refused(IN_FLIGHT, short(day, used=5000 * G, requested=2 * G), matches=[TEAM, day])

    assert answer.code == "eco_budget_exceeded"
    assert answer.eco is not None
    assert answer.eco["policy"] == "day"
    assert [(row["policy"], row["code"]) for row in answer.eco["violations"]] == [
        ("team-month", "eco_budget_in_flight"),
        ("day", "eco_budget_exceeded"),
    ]


def test_the_answer_speaks_of_the_candidate_with_the_best_chance() -> None:
    rows = [replace(TOO_LARGE, candidate=0), replace(USED_UP, candidate=1), replace(IN_FLIGHT, candidate=2)]

    assert refused(*rows, matches=[TEAM]).code == "eco_budget_in_flight"
    assert refused(*rows[:2], matches=[TEAM]).code == "eco_budget_exceeded"
    assert refused(*rows[:1], matches=[TEAM]).code == "eco_request_too_large"


def test_retry_after_waits_for_the_last_window_of_the_soonest_candidate() -> None:
    day, year = matched("day", every="day"), matched("year", every="year")

    def full(match: MatchedBudget, candidate: int = 0) -> Shortfall:
        return short(match, used=5000 * G, requested=G, candidate=candidate)

    both = refused(full(day), full(TEAM), full(day), matches=[TEAM, day])
    either = refused(full(year), full(day, candidate=1), matches=[year, day])

    assert both.headers["retry-after"] == str((7 * 24 + 11) * 3600)
    assert either.headers["retry-after"] == str(11 * 3600)
    assert both.eco is not None
    assert both.eco["policy"] == "team-month"
    assert either.eco is not None
    assert either.eco["policy"] == "day"


@pytest.mark.parametrize(("before_ms", "wait_s"), [(1, 1), (999, 1), (1000, 1), (1001, 2), (0, 1), (-500, 1)])
def test_retry_after_is_rounded_up_to_whole_seconds(before_ms: int, wait_s: int) -> None:
    end = datetime(2026, 11, 30, 23, 0, tzinfo=UTC)

    answer = refusal([USED_UP], [TEAM], ALICE, now=end - timedelta(milliseconds=before_ms))

    assert answer.headers["retry-after"] == str(wait_s)


@pytest.mark.parametrize(
    ("used", "held", "requested", "sentence"),
    [
        (5000, 0, 2, "2 g of carbon, and budget 'org-month' has less left until 2026-12-01T00:00:00+01:00."),
        (0, 0, 6000, "6000 g of carbon, more than budget 'org-month' allows per month."),
        (4000, 999, 2, "2 g of carbon, and requests in progress hold what budget 'org-month' has left."),
    ],
)
def test_amounts_that_the_caller_may_not_see_are_left_out(
    used: int, held: int, requested: int, sentence: str
) -> None:
    org = matched("org-month", per=())
    row = short(org, used=used * G, held=held * G, requested=requested * G)

    answer = refused(row, matches=[org])

    message = answer.message.removeprefix("This request needs an estimated ").removesuffix(
        " Try again shortly."
    )
    assert message == sentence
    assert answer.eco is not None
    for shown in (answer.eco, *answer.eco["violations"]):
        assert {"policy": "org-month", "dimension": "carbon", "unit": "g"}.items() <= shown.items()
        assert not {"limit", "used", "held", "remaining"} & shown.keys()
    admin = replace(ALICE, role=Role.ORG_ADMIN)
    assert "limit" in (refused(row, matches=[org], subject=admin).eco or {})


def test_the_tightest_budget_has_the_smallest_share_left() -> None:
    both = {Dimension.CARBON: 5000 * G, Dimension.IMAGES: 10}
    team, user = matched(limits=both), matched("user-day", per=("user",), limits={Dimension.WATER: 10_000})

    assert (
        tightest([team], [{Dimension.CARBON: 1500 * G, Dimension.IMAGES: 3}], ALICE)
        == "team-month;carbon=1500"
    )
    assert (
        tightest([team], [{Dimension.CARBON: 1501 * G, Dimension.IMAGES: 3}], ALICE) == "team-month;images=3"
    )
    assert (
        tightest(
            [team, user], [{Dimension.CARBON: 1500 * G, Dimension.IMAGES: 9}, {Dimension.WATER: 2_345}], ALICE
        )
        == "user-day;water=2.345"
    )


def test_a_limit_of_zero_is_the_tightest_and_nothing_is_below_zero() -> None:
    team, none = matched(), matched("none", limits={Dimension.IMAGES: 0})

    assert tightest([team, none], [{Dimension.CARBON: 1}, {Dimension.IMAGES: 0}], ALICE) == "none;images=0"
    assert tightest([team], [{Dimension.CARBON: -5 * G}], ALICE) == "team-month;carbon=0"


def test_budgets_that_the_caller_may_not_see_are_never_the_tightest() -> None:
    org, team = matched("org-month", per=()), matched()
    left = [{Dimension.CARBON: 0}, {Dimension.CARBON: 5000 * G}]

    assert tightest([org, team], left, ALICE) == "team-month;carbon=5000"
    assert tightest([org], left[:1], ALICE) is None
    assert tightest([], [], ALICE) is None
