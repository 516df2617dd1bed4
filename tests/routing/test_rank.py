"""The order of deployments, and the reasons for it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork, Site
from gateway.routing.rank import Candidate, leader, rank
from gateway.upstreams.deployments import Deployment
from gateway.upstreams.rules import Rules, Weights

WORK = ImageWork("sdxl", width=1024, height=1024, steps=25)


def candidate(
    zone: str | None, name: str | None = None, unavailable: str | None = None, **fields: Any
) -> Candidate:
    deployment = Deployment(name or f"in-{zone}", ("sdxl",), "http://127.0.0.1/v1")
    footprint = estimate(WORK, Site(zone=zone, gpu="H100"), load_factors())
    return Candidate(deployment, footprint, unavailable, **fields)


def order(*candidates: Candidate, incumbent: str | None = None, **rules: Any) -> list[str]:
    ranking = rank(candidates, Rules(**rules), incumbent=incumbent)
    return [route.deployment.id for route in ranking.routes if not route.rejected]


def expecting(name: str, carbon_g: float, **fields: Any) -> Candidate:
    return candidate("SE", name, expected_carbon_g=carbon_g, **fields)


def test_the_cleanest_zone_comes_first_and_says_why() -> None:
    routes = rank([candidate("PL"), candidate("SE"), candidate("FR")]).routes

    assert [route.deployment.id for route in routes] == ["in-SE", "in-FR", "in-PL"]
    assert routes[0].reason.startswith("lowest carbon: ")
    assert "against" in routes[2].reason


def test_equal_deployments_keep_the_order_of_the_file() -> None:
    routes = rank([candidate("SE", "b"), candidate("SE", "a")]).routes

    assert [route.deployment.id for route in routes] == ["b", "a"]


def test_what_cannot_be_used_comes_last_with_its_reason() -> None:
    routes = rank([candidate("SE", unavailable="full"), candidate("PL")]).routes

    assert [(route.deployment.id, route.reason) for route in routes] == [
        ("in-PL", "the only deployment that can do the work"),
        ("in-SE", "full"),
    ]
    assert [route.as_json()["usable"] for route in routes] == [True, False]


@given(st.lists(st.sampled_from(["SE", "PL", "FR", "DE", "US", None]), min_size=1, max_size=6))
def test_every_candidate_is_ranked_once_by_rising_carbon(zones: list[str | None]) -> None:
    routes = rank([candidate(zone, str(number)) for number, zone in enumerate(zones)]).routes

    carbon = [route.footprint.carbon_g.central for route in routes]
    assert carbon == sorted(carbon)
    assert sorted(route.deployment.id for route in routes) == sorted(str(n) for n in range(len(zones)))


def test_the_incumbent_stays_until_a_rival_is_five_percent_better() -> None:
    assert order(expecting("old", 100), expecting("new", 95.1), incumbent="old") == ["old", "new"]
    assert order(expecting("old", 100), expecting("new", 95.0), incumbent="old") == ["new", "old"]
    assert order(expecting("old", 100), expecting("new", 99), incumbent="old", min_gain=0.0) == ["new", "old"]


def test_an_incumbent_that_may_not_be_used_keeps_no_place() -> None:
    gone = expecting("old", 100, unavailable="circuit open")

    assert order(gone, expecting("a", 120), expecting("b", 110), incumbent="old") == ["b", "a"]


def test_a_kept_incumbent_and_its_rival_say_so() -> None:
    routes = rank([expecting("old", 100), expecting("new", 97)], incumbent="old").routes

    assert routes[0].reason == "kept: 100 gCO2e; the best rival, 97 gCO2e, is not 5% better"
    assert routes[1].reason.endswith("less than 5% better, not enough to change")


def test_near_ties_go_to_the_one_with_more_free_capacity() -> None:
    busy, idle = expecting("busy", 100, free=0.1), expecting("idle", 100.5, free=0.9)
    far = expecting("far", 103, free=1.0)

    assert order(busy, idle, far) == ["idle", "busy", "far"]
    assert "more free capacity" in rank([busy, idle, far]).routes[0].reason


def test_on_a_tie_a_known_place_comes_before_an_unknown_one() -> None:
    assert order(expecting("unknown", 100, caution="anywhere"), expecting("known", 100)) == [
        "known",
        "unknown",
    ]


def test_the_cleanest_place_is_no_use_outside_the_residency() -> None:
    swedish = candidate("SE", places=frozenset({"se", "eu"}))
    british = candidate("GB", places=frozenset({"gb"}))
    nowhere = candidate(None, "nowhere")

    assert order(swedish, british, nowhere, residency=("gb",)) == ["in-GB"]
    assert order(swedish, british, nowhere, residency=("us",)) == []
    reasons = [route.reason for route in rank([nowhere], Rules(residency=("eu",))).routes]
    assert reasons == ["residency: must be in eu, the place of processing is not known for sure"]


def test_a_price_cap_rejects_dear_and_unpriced_deployments() -> None:
    cheap, dear, unpriced = candidate("PL", usd=0.08), candidate("SE", usd=0.09), candidate("FR")

    ranking = rank([cheap, dear, unpriced], Rules(usd_per_image=0.08))

    assert [(route.deployment.id, route.rejected) for route in ranking.routes] == [
        ("in-PL", False),
        ("in-SE", True),
        ("in-FR", True),
    ]
    assert "more than 0.08" in ranking.routes[1].reason


def test_a_place_that_nobody_knows_can_be_excluded() -> None:
    assert order(candidate("PL"), candidate(None, "x", caution="anywhere"), unknown_region="exclude") == [
        "in-PL"
    ]


def test_each_objective_minimises_its_own_quantity() -> None:
    clean_wet = candidate("SE", "clean", expected_carbon_g=10, expected_water_ml=50)
    dirty_dry = candidate("SE", "dry", expected_carbon_g=20, expected_water_ml=10)

    assert order(clean_wet, dirty_dry, objective="carbon") == ["clean", "dry"]
    assert order(clean_wet, dirty_dry, objective="water") == ["dry", "clean"]
    heavy_water = Weights(carbon=0.1, water=10)
    assert order(clean_wet, dirty_dry, objective="weighted", weights=heavy_water) == ["dry", "clean"]


def test_the_static_objective_goes_by_yearly_factors_whatever_the_signal_says() -> None:
    yearly = candidate("PL").footprint
    windy_poland = candidate("PL", expected_carbon_g=0.001)
    assert windy_poland.fixed == yearly

    assert order(windy_poland, candidate("SE"), objective="static") == ["in-SE", "in-PL"]
    assert order(windy_poland, candidate("SE"), objective="carbon") == ["in-PL", "in-SE"]


def test_the_weighted_objective_does_not_drift_with_the_signal() -> None:
    weights = Weights(carbon=1, water=1)
    before = rank([expecting("a", 10), expecting("b", 30)], Rules(objective="weighted", weights=weights))
    after = rank([expecting("a", 10), expecting("b", 90)], Rules(objective="weighted", weights=weights))

    assert before.routes[0].score == after.routes[0].score


def test_the_counterfactuals_of_a_choice_may_be_negative() -> None:
    ranking = rank([candidate("SE", expected_carbon_g=1e6), candidate("PL")])
    assert ranking.routes[0].deployment.id == "in-PL"
    assert ranking.instead is not None

    assert ranking.instead.best_fixed.deployment == "in-SE"
    assert ranking.instead.best_fixed.avoided_carbon_g < 0
    assert ranking.instead.even_spread.avoided_carbon_g < 0
    spread, chosen = ranking.instead.even_spread, ranking.routes[0].footprint
    planned = ranking.routes[0].footprint
    assert ranking.instead.avoided_g(planned, planned) == {
        "even_spread": spread.avoided_carbon_g,
        "best_fixed": ranking.instead.best_fixed.avoided_carbon_g,
    }
    assert spread.avoided_carbon_g == spread.carbon_g - chosen.carbon_g.central


@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=8), st.data(), st.floats(0, 0.5))
def test_the_leader_is_never_worse_than_the_minimum_gain_allows(
    scores: list[float], data: st.DataObject, min_gain: float
) -> None:
    seat = data.draw(st.none() | st.integers(0, len(scores) - 1))

    first = leader(scores, seat, min_gain)

    assert scores[first] * (1 - min_gain) <= min(scores)
    assert first == seat or scores[first] == min(scores)


def test_a_deployment_that_is_known_to_be_slow_is_out_and_an_unknown_one_is_not() -> None:
    slow, unknown = candidate("SE", latency_p95_s=90.0), candidate("PL")

    ranking = rank([slow, unknown], Rules(latency_p95_s=60))

    assert [route.deployment.id for route in ranking.routes] == ["in-PL", "in-SE"]
    reason = ranking.routes[1].reason
    assert reason == "latency cap: 95 of 100 such requests take up to 90 s, more than 60 s"
    assert rank([slow], Rules(latency_p95_s=60)).routes[0].rejected


def test_latency_counts_in_a_weighted_objective_and_the_unknown_is_neither_good_nor_bad() -> None:
    weights = Weights(carbon=0, latency=1)
    known = [candidate("SE", "slow", latency_p95_s=30.0), candidate("SE", "fast", latency_p95_s=10.0)]

    assert order(*known, candidate("SE", "new"), objective="weighted", weights=weights, min_gain=0) == [
        "fast",
        "new",
        "slow",
    ]


def test_candidates_that_answer_in_time_come_first_however_dirty_and_whoever_led() -> None:
    late = candidate("SE", late="usually takes up to 30 s")
    dirty, dirtier = candidate("PL"), candidate("PL", "dirtier", expected_carbon_g=1e6)

    assert order(late, dirty, incumbent="in-SE") == ["in-PL", "in-SE"]
    routes = rank([late, dirty, dirtier]).routes
    assert [route.deployment.id for route in routes] == ["in-PL", "dirtier", "in-SE"]
    assert routes[0].reason.startswith("lowest carbon")
    assert routes[2].reason.endswith("moved back: usually takes up to 30 s")
    assert order(late, dirty, on_short_deadline="refuse") == ["in-PL"]
    assert order(candidate("SE", late="x"), candidate("PL", late="y")) == ["in-SE", "in-PL"]


def test_a_deployment_whose_grid_is_silent_does_not_lead_but_may_be_next() -> None:
    silent = expecting("silent", 1.0, silent="its readings are too old")
    others = [expecting("a", 2.0), expecting("b", 3.0)]

    assert order(silent, *others, incumbent="silent") == ["a", "silent", "b"]
    assert order(silent, *others, near_tie=1.5) == ["a", "silent", "b"]
    routes = rank([silent, *others]).routes
    assert routes[0].reason == "lowest carbon: 2 gCO2e against 3 gCO2e for the next"
    assert (
        routes[1].reason == "1 gCO2e against 2 gCO2e for the first; not the first: its readings are too old"
    )
    assert rank([silent, others[0]]).routes[0].reason == "the only one with recent readings: 2 gCO2e"
    assert order(silent) == ["silent"]


def test_the_ejected_are_out_while_anybody_is_not_and_hard_limits_hold_in_panic() -> None:
    ejected, dirty = candidate("SE", left_out="ejected"), candidate("PL")

    assert order(ejected, dirty) == ["in-PL"]
    assert [route.reason for route in rank([ejected, dirty]).routes if route.rejected] == ["ejected"]
    panic = rank([ejected, candidate("PL", left_out="ejected", usd=9.0)], Rules(usd_per_image=1))
    assert all(route.rejected for route in panic.routes)
    panic = rank(
        [candidate("SE", left_out="ejected", usd=0.5), candidate("PL", left_out="ejected", usd=9.0)],
        Rules(usd_per_image=1),
    )
    assert [(route.deployment.id, route.rejected) for route in panic.routes] == [
        ("in-SE", False),
        ("in-PL", True),
    ]
    assert panic.as_json()["panic"] is True


@given(
    st.lists(
        st.tuples(st.floats(0.1, 10), st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=8
    )
)
def test_residency_holds_whatever_else_is_true(facts: list[tuple[float, bool, bool, bool]]) -> None:
    candidates = [
        expecting(
            f"d{number}",
            carbon_g,
            places=frozenset({"eu"}) if inside else frozenset({"us"}),
            left_out="ejected" if out else None,
            late="slow" if late else None,
        )
        for number, (carbon_g, inside, out, late) in enumerate(facts)
    ]

    usable = [route for route in rank(candidates, Rules(residency=("eu",))).routes if not route.rejected]

    assert all("eu" in route.candidate.places for route in usable)
    assert bool(usable) == any(inside for _, inside, _, _ in facts)
