"""Matching: which budgets count a request, and who sees their amounts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.budgets.amounts import Dimension
from gateway.budgets.counter import Bucket
from gateway.budgets.matching import counters_for, shown_scope, visible_to
from gateway.budgets.policy import Budget, PolicySet
from gateway.budgets.windows import Window, bucket
from gateway.identity.subject import Role, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.budgets.counter import Counter

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ALICE = Subject(
    org="acme",
    key="k1",
    role=Role.MEMBER,
    team="design",
    user="alice",
    labels={"project": "x", "tier": "gold"},
)
SERVICE = Subject(org="acme", key="k9", role=Role.SERVICE)


def budget(
    name: str = "b",
    *,
    match: Mapping[str, tuple[str, ...]] | None = None,
    per: tuple[str, ...] = (),
    timezone: str = "UTC",
) -> Budget:
    return Budget(
        name=name,
        file="f.yaml",
        line=1,
        match=match or {},
        per=per,
        limits={Dimension.CARBON: 1},
        window=Window(kind="calendar", every="month"),
        timezone=timezone,
        bound="high",
        mode="enforce",
        on_exceed=("deny",),
        on_store_down="deny",
    )


def counters(
    *budgets: Budget,
    subject: Subject = ALICE,
    model: str = "m",
    route: str = "images.generate",
    deployment: str = "flux-eco",
) -> list[Counter]:
    policies = PolicySet(budgets, "v")
    matched = counters_for(policies, subject, model=model, route=route, deployment=deployment, now=NOW)
    return [match.counter for match in matched]


@pytest.mark.parametrize(
    "match",
    [
        {},
        {"org": ("acme",)},
        {"team": ("brand", "design")},
        {"user": ("alice",)},
        {"key": ("k1",)},
        {"label.project": ("x",)},
        {"model": ("m",)},
        {"route": ("images.generate", "images.edit")},
        {"user": ("*",)},
        {"route": ("*",)},
        {"deployment": ("flux-big", "flux-eco")},
        {"deployment": ("*",)},
        {"label.tier": ("*",)},
        {"team": ("design",), "label.project": ("x",), "model": ("m",)},
    ],
)
def test_a_request_that_fits_every_key_of_a_match_counts(match: Mapping[str, tuple[str, ...]]) -> None:
    assert len(counters(budget(match=match))) == 1


@pytest.mark.parametrize(
    "match",
    [
        {"org": ("other",)},
        {"team": ("brand",)},
        {"team": ("Design",)},
        {"label.project": ("y",)},
        {"label.absent": ("*",)},
        {"model": ("m2",)},
        {"route": ("chat",)},
        {"deployment": ("flux-big",)},
        {"team": ("design",), "user": ("bob",)},
    ],
)
def test_a_request_that_misses_one_key_of_a_match_does_not_count(
    match: Mapping[str, tuple[str, ...]],
) -> None:
    assert counters(budget(match=match)) == []


def test_any_value_needs_a_value() -> None:
    assert counters(budget(match={"team": ("*",)}), subject=SERVICE) == []


def test_a_counter_holds_what_its_budget_says() -> None:
    (counter,) = counters(budget("team-month", per=("team", "label.project"), timezone="Europe/Paris"))

    assert counter.id == 'team-month|{"label.project":"x","team":"design"}'
    assert counter.scope == {"team": "design", "label.project": "x"}
    assert (counter.budget, counter.bound, counter.limits) == ("team-month", "high", {Dimension.CARBON: 1})
    assert counter.current == bucket("month", "Europe/Paris", NOW)
    assert counter.next.start_ms == counter.current.end_ms


def test_every_attribute_can_be_a_scope() -> None:
    per = ("org", "team", "user", "key", "model", "deployment", "label.tier")

    (counter,) = counters(budget(per=per))

    assert counter.scope == {
        "org": "acme",
        "team": "design",
        "user": "alice",
        "key": "k1",
        "model": "m",
        "deployment": "flux-eco",
        "label.tier": "gold",
    }


def test_the_order_of_per_does_not_change_a_counter() -> None:
    first, second = counters(budget(per=("team", "user")), budget(per=("user", "team")))

    assert first.id == second.id


def test_values_with_special_characters_keep_counters_apart() -> None:
    def identity(team: str) -> str:
        (counter,) = counters(budget(per=("team",)), subject=Subject("acme", "k", Role.MEMBER, team=team))
        return counter.id

    teams = ['a"', "a|b", 'a","user":"b', "é", "a\n", "{}", "a b"]

    assert len({identity(team) for team in teams}) == len(teams)
    assert identity("é") == 'b|{"team":"é"}'


def test_subjects_without_an_attribute_share_one_counter() -> None:
    other = Subject(org="acme", key="k8", role=Role.MEMBER)

    (mine,) = counters(budget(per=("team",)), subject=SERVICE)
    (theirs,) = counters(budget(per=("team",)), subject=other)

    assert mine.id == theirs.id == 'b|{"team":""}'
    assert shown_scope(mine.scope) == {"team": "(none)"}


def test_counters_come_in_the_order_of_the_policies() -> None:
    found = counters(budget("z"), budget("no", match={"org": ("other",)}), budget("a"))

    assert [counter.budget for counter in found] == ["z", "a"]


def who(role: Role, *, team: str | None = "design", user: str | None = "alice") -> Subject:
    return Subject(org="acme", key="k1", role=role, team=team, user=user)


# What a budget matches, and the scope of one of its counters.
Case = tuple[dict[str, tuple[str, ...]], dict[str, str]]

OWN_TEAM: Case = ({}, {"team": "design"})
OTHER_TEAM: Case = ({}, {"team": "brand"})
OWN_USER: Case = ({}, {"user": "alice"})
OWN_KEY: Case = ({}, {"key": "k1"})
COLLEAGUE: Case = ({}, {"team": "design", "user": "bob"})
STRANGER: Case = ({}, {"user": "bob"})
ORG: Case = ({}, {})
ORG_BY_NAME: Case = ({}, {"org": "acme"})
OTHER_ORG: Case = ({}, {"org": "other"})
LABEL: Case = ({}, {"label.project": "x"})
NO_TEAM: Case = ({}, {"team": ""})
ONE_TEAM_MATCHED: Case = ({"team": ("design",)}, {})
OTHER_TEAM_MATCHED: Case = ({"team": ("brand",)}, {"user": "alice"})
TWO_TEAMS_MATCHED: Case = ({"team": ("design", "brand")}, {})
ANY_TEAM_MATCHED: Case = ({"team": ("*",)}, {})
ANY_TEAM_OWN_USER: Case = ({"team": ("*",)}, {"user": "alice"})
EVERYTHING = [
    OWN_TEAM, OTHER_TEAM, OWN_USER, OWN_KEY, COLLEAGUE, STRANGER, ORG, ORG_BY_NAME, OTHER_ORG, LABEL, NO_TEAM,
    ONE_TEAM_MATCHED, OTHER_TEAM_MATCHED, TWO_TEAMS_MATCHED, ANY_TEAM_MATCHED,
    ANY_TEAM_OWN_USER,
]  # fmt: skip


@pytest.mark.parametrize(
    ("role", "seen"),
    [
        (Role.MEMBER, [OWN_TEAM, OWN_USER, OWN_KEY, ONE_TEAM_MATCHED, ANY_TEAM_OWN_USER]),
        (Role.SERVICE, [OWN_TEAM, OWN_USER, OWN_KEY, ONE_TEAM_MATCHED, ANY_TEAM_OWN_USER]),
        (Role.TEAM_ADMIN, [OWN_TEAM, OWN_USER, OWN_KEY, COLLEAGUE, ONE_TEAM_MATCHED, ANY_TEAM_OWN_USER]),
        (Role.ORG_ADMIN, [case for case in EVERYTHING if case is not OTHER_ORG]),
        (Role.PLATFORM_ADMIN, EVERYTHING),
    ],
)
def test_each_role_sees_the_amounts_of_what_is_theirs(role: Role, seen: list[Case]) -> None:
    visible = [case for case in EVERYTHING if visible_to(budget(match=case[0]), case[1], who(role))]

    assert visible == seen


@pytest.mark.parametrize("role", [Role.MEMBER, Role.SERVICE, Role.TEAM_ADMIN])
def test_who_has_no_team_and_no_user_sees_their_key_only(role: Role) -> None:
    nobody = who(role, team=None, user=None)

    assert [case for case in EVERYTHING if visible_to(budget(match=case[0]), case[1], nobody)] == [OWN_KEY]
    assert not visible_to(budget(), {"team": "", "user": ""}, nobody)


def test_a_user_without_a_team_sees_their_own_amounts() -> None:
    assert visible_to(budget(), {"team": "", "user": "alice"}, who(Role.MEMBER, team=None))


def test_a_campaign_counts_only_between_its_dates() -> None:
    def campaign(start: datetime, end: datetime) -> Budget:
        bounds = [int(moment.timestamp() * 1000) for moment in (start, end)]
        return replace(budget(), window=Window("fixed", fixed=Bucket(*bounds)))

    hour = timedelta(hours=1)
    assert counters(campaign(NOW + hour, NOW + 2 * hour), campaign(NOW - hour, NOW)) == []
    (counter,) = counters(campaign(NOW, NOW + hour))
    assert (counter.current.end_ms - counter.current.start_ms, counter.next.start_ms) == (
        3_600_000,
        counter.next.end_ms,
    )
