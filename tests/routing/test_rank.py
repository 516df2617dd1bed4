"""The order of deployments, and the reasons for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork, Site
from gateway.routing.rank import Candidate, rank
from gateway.upstreams.deployments import Deployment

WORK = ImageWork("sdxl", width=1024, height=1024, steps=25)


def candidate(zone: str | None, name: str | None = None, unavailable: str | None = None) -> Candidate:
    deployment = Deployment(name or f"in-{zone}", ("sdxl",), "http://127.0.0.1/v1")
    return Candidate(deployment, estimate(WORK, Site(zone=zone, gpu="H100"), load_factors()), unavailable)


def test_the_cleanest_zone_comes_first_and_says_why() -> None:
    routes = rank([candidate("PL"), candidate("SE"), candidate("FR")])

    assert [route.deployment.id for route in routes] == ["in-SE", "in-FR", "in-PL"]
    assert routes[0].reason.startswith("lowest carbon: ")
    assert "against" in routes[2].reason


def test_equal_deployments_keep_the_order_of_the_file() -> None:
    routes = rank([candidate("SE", "b"), candidate("SE", "a")])

    assert [route.deployment.id for route in routes] == ["b", "a"]


def test_what_cannot_be_used_comes_last_with_its_reason() -> None:
    routes = rank([candidate("SE", unavailable="full"), candidate("PL")])

    assert [(route.deployment.id, route.reason) for route in routes] == [
        ("in-PL", "the only deployment that can do the work"),
        ("in-SE", "full"),
    ]
    assert [route.as_json()["usable"] for route in routes] == [True, False]


@given(st.lists(st.sampled_from(["SE", "PL", "FR", "DE", "US", None]), min_size=1, max_size=6))
def test_every_candidate_is_ranked_once_by_rising_carbon(zones: list[str | None]) -> None:
    routes = rank([candidate(zone, str(number)) for number, zone in enumerate(zones)])

    carbon = [route.footprint.carbon_g.central for route in routes]
    assert carbon == sorted(carbon)
    assert sorted(route.deployment.id for route in routes) == sorted(str(n) for n in range(len(zones)))
