from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import pytest

from gateway.budgets.amounts import Amounts, Charge
from gateway.budgets.matching import counters_for
from gateway.budgets.windows import moment
from gateway.identity.subject import Role
from gateway.store.connection import connect
from gateway.usage.journal import JournalConsumer
from gateway.usage.record import Attempt, encode
from tests.api.eco_side import ASKED, open_eco_side
from tests.usage.journals import append, record, refuse
from tests.usage.test_avoided import INSTEAD, PLANNED

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis

    from gateway.store.sql import Database
    from tests.api.eco_side import EcoSide

EVERYTHING = {"from": "2000-01-01", "to": "2100-01-01", "window": "total"}
# Whose requests each caller may see.
SEES: dict[str, set[str]] = {
    "bootstrap": set(ASKED),
    "platform": set(ASKED),
    "owner": set(ASKED) - {"gil"},
    "ada": {"ada", "ana", "nobody"},
    "ana": {"ana"},
    "bo": {"bo", "robot"},
    "nobody": {"nobody"},
    "robot": {"robot"},
    "gil": {"gil"},
    "gina": {"gil"},
}


async def test_usage_counts_what_the_caller_may_see(eco: EcoSide) -> None:
    for who, sees in SEES.items():
        [row] = await eco.rows(who, "/eco/v1/usage", **EVERYTHING)

        assert (row["requests"], row["images"], row["energy_wh"]) == (len(sees), 2 * len(sees), 2 * len(sees))


async def test_the_list_holds_what_the_caller_may_see(eco: EcoSide) -> None:
    for who, sees in SEES.items():
        rows = await eco.rows(who, "/eco/v1/requests")

        assert {row["id"] for row in rows} == {eco.requests[name] for name in sees}, who


async def test_a_request_of_somebody_else_does_not_exist(eco: EcoSide) -> None:
    for who, sees in SEES.items():
        for name in ASKED:
            answer = await eco.ask(who, f"/eco/v1/requests/{eco.requests[name]}")

            assert answer.status_code == (200 if name in sees else 404), (who, name)
            if name not in sees:
                assert answer.json()["error"]["code"] == "request_not_found"


@pytest.mark.parametrize("name", ["org", "team", "user", "key"])
async def test_a_filter_narrows_and_never_widens(eco: EcoSide, name: str) -> None:
    values = {getattr(eco.subjects[asked], name) for asked in ASKED} - {None}

    for who, sees in SEES.items():
        for value in values:
            rows = await eco.rows(who, "/eco/v1/requests", **{name: value})
            expected = {eco.requests[other] for other in sees if getattr(eco.subjects[other], name) == value}
            assert {row["id"] for row in rows} == expected, (who, value)


async def test_groups_name_only_what_the_caller_may_see(eco: EcoSide) -> None:
    for who, sees in SEES.items():
        rows = await eco.rows(who, "/eco/v1/usage", **EVERYTHING, group_by="org,key")

        expected = {(eco.subjects[name].org, eco.subjects[name].key) for name in sees}
        assert {(row["group"]["org"], row["group"]["key"]) for row in rows} == expected, who


async def test_a_row_of_usage_has_its_ranges_units_and_basis(eco: EcoSide) -> None:
    answer = (await eco.ask("ana", "/eco/v1/usage", params=EVERYTHING)).json()

    assert answer["data"] == [
        {
            "start": "2000-01-01T00:00:00Z",
            "end": "2100-01-01T00:00:00Z",
            "group": {},
            "requests": 1,
            "refused": 0,
            "retries": 0,
            "images": 2,
            "energy_wh": 2.0,
            "energy_wh_range": {"low": 1.0, "high": 4.0},
            "water_ml": 4.0,
            "water_ml_range": {"low": 2.0, "high": 8.0},
            "carbon_g": 1.0,
            "carbon_g_range": {"low": 0.5, "high": 2.0},
            "cost_usd": 0.08,
            "unpriced_requests": 0,
            "avoided_carbon_g": None,
            "avoided": {
                "even_spread": {"carbon_g": None, "known_requests": 0},
                "best_fixed": {"carbon_g": None, "known_requests": 0},
            },
            "waste": {"energy_wh": 0.0, "water_ml": 0.0, "carbon_g": 0.0},
            "basis": "settled",
        }
    ]
    assert set(answer["baselines"]) == set(answer["data"][0]["avoided"])
    assert answer["units"]["water_ml"].startswith("mL")
    assert answer["period"] == {
        "start": "2000-01-01T00:00:00Z",
        "end": "2100-01-01T00:00:00Z",
        "timezone": "UTC",
    }


async def test_what_failed_attempts_wasted_is_summed_beside_what_was_charged(eco: EcoSide) -> None:
    lost = Attempt("a", "unknown", wasted={"energy_wh": 1.5, "water_ml": 2.0, "carbon_g": 0.25})
    for number in range(2):
        await append(eco.redis, record(id=f"req_lost{number}", team="unlucky", attempts=[lost]))
    await JournalConsumer(eco.redis, eco.database).drain_once()

    [row] = await eco.rows("owner", "/eco/v1/usage", **EVERYTHING, team="unlucky")

    assert row["waste"] == {"energy_wh": 3.0, "water_ml": 4.0, "carbon_g": 0.5}


async def test_what_was_avoided_is_told_by_baseline_and_may_be_negative(eco: EcoSide) -> None:
    told = record(id="req_told", team="routed", candidates=PLANNED, routing=INSTEAD)
    await append(eco.redis, told)
    await append(eco.redis, record(id="req_untold", team="routed"))
    await JournalConsumer(eco.redis, eco.database).drain_once()

    [row] = await eco.rows("owner", "/eco/v1/usage", **EVERYTHING, team="routed")

    assert row["avoided_carbon_g"] == 4.0
    assert row["avoided"] == {
        "even_spread": {"carbon_g": 4.0, "known_requests": 1},
        "best_fixed": {"carbon_g": -0.5, "known_requests": 1},
    }


async def test_a_total_of_nothing_is_one_row_and_a_day_of_nothing_is_none(eco: EcoSide) -> None:
    [row] = await eco.rows("gil", "/eco/v1/usage", window="total", tz="Asia/Tokyo")
    days = await eco.rows("gil", "/eco/v1/usage")

    assert (row["requests"], row["energy_wh"]) == (0, 0.0)
    assert row["start"].endswith("-01T00:00:00+09:00")
    assert "basis" not in row
    assert row["avoided_carbon_g"] == 0.0
    assert days == []


async def test_usage_can_be_had_as_csv(eco: EcoSide) -> None:
    odd = record(id="req_odd", model="=HYPERLINK(1)", team=None, footprint={})
    await append(eco.redis, odd)
    await JournalConsumer(eco.redis, eco.database).drain_once()

    answer = await eco.ask(
        "owner",
        "/eco/v1/usage",
        params={**EVERYTHING, "group_by": ["team", "model"]},
        headers={"accept": "text/csv"},
    )

    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert rows[0]["model"] == "'=HYPERLINK(1)"
    assert (rows[0]["avoided_carbon_g_vs_even_spread"], rows[0]["avoided_known_requests_vs_best_fixed"]) == (
        "",
        "0",
    )
    assert (rows[0]["team"], rows[0]["energy_wh_low"], rows[0]["energy_wh"]) == ("", "", "2.0")
    assert {row["team"] for row in rows} == {"", "design", "film"}


async def test_a_request_is_shown_with_its_provenance(eco: EcoSide) -> None:
    answer = (await eco.ask("ana", "/eco/v1/requests/req_ana")).json()

    assert answer["time"] == "2026-01-01T00:00:00Z"
    assert answer["subject"] == {
        "org": "acme",
        "key": eco.subjects["ana"].key,
        "team": "design",
        "user": "ana",
        "labels": {"project": "spring"},
    }
    assert answer["footprint"]["energy_wh"] == {"low": 1.0, "central": 2.0, "high": 4.0}
    assert answer["charge"] == {
        "energy_wh": 2.0,
        "water_ml": 4.0,
        "carbon_g": 1.0,
        "images": 2,
        "cost_usd": 0.08,
    }
    assert answer["sources"] == ["gpu-h100", "grid-se"]
    [entry] = answer["entries"]
    assert (entry["kind"], entry["high"]["energy_wh"]) == ("commit", 4.0)
    assert (answer["decision"], answer["basis"], answer["deployment"]) == ("allow", "settled", "flux-se")


async def test_a_refused_request_is_listed_without_a_charge(eco: EcoSide) -> None:
    await refuse(eco.redis, record(id="req_refused", decision="deny", outcome="refused", images=0))
    await JournalConsumer(eco.redis, eco.database).drain_once()

    [row] = await eco.rows("owner", "/eco/v1/requests", decision="deny")
    [total] = await eco.rows("owner", "/eco/v1/usage", **EVERYTHING, group_by="decision", decision="deny")

    assert (row["id"], row["images"], row["charge"]["energy_wh"]) == ("req_refused", 0, 0.0)
    assert (total["requests"], total["refused"], total["energy_wh"]) == (1, 1, 0.0)
    assert "basis" not in total


async def test_pages_follow_each_other_without_gap_or_repeat(eco: EcoSide) -> None:
    for number in range(7):
        await append(eco.redis, record(id=f"req_page_{number}"), at=5000 + number // 3)
    await JournalConsumer(eco.redis, eco.database).drain_once()
    seen: list[str] = []
    parameters: dict[str, Any] = {"limit": 2}

    while True:
        answer = (await eco.ask("platform", "/eco/v1/requests", params=parameters)).json()
        assert len(answer["data"]) <= 2
        seen += [row["id"] for row in answer["data"]]
        if answer["next"] is None:
            break
        parameters["cursor"] = answer["next"]

    assert len(seen) == len(set(seen)) == len(ASKED) + 7
    assert seen[len(ASKED) :][0] == "req_page_6"


async def test_a_cursor_of_somebody_else_shows_nothing_of_theirs(eco: EcoSide) -> None:
    cursor = (await eco.ask("platform", "/eco/v1/requests", params={"limit": 1})).json()["next"]

    rows = await eco.rows("gil", "/eco/v1/requests", cursor=cursor)

    assert {row["subject"]["org"] for row in rows} <= {"globex"}


BAD = [
    ("/eco/v1/usage", {"window": "fortnight"}, "window"),
    ("/eco/v1/usage", {"from": "yesterday"}, "from"),
    ("/eco/v1/usage", {"from": "2026-01-02", "to": "2026-01-01"}, "from"),
    ("/eco/v1/usage", {"from": "0001-01-01"}, "from"),
    ("/eco/v1/usage", {"from": "1970-01-01", "to": "2999-01-01"}, "from"),
    ("/eco/v1/usage", {"to": "9999-12-31T23:59:59-12:00"}, "to"),
    ("/eco/v1/usage", {"tz": "Mars/Olympus"}, "tz"),
    ("/eco/v1/usage", {"tz": "../../etc/passwd"}, "tz"),
    ("/eco/v1/usage", {"tz": "\x00"}, "tz"),
    ("/eco/v1/usage", {"group_by": "prompt"}, "group_by"),
    ("/eco/v1/usage", {"group_by": "label.'; DROP TABLE requests"}, "group_by"),
    ("/eco/v1/usage", {"group_by": ",".join(f"label.l{n}" for n in range(7))}, "group_by"),
    ("/eco/v1/usage", {"team": "a\x00b"}, "team"),
    ("/eco/v1/usage", {"team": "x" * 600}, "team"),
    ("/eco/v1/usage", {"temas": "design"}, "temas"),
    ("/eco/v1/usage", {"team": ["design", "film"]}, "team"),
    ("/eco/v1/requests", {"limit": 0}, None),
    ("/eco/v1/requests", {"limit": 201}, None),
    ("/eco/v1/requests", {"limit": "many"}, None),
    ("/eco/v1/requests", {"cursor": "!"}, "cursor"),
    ("/eco/v1/requests", {"cursor": "bm90IGpzb24"}, "cursor"),
    ("/eco/v1/requests", {"cursor": "é"}, "cursor"),
    ("/eco/v1/requests", {"cursor": "WzEsImEiLCJcdTAwMDAiXQ"}, "cursor"),
    ("/eco/v1/requests", {"window": "day"}, "window"),
]


async def test_a_bad_parameter_is_named(eco: EcoSide) -> None:
    for path, parameters, param in BAD:
        answer = await eco.ask("ana", path, params=parameters)

        assert answer.status_code == 400, (parameters, answer.text)
        error = answer.json()["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", param), parameters


async def test_an_id_that_nobody_has_is_not_found(eco: EcoSide) -> None:
    for request_id in ("req_none", "%00", "%25", "x" * 2000, "'%20OR%201=1", "..", "%F0%9F%8C%8D"):
        answer = await eco.ask("platform", f"/eco/v1/requests/{request_id}")

        assert answer.status_code == 404, request_id


async def spend(
    eco: EcoSide, who: str, *, model: str = "starter-pack", route: str = "images.generate"
) -> None:
    """Settle 2 Wh, 4 mL, 1 g and 2 images for somebody, and hold as much again."""
    subject = eco.subjects[who]
    charge = Charge(
        central=Amounts(2_000_000, 4_000, 1_000_000, 2, 80_000),
        high=Amounts(3_000_000, 8_000, 2_000_000, 2, 80_000),
    )
    seconds, _ = await eco.redis.time()
    matched = counters_for(
        eco_policies(eco), subject, model=model, route=route, deployment="", now=moment(int(seconds) * 1000)
    )
    counters = [match.counter for match in matched]
    for number, settle in enumerate((True, False)):
        hold, text = f"{who}-{model}-{number}", encode(record(org=subject.org))
        await eco.ledger.reserve(subject.org, hold, [charge], counters, text)
        if settle:
            await eco.ledger.settle(subject.org, hold, charge, text, counters)


def eco_policies(eco: EcoSide) -> Any:
    return eco.app.dependencies["configuration"].dependency().policies  # type: ignore[union-attr]


def budget(rows: list[dict[str, Any]], policy: str, **scope: str) -> dict[str, dict[str, Any]]:
    return {row["dimension"]: row for row in rows if (row["policy"], row["scope"]) == (policy, scope)}


async def test_a_member_sees_the_amounts_of_its_team_in_units(eco: EcoSide) -> None:
    await spend(eco, "ana")

    rows = await eco.rows("ana", "/eco/v1/budgets")

    design = budget(rows, "team-month", team="design")
    carbon = design["carbon"]
    assert (carbon["limit"], carbon["used"], carbon["held"], carbon["remaining"]) == (5.0, 1.0, 1.0, 3.0)
    assert (carbon["unit"], carbon["bound"], carbon["mode"]) == ("g", "central", "enforce")
    assert design["energy"]["remaining"] == 4.0
    assert carbon["window"]["kind"] == "calendar"
    assert carbon["window"]["timezone"] == "Europe/Paris"
    assert "T00:00:00+" in carbon["window"]["start"]


async def test_a_budget_of_a_model_or_a_route_is_listed_too(eco: EcoSide) -> None:
    await spend(eco, "bo", model="dear")

    rows = await eco.rows("bo", "/eco/v1/budgets")

    dear = budget(rows, "dear-model", user="bo")
    assert (dear["water"]["used"], dear["water"]["bound"]) == (8.0, "high")
    assert set(budget(rows, "edits")) == {"images"}


async def test_who_sees_which_budgets(eco: EcoSide) -> None:
    seen = {}
    for who in SEES:
        rows = await eco.rows(who, "/eco/v1/budgets")
        seen[who] = {(row["policy"], *sorted(row["scope"].items())) for row in rows}
    design, film = ("team-month", ("team", "design")), ("team-month", ("team", "film"))
    whole = ("acme-month",)

    assert design in seen["ana"]
    assert film not in seen["ana"]
    for member in ("ana", "bo", "nobody", "robot", "ada"):
        assert whole not in seen[member]
    assert {design, film, whole} <= seen["owner"]
    assert {design, film, whole} <= seen["bootstrap"]
    assert design in seen["ada"]
    assert film not in seen["ada"]
    # A user's budget belongs to nobody's team: it is for the user and for admins of the org.
    assert ("dear-model", ("user", "ana")) in seen["ana"] & seen["owner"]
    assert ("dear-model", ("user", "ana")) not in seen["ada"] | seen["bo"]
    assert not {design, film, whole} & (seen["gil"] | seen["gina"])


async def test_an_org_admin_sees_no_amounts_of_another_org(eco: EcoSide) -> None:
    rows = await eco.rows("gina", "/eco/v1/budgets")

    assert {row["org"] for row in rows} == {"globex"}


async def test_me_is_the_caller_with_its_own_budgets(eco: EcoSide) -> None:
    answer = (await eco.ask("bo", "/eco/v1/me")).json()

    assert answer["role"] == "member"
    assert answer["subject"] == {
        "org": "acme",
        "key": eco.subjects["bo"].key,
        "team": "film",
        "user": "bo",
    }
    assert {row["policy"] for row in answer["budgets"]} == {"team-month", "dear-model", "edits"}


async def test_budgets_with_the_ledger_down_are_unavailable_not_empty(
    redis: Redis, sqlite_database: Database, tmp_path: Path
) -> None:
    nowhere = connect(f"unix://{tmp_path}/nowhere.sock", timeout_ms=100)
    eco = await open_eco_side(redis, sqlite_database, tmp_path, ledger_redis=nowhere)

    answer = await eco.ask("ana", "/eco/v1/budgets")

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "budget_store_unavailable"
    await eco.http.aclose()
    await nowhere.aclose()


ROUTES = {
    ("GET", "/eco/v1/usage"): set(SEES),
    ("GET", "/eco/v1/requests"): set(SEES),
    ("GET", "/eco/v1/requests/{request_id:str}"): set(SEES),
    ("GET", "/eco/v1/budgets"): set(SEES),
    ("GET", "/eco/v1/me"): set(SEES),
    ("GET", "/eco/v1/keys"): {"bootstrap", "platform", "owner", "gina"},
    ("POST", "/eco/v1/keys"): {"bootstrap", "platform", "owner", "gina"},
    ("DELETE", "/eco/v1/keys/{key_id:str}"): {"bootstrap", "platform", "owner", "gina"},
}


async def test_every_route_is_closed_without_a_key_and_open_to_its_roles(eco: EcoSide) -> None:
    """The routes come from the application: one that is not in the table fails here."""
    listed = {
        (method, route.path)
        for route in eco.app.routes
        for method in getattr(route, "methods", ())
        if method not in {"OPTIONS", "HEAD"}
    }
    assert listed == set(ROUTES)
    roles = {"bootstrap": Role.PLATFORM_ADMIN} | {
        name: subject.role for name, subject in eco.subjects.items()
    }
    assert set(roles.values()) == set(Role)

    for (method, path), allowed in ROUTES.items():
        filled = path.replace("{request_id:str}", "req_none").replace("{key_id:str}", "key_none")
        body: dict[str, str] | None = {} if method == "POST" else None
        assert (await eco.http.request(method, filled, json=body)).status_code == 401
        for who in roles:
            answer = await eco.ask(who, filled, method, json=body)
            opened = answer.status_code in {200, 201, 404}
            assert opened == (who in allowed), (method, path, who, answer.text)
            if who not in allowed:
                assert answer.status_code == 403
