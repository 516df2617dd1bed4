"""Budgets that tell deployments apart: a hold covers the deployments that may do the work, and no other."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budgets.amounts import Charge, Dimension
from gateway.budgets.matching import counters_for
from gateway.budgets.policy import Budget, PolicySet
from gateway.budgets.windows import Window
from gateway.demo.faults import parse_fault
from gateway.demo.standin import StandInSettings
from gateway.errors import NotFound
from gateway.footprint.factors import load_factors
from gateway.identity.subject import Role, Subject
from gateway.images.lighter import changed
from gateway.images.request import read_generation
from gateway.lifecycle.ladder import MOST_FORMS, Rung, forms_of_both, other_forms, reroute
from gateway.lifecycle.plan import Plan, hold_of, site
from gateway.lifecycle.pricing import asked_footprint
from gateway.lifecycle.runs import concerned, runs_of
from gateway.routing.rank import Candidate, Ranking, Route
from gateway.upstreams.deployments import Deployment, Hardware
from tests.lifecycle.reading import recorded
from tests.running import GENERATIONS, MODEL, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.budgets.matching import MatchedBudget
    from gateway.images.request import ImageRequest
    from tests.running import Gateway

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
ANA = Subject("acme", "k1", Role.MEMBER, "design", "ana")
ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}
NAMES = [f"d{number}" for number in range(6)]
THREE = {zone: StandInSettings(zone=zone) for zone in ("SE", "FR", "PL")}
"""The cleanest first."""


def only(zone: str, name: str | None = None, **fields: Any) -> dict[str, Any]:
    return budget(
        name or f"only-{zone.lower()}", match={"deployment": f"flux-{zone.lower()}"}, per=[], **fields
    )


EACH = budget("each", per=["deployment"], limits={"images": 3})


@cache
def route_to(name: str) -> Route:
    """A route to a deployment whose energy is its own; which of them take more is not in their order."""
    request = read_generation(b'{"model": "m", "prompt": "a cat"}')
    hardware = Hardware(gpu="H100", pue=1 + (NAMES.index(name) * 5 % 7) / 5)
    deployment = Deployment(name, ("m",), "http://d/v1", hardware=hardware)
    footprint = asked_footprint(request, deployment, site(deployment), load_factors())
    return Route(Candidate(deployment, footprint), "any")


def plan_of(names: list[str], attempts: int) -> Plan:
    routes = [route_to(name) for name in names]
    request = read_generation(b'{"model": "m", "prompt": "a cat"}')
    empty = Plan(ANA, request, [], Ranking([], "carbon"), [], attempts, lambda _: None)
    return empty.ordered(routes, Ranking(routes, "carbon"))


def a_budget(name: str, match: tuple[str, ...], per: tuple[str, ...]) -> Budget:
    return Budget(
        name=name,
        file="f.yaml",
        line=1,
        match={"deployment": match} if match else {},
        per=per,
        limits={Dimension.IMAGES: 1},
        window=Window(kind="calendar", every="month"),
        timezone="UTC",
        bound="high",
        mode="enforce",
        on_exceed=("deny",),
        on_store_down="deny",
    )


matches = st.sets(st.sampled_from(NAMES), max_size=4).map(lambda found: tuple(sorted(found)))
scopes = st.sampled_from([(), ("team",), ("deployment",), ("team", "deployment")])
policy_sets = st.lists(st.tuples(matches, scopes), max_size=4).map(
    lambda found: PolicySet(tuple(a_budget(f"b{number}", *one) for number, one in enumerate(found)), "v")
)
orders = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)


def ids_at(name: str, policies: PolicySet) -> tuple[str, ...]:
    matched = counters_for(policies, ANA, model="m", route="images.generate", deployment=name, now=NOW)
    return tuple(match.counter.id for match in matched)


@given(policies=policy_sets, names=orders, attempts=st.integers(1, 4))
def test_runs_are_the_routes_in_their_order_and_each_counts_against_its_own_budgets(
    policies: PolicySet, names: list[str], attempts: int
) -> None:
    plan = plan_of(names, attempts)

    runs = runs_of(Rung(plan, {}), policies, NOW)

    parts = [[route.deployment.id for route in run.form.plan.routes] for run in runs]
    assert [name for part in parts for name in part] == names
    for run, part in zip(runs, parts, strict=True):
        assert {ids_at(name, policies) for name in part} == {run.ids}
        assert run.form.plan.ranking.routes == plan.routes
    assert all(one.ids != other.ids for one, other in pairwise(runs))
    said = {match.budget.name for run in runs for match in run.matched}
    assert [match.budget.name for match in concerned(runs, policies)] == sorted(said)


@given(policies=policy_sets, names=orders, attempts=st.integers(1, 4))
def test_a_hold_covers_what_may_be_asked_and_failovers_stay_in_their_run(
    policies: PolicySet, names: list[str], attempts: int
) -> None:
    for run in runs_of(Rung(plan_of(names, attempts), {}), policies, NOW):
        plan = run.form.plan
        for index, hold in enumerate(plan.holds):
            asked = plan.attempts(index)
            assert {ids_at(route.deployment.id, policies) for route in asked} == {run.ids}
            assert 1 <= len(asked) <= attempts
            assert hold == reduce(Charge.at_least, [hold_of(route) for route in asked])


@given(policies=policy_sets, names=orders)
def test_a_run_is_one_run_and_remembers_what_would_have_been_asked_first(
    policies: PolicySet, names: list[str]
) -> None:
    for run in runs_of(Rung(plan_of(names, 2), {}), policies, NOW):
        (same,) = runs_of(run.form, policies, NOW)
        assert same == run
        for index, route in enumerate(run.form.plan.routes):
            moved = {"from": names[0], "to": route.deployment.id}
            assert reroute(run.form, index, {}) == (None if route.deployment.id == names[0] else moved)


@given(names=orders, per=st.sampled_from([(), ("team",), ("model",)]))
def test_where_no_budget_tells_deployments_apart_the_plan_stays_what_it_is(
    names: list[str], per: tuple[str, ...]
) -> None:
    form = Rung(plan_of(names, 2), {})

    (run,) = runs_of(form, PolicySet((a_budget("b", (), per),), "v"), NOW)

    assert run.form is form


async def rows_of(gateway: Gateway) -> dict[tuple[str, str], dict[str, Any]]:
    """The budgets of the org by name and deployment."""
    answer = await (await gateway.member(role="org_admin")).get("/eco/v1/budgets")
    assert answer.status_code == 200, answer.text
    return {(row["policy"], row["scope"].get("deployment", "")): row for row in answer.json()["data"]}


def made_at(gateway: Gateway) -> dict[str, int]:
    return {zone: len(running.standin.generations) for zone, running in gateway.standins.items()}


async def test_fifty_at_once_fill_the_first_deployment_exactly_and_overflow_to_the_second(
    tmp_path: Path, redis_url: str
) -> None:
    budgets = [only("SE", limits={"images": 20}), only("PL", limits={"images": 25})]
    async with gateway_running(tmp_path, redis_url, budgets=budgets) as gateway:
        client = await gateway.member()
        answers = await asyncio.gather(*(client.post(GENERATIONS, json=ASK) for _ in range(50)))
        rows = await rows_of(gateway)
        made = made_at(gateway)

    told = Counter((one.status_code, one.headers.get("ecogate-decision")) for one in answers)
    statuses = Counter(one.status_code for one in answers)
    assert statuses[200] == 45
    assert set(statuses) <= {200, 402, 429}
    assert (told[200, "allow"], told[200, "reroute"]) == (20, 25)
    assert made == {"SE": 20, "PL": 25}
    assert {name: (row["used"], row["held"]) for (name, _), row in rows.items()} == {
        "only-se": (20, 0),
        "only-pl": (25, 0),
    }


async def test_a_counter_for_each_deployment_is_never_overspent(tmp_path: Path, redis_url: str) -> None:
    each = budget("each", per=["deployment"], limits={"images": 7})
    async with gateway_running(tmp_path, redis_url, budgets=[each], zones=THREE) as gateway:
        client = await gateway.member()
        answers = await asyncio.gather(*(client.post(GENERATIONS, json=ASK) for _ in range(50)))
        rows = await rows_of(gateway)
        made = made_at(gateway)

    assert sum(one.status_code == 200 for one in answers) == 21
    assert made == {"SE": 7, "FR": 7, "PL": 7}
    assert {place: row["used"] for (_, place), row in rows.items()} == {
        "flux-se": 7,
        "flux-fr": 7,
        "flux-pl": 7,
    }


async def test_a_later_deployment_that_has_room_is_a_reroute_and_the_record_says_so(
    tmp_path: Path, redis_url: str
) -> None:
    budgets = [budget("team", limits={"images": 9}), only("SE", limits={"images": 0})]
    async with gateway_running(tmp_path, redis_url, budgets=budgets) as gateway:
        client = await gateway.member()
        answer = await client.post(GENERATIONS, json=ASK)
        record = await recorded(gateway.admin, answer.headers["x-request-id"])
        rows = await rows_of(gateway)

    assert (answer.headers["ecogate-decision"], answer.headers["ecogate-deployment"]) == (
        "reroute",
        "flux-pl",
    )
    assert answer.headers["ecogate-rerouted"] == "from=flux-se, to=flux-pl"
    assert answer.headers["ecogate-budget-remaining"] == "team;images=8"
    assert record["reroute"] == {"from": "flux-se", "to": "flux-pl"}
    assert [one["policy"] for one in record["policies"]] == ["team"]
    assert {name: row["used"] for (name, _), row in rows.items()} == {"team": 1, "only-se": 0}


@pytest.mark.parametrize(
    ("budgets", "asked", "status"),
    [
        ([EACH], {"SE": 1, "FR": 0, "PL": 0}, 429),
        (
            [budget("both", match={"deployment": ["flux-se", "flux-fr"]}, per=[])],
            {"SE": 1, "FR": 1, "PL": 0},
            429,
        ),
        ([budget("rest", match={"deployment": ["flux-pl"]}, per=[])], {"SE": 1, "FR": 1, "PL": 0}, 429),
        ([budget()], {"SE": 1, "FR": 1, "PL": 1}, 200),
    ],
)
async def test_a_failover_never_goes_where_other_budgets_count(
    tmp_path: Path, redis_url: str, budgets: list[dict[str, Any]], asked: dict[str, int], status: int
) -> None:
    routing = {"retries": {"max_attempts": 3}}
    async with gateway_running(tmp_path, redis_url, budgets=budgets, zones=THREE, routing=routing) as gateway:
        for zone in ("SE", "FR"):
            gateway.standins[zone].standin.faults_to_come.append(parse_fault("rate_limit:1"))
        answer = await (await gateway.member()).post(GENERATIONS, json=ASK)
        rows = await rows_of(gateway)
        made = made_at(gateway)

    assert (answer.status_code, made) == (status, asked), answer.text
    assert {(row["used"], row["held"]) for row in rows.values()} == {(int(status == 200), 0)}


async def test_a_refusal_tells_of_what_was_asked_first(tmp_path: Path, redis_url: str) -> None:
    budgets = [only("SE", limits={"images": 1}), only("PL", limits={"images": 0})]
    async with gateway_running(tmp_path, redis_url, budgets=budgets) as gateway:
        client = await gateway.member()
        first = await client.post(GENERATIONS, json=ASK)
        dry = (await client.post("/eco/v1/estimate", json=ASK)).json()
        answer = await client.post(GENERATIONS, json=ASK)

    error = answer.json()["error"]
    assert (first.status_code, answer.status_code, error["code"]) == (200, 402, "eco_budget_exceeded")
    assert {row["policy"] for row in error["eco"]["violations"]} == {"only-se"}
    assert dry["verdict"] == "deny"
    assert [one["policy"] for one in dry["policies"]] == ["only-se"]
    assert {one["deployment"]: one["policies"] for one in dry["candidates"]} == {
        "flux-se": ["only-se"],
        "flux-pl": ["only-pl"],
    }


@pytest.mark.parametrize("seed", range(3))
async def test_a_dry_run_says_what_then_happens(tmp_path: Path, redis_url: str, seed: int) -> None:
    generator = random.Random(seed)
    ladder: list[Any] = [{"downgrade": [{"n": 1}]}, "deny"]
    budgets = [
        budget("each", per=["deployment"], limits={"images": generator.randint(3, 6)}),
        only(
            "FR", limits={"images": generator.randint(1, 4)}, on_exceed=generator.choice([["deny"], ladder])
        ),
        budget("team", limits={"images": generator.randint(8, 14)}),
    ]
    seen = set()
    async with gateway_running(tmp_path, redis_url, budgets=budgets, zones=THREE) as gateway:
        client = await gateway.member()
        for _ in range(12):
            body = ASK | {"n": generator.randint(1, 4)}
            dry = (await client.post("/eco/v1/estimate", json=body)).json()
            answer = await client.post(GENERATIONS, json=body)
            seen.add(dry["verdict"])
            if dry["verdict"] == "deny":
                error = answer.json()["error"]
                told = dry["refusal"]["error"]
                assert (dry["refusal"]["status"], told["code"]) == (answer.status_code, error["code"])
                assert told["eco"]["violations"] == error["eco"]["violations"]
                assert told["eco"]["alternatives"] == error["eco"]["alternatives"]
            else:
                assert answer.status_code == 200, (dry, answer.text)
                decision = "allow" if dry["verdict"] == "admit" else dry["verdict"]
                assert answer.headers["ecogate-decision"] == decision
                assert answer.headers["ecogate-deployment"] == dry["deployment"]
    assert {"admit", "reroute", "deny"} <= seen


async def test_what_is_offered_instead_is_admitted_wherever_it_fits(tmp_path: Path, redis_url: str) -> None:
    budgets = [only("SE", limits={"images": 0}), only("PL", limits={"images": 2})]
    async with gateway_running(tmp_path, redis_url, budgets=budgets) as gateway:
        client = await gateway.member()
        refused = await client.post(GENERATIONS, json=ASK | {"n": 4})
        (other,) = refused.json()["error"]["eco"]["alternatives"]
        answer = await client.post(GENERATIONS, json=ASK | {"n": 4} | other["set"])

    assert (other["set"], refused.status_code) == ({"n": 2}, 402)
    assert (answer.status_code, answer.headers["ecogate-deployment"]) == (200, "flux-pl")


async def test_only_the_deployment_whose_cost_is_limited_needs_a_price(
    tmp_path: Path, redis_url: str
) -> None:
    async with gateway_running(
        tmp_path, redis_url, budgets=[only("SE", limits={"cost": "1 USD"})]
    ) as gateway:
        client = await gateway.member()
        dry = (await client.post("/eco/v1/estimate", json=ASK)).json()
        answer = await client.post(GENERATIONS, json=ASK)

    assert (answer.status_code, answer.headers["ecogate-deployment"]) == (200, "flux-pl")
    assert {one["deployment"]: one["usable"] for one in dry["candidates"]} == {
        "flux-pl": True,
        "flux-se": False,
    }


async def test_each_deployment_is_listed_and_can_be_raised(tmp_path: Path, redis_url: str) -> None:
    of_pl = budget("pl", match={"deployment": "flux-pl"}, per=["deployment"], limits={"images": 9})
    raising = {"policy": "each", "scope": {"deployment": "flux-se"}, "reason": "launch", "org": "acme"}
    async with gateway_running(tmp_path, redis_url, budgets=[EACH, of_pl]) as gateway:
        member, boss = await gateway.member(), await gateway.member(role="org_admin")
        await member.post(GENERATIONS, json=ASK | {"n": 3})
        before = await member.post("/eco/v1/estimate", json=ASK)
        own = await boss.post("/eco/v1/raises", json=raising | {"amounts": {"images": 2}})
        raised = await gateway.admin.post("/eco/v1/raises", json=raising | {"amounts": {"images": 2}})
        answer = await member.post(GENERATIONS, json=ASK)
        rows, seen = await rows_of(gateway), (await member.get("/eco/v1/budgets")).json()["data"]

    assert before.json()["deployment"] == "flux-pl"
    assert (own.status_code, raised.status_code) == (403, 201), raised.text
    assert answer.headers["ecogate-deployment"] == "flux-se"
    assert {place: row["raised"] for place, row in rows.items()} == {
        ("each", "flux-se"): 2,
        ("each", "flux-pl"): 0,
        ("pl", "flux-pl"): 0,
    }
    assert (rows["each", "flux-se"]["used"], seen) == (4, [])


async def test_models_are_listed_only_where_they_are_offered(tmp_path: Path, redis_url: str) -> None:
    url = "http://127.0.0.1:9/v1"
    listed = [{"id": f"at-{model}", "model": model, "base_url": url} for model in ("a", "b")]
    both = budget("both", per=["model", "deployment"])
    async with gateway_running(tmp_path, redis_url, budgets=[both], deployments=listed) as gateway:
        boss = await gateway.member(role="org_admin")
        rows = (await boss.get("/eco/v1/budgets")).json()["data"]

    assert {(row["scope"]["model"], row["scope"]["deployment"]) for row in rows} == {
        ("a", "at-a"),
        ("b", "at-b"),
    }


def planner_of(request: ImageRequest, *, to: str | None = None) -> Plan:
    """A plan at `d0`, which serves the model `m`, or at another, which has one of its own name."""
    name = to or NAMES[0]
    if to is not None:
        request = changed(request, {"model": name})
    elif request.model != "m":
        raise NotFound("nobody serves it", code="model_not_found")
    deployment = Deployment(name, ("m",), "http://d/v1", hardware=Hardware(gpu="H100"))
    footprint = asked_footprint(request, deployment, site(deployment), load_factors())
    routes = [Route(Candidate(deployment, footprint), "any")]
    return Plan(ANA, request, [], Ranking([], "carbon"), [], 2, lambda _: None).ordered(
        routes, Ranking(routes, "carbon")
    )


def deciding(**fields: Any) -> list[MatchedBudget]:
    chosen = replace(a_budget("b", (), ()), **fields)
    policies = PolicySet((chosen,), "v")
    return counters_for(policies, ANA, model="m", route="images.generate", deployment="d0", now=NOW)


def forms_of(plan: Plan, matched: list[MatchedBudget]) -> list[tuple[str, dict[str, Any]]]:
    alone = other_forms(plan, matched, planner_of)
    return [
        (form.plan.routes[0].deployment.id, dict(form.set))
        for form in (*alone, *forms_of_both(alone, matched, planner_of))
    ]


def test_each_action_is_tried_alone_and_then_each_rung_at_every_deployment() -> None:
    plan = planner_of(read_generation(b'{"model": "m", "prompt": "a cat", "n": 4}'))
    ladder = ({"n": 2}, {"model": "elsewhere", "size": "512x512"}, {"model": "nobody"}, {"n": 2})
    matched = deciding(on_exceed=("reroute", "downgrade", "deny"), downgrade=ladder, reroute=("d1", "d2"))

    assert forms_of(plan, matched) == [
        ("d1", {}),
        ("d2", {}),
        ("d0", {"n": 2}),
        ("d1", {"n": 2}),
        ("d2", {"n": 2}),
        ("d1", {"n": 2, "size": "512x512"}),
        ("d2", {"n": 2, "size": "512x512"}),
    ]


def test_only_one_of_the_two_actions_makes_no_forms_of_both() -> None:
    plan = planner_of(read_generation(b'{"model": "m", "prompt": "a cat", "n": 4}'))

    down = deciding(on_exceed=("downgrade", "deny"), downgrade=({"n": 2},))
    away = deciding(on_exceed=("reroute", "deny"), reroute=("d1",))

    assert (forms_of(plan, down), forms_of(plan, away)) == ([("d0", {"n": 2})], [("d1", {})])


def test_no_request_is_tried_in_more_forms_than_documented() -> None:
    plan = planner_of(read_generation(b'{"model": "m", "prompt": "a cat", "n": 10, "size": "1024x1024"}'))
    ladder = tuple({"n": images} for images in range(9, 1, -1))
    matched = deciding(
        on_exceed=("downgrade", "reroute", "deny"), downgrade=ladder, reroute=("d1", "d2", "d3", "d4", "d5")
    )

    found = forms_of(plan, matched)

    assert len(found) == MOST_FORMS == 32
    assert found[:9] == [*(("d0", {"n": images}) for images in range(9, 1, -1)), ("d1", {})]
    assert found[-1] == ("d4", {"n": 6})
