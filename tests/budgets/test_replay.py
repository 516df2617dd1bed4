"""What budgets would have said to requests of the past, reckoned by hand and once more by plain rules."""

from __future__ import annotations

from collections import Counter as Tallies
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.budgets.amounts import Amounts, Charge
from gateway.budgets.policy import load_policies
from gateway.budgets.replay import Asked, Replay
from gateway.identity.subject import Role, Subject

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.budgets.policy import PolicySet

MIDNIGHT = datetime(2026, 3, 28, 23, tzinfo=UTC)  # in Paris it is the day on which the clocks change
BUDGETS = """
timezone: Europe/Paris
budgets:
  - name: team-day
    per: [team]
    limits: {images: 5, carbon: 10 g}
    window: {kind: calendar, every: day}
    on_exceed: [{downgrade: [{n: 1}]}, deny]
  - name: everyone
    limits: {images: 7}
    window: {kind: calendar, every: day}
    mode: shadow
  - name: edits
    match: {route: images.edit}
    limits: {images: 0}
    window: {kind: calendar, every: year}
"""


def policies(folder: Path, text: str = BUDGETS) -> PolicySet:
    (folder / "budgets.yaml").write_text(text)
    return load_policies(folder)


def asked(hours: float = 0, images: int = 1, **changes: Any) -> Asked:
    subject = Subject("acme", "k1", Role.MEMBER, changes.pop("team", "design"), "ana")
    amounts = Amounts(1000, 10, changes.pop("carbon_g", 1) * 1_000_000, images)
    at_ms = int((MIDNIGHT + timedelta(hours=hours)).timestamp() * 1000)
    values = {
        "model": "flux",
        "route": "images.generate",
        "deployment": "d",
        "charge": Charge(amounts, amounts),
        **changes,
    }
    return Asked(at_ms, subject, **values)


def replayed(found: PolicySet, *requests: Asked, top: int = 5) -> dict[str, Any]:
    run = Replay(found)
    for one in requests:
        run.take(one)
    return run.report(top=top)


def test_a_report_says_in_which_way_policies_would_have_changed_what_they_refuse(tmp_path: Path) -> None:
    """As for a request: by what any enforced budget that matches declares."""
    text = """
budgets:
  - {name: none-left, limits: {images: 0}, window: {kind: calendar, every: day}}
  - name: lighter
    match: {team: [design, film]}
    limits: {images: 9}
    window: {kind: calendar, every: day}
    on_exceed: [{downgrade: [{n: 1}]}, deny]
  - name: elsewhere
    match: {team: [film, print]}
    limits: {images: 9}
    window: {kind: calendar, every: day}
    on_exceed: [{reroute: [eco]}, deny]
  - name: watching
    limits: {images: 9}
    window: {kind: calendar, every: day}
    mode: shadow
    on_exceed: [{reroute: [eco]}, deny]
"""
    teams = ("design", "film", "film", "print", "legal")

    report = replayed(policies(tmp_path, text), *(asked(n, team=team) for n, team in enumerate(teams)))

    assert (report["refused"], report["changeable"]) == (5, 4)
    assert report["changeable_by"] == {"downgrade": 1, "reroute": 1, "both": 2}


def line(report: dict[str, Any], policy: str) -> dict[str, Any]:
    return next(dict(one) for one in report["budgets"] if one["policy"] == policy)


def test_a_report_counts_refusals_by_budget_scope_and_time(tmp_path: Path) -> None:
    report = replayed(
        policies(tmp_path),
        asked(0, images=3),
        asked(1, images=3),
        asked(2, images=2),
        asked(3, images=4, team="film"),
        asked(4, route="images.edit", team="film"),
    )

    totals = {name: report[name] for name in ("requests", "admitted", "refused", "changeable")}
    assert totals == {"requests": 5, "admitted": 3, "refused": 2, "changeable": 2}
    assert report["changeable_by"] == {"downgrade": 2, "reroute": 0, "both": 0}
    team = line(report, "team-day")
    assert (team["admitted"], team["refused"], team["scopes"]) == (4, 1, 2)
    assert team["first_refusal"] == "2026-03-29T01:00:00+01:00"
    assert team["peak_share"] == {"images": 1.0, "carbon": 0.2}
    assert [one["scope"] for one in team["top"]] == [
        {"org": "acme", "team": "design"},
        {"org": "acme", "team": "film"},
    ]
    assert team["top"][0]["refused"] == 1
    everyone = line(report, "everyone")
    assert (everyone["mode"], everyone["admitted"], everyone["refused"]) == ("shadow", 3, 2)
    assert everyone["peak_share"] == {"images": round(9 / 7, 6)}, "what only watches counts beyond its limit"
    edits = line(report, "edits")
    assert (edits["admitted"], edits["refused"], edits["peak_share"]) == (0, 1, {})


def test_windows_end_where_the_clocks_of_the_zone_say(tmp_path: Path) -> None:
    full = asked(0, images=5)

    last = line(replayed(policies(tmp_path), full, asked(22.9)), "team-day")
    next_day = line(replayed(policies(tmp_path), full, asked(23)), "team-day")

    assert (last["refused"], next_day["refused"]) == (1, 0), "the day has 23 hours"


def test_orgs_do_not_share_counters(tmp_path: Path) -> None:
    other = asked(1, images=5)
    foreign = Asked(
        other.at_ms,
        Subject("globex", "k2", Role.MEMBER, "design"),
        other.model,
        other.route,
        other.deployment,
        other.charge,
    )

    report = replayed(policies(tmp_path), asked(0, images=5), foreign)

    assert report["refused"] == 0
    assert [one["scope"]["org"] for one in line(report, "team-day")["top"]] == ["acme", "globex"]


def test_what_was_refused_then_and_would_be_admitted_now_is_told_apart(tmp_path: Path) -> None:
    report = replayed(
        policies(tmp_path),
        asked(0, images=3, refused=True),
        asked(1, images=3, refused=True),
        asked(2, images=3),
    )

    told = (report["newly_admitted"], report["newly_refused"], report["refused"])
    assert told == (1, 1, 2)


def test_a_cost_that_nobody_knows_has_no_room_where_cost_is_limited(tmp_path: Path) -> None:
    limited = policies(
        tmp_path,
        "budgets: [{name: usd, limits: {cost: 5 USD}, window: {kind: calendar, every: day}}]",
    )
    known = Amounts(1, 1, 1, 1, 2_000_000)

    report = replayed(limited, asked(0), asked(1, charge=Charge(known, known)))

    assert (report["refused"], report["admitted"]) == (1, 1)


def test_a_rolling_window_counts_what_has_not_left_it(tmp_path: Path) -> None:
    rolling = policies(
        tmp_path,
        "budgets: [{name: day, limits: {images: 5}, window: {kind: rolling, every: 24h}}]",
    )

    report = replayed(rolling, asked(0, 3), asked(20, 2), asked(23.5, 1), asked(26, 3), asked(27, 1))

    day = line(report, "day")
    assert (day["admitted"], day["refused"]) == (3, 2), "the first three left after a day, the two did not"
    assert day["first_refusal"] == "2026-03-29T22:30:00+00:00"


def test_memory_grows_with_scopes_and_not_with_requests(tmp_path: Path) -> None:
    run = Replay(policies(tmp_path))
    for number in range(2000):
        run.take(asked(number / 2, team=f"team-{number % 7}"))

    assert len(run._spent) == 8
    assert run.report(top=3)["requests"] == 2000
    assert len(line(run.report(top=3), "team-day")["top"]) == 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 4), st.sampled_from(["a", "b"]), st.integers(0, 6)),
        max_size=25,
    )
)
def test_a_budget_never_admits_more_than_its_limit_and_refuses_only_for_want_of_room(
    tmp_path: Path, steps: list[tuple[int, int, str, int]]
) -> None:
    requests = [asked(h, n, team=team, carbon_g=g) for h, n, team, g in sorted(steps, key=lambda one: one[0])]

    report = replayed(policies(tmp_path), *requests, top=50)

    used: Tallies[tuple[str, int, str]] = Tallies()
    refused = 0
    for one in requests:
        day = int((one.at_ms / 1000 - MIDNIGHT.timestamp()) >= 23 * 3600)
        team, amounts = str(one.subject.team), one.charge.central
        new = {"images": amounts.images, "carbon": amounts.carbon_ug}
        limits = {"images": 5, "carbon": 10_000_000}
        if any(new[d] and used[d, day, team] + new[d] > limits[d] for d in new):
            refused += 1
        else:
            used.update({(d, day, team): new[d] for d in new})
    assert line(report, "team-day")["refused"] == refused
    assert all(share <= 1 for share in line(report, "team-day")["peak_share"].values())


def test_requests_count_where_they_were_made(tmp_path: Path) -> None:
    text = """
budgets:
  - {name: eco-day, match: {deployment: [eco]}, limits: {images: 1}, window: {kind: calendar, every: day}}
  - {name: each-day, per: [deployment], limits: {images: 2}, window: {kind: calendar, every: day}}
"""
    made = [asked(hours, deployment=name) for hours, name in enumerate(["eco", "big", "big", "eco"], start=2)]

    report = replayed(policies(tmp_path, text), *made)

    assert (report["admitted"], report["refused"]) == (3, 1)
    assert (line(report, "eco-day")["admitted"], line(report, "eco-day")["refused"]) == (1, 1)
    assert {one["scope"]["deployment"] for one in line(report, "each-day")["top"]} == {"eco", "big"}
