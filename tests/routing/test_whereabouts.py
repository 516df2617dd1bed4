"""Where work is surely processed, and what not knowing costs."""

from __future__ import annotations

import pytest

from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork, Site
from gateway.lifecycle.plan import site
from gateway.routing.whereabouts import careful_carbon_g, caution, places
from gateway.upstreams.deployments import Deployment, Location, Pin

FACTORS = load_factors()


def deployment(pin: Pin, region: str | None = None, zone: str | None = None) -> Deployment:
    return Deployment("d", ("m",), "http://127.0.0.1", location=Location("azure", region, zone, pin))


@pytest.mark.parametrize(
    ("pin", "region", "zone", "expected"),
    [
        ("region", None, "SE-SE3", {"se", "eu"}),
        ("region", None, "FRA", {"fr", "eu"}),
        ("region", None, "GB", {"gb"}),
        ("region", None, "US-MIDA-PJM", {"us"}),
        ("region", None, None, set()),
        ("datazone", "eu", None, {"eu"}),
        ("datazone", "swedencentral", None, set()),
        ("global", "swedencentral", "SE", set()),
        ("unknown", None, "SE", set()),
    ],
)
def test_only_what_is_pinned_counts_as_a_place(
    pin: Pin, region: str | None, zone: str | None, expected: set[str]
) -> None:
    assert places(deployment(pin, region, zone), zone, FACTORS) == expected


def test_a_global_deployment_is_not_priced_where_its_account_is() -> None:
    everywhere, pinned = deployment("global", "swedencentral", "SE"), deployment("region", None, "SE")

    assert (site(everywhere).zone, site(everywhere).region) == (None, None)
    assert site(pinned).zone == "SE"
    assert caution(everywhere, None) == "it may run anywhere"
    assert caution(pinned, "SE") is None


def test_an_unknown_place_never_wins_by_being_unknown() -> None:
    unknown = deployment("unknown")
    footprint = estimate(ImageWork("sdxl"), Site(), FACTORS)

    pessimistic = careful_carbon_g(unknown, footprint, FACTORS, "pessimistic")
    mix = careful_carbon_g(unknown, footprint, FACTORS, "mix")

    assert caution(unknown, None) == "its electricity zone is unknown"
    assert pessimistic > mix == pytest.approx(footprint.carbon_g.central)


def test_a_data_zone_is_as_careful_as_its_own_mix() -> None:
    footprint = estimate(ImageWork("sdxl"), Site(), FACTORS)

    european = careful_carbon_g(deployment("datazone", "eu"), footprint, FACTORS, "mix")
    american = careful_carbon_g(deployment("datazone", "us"), footprint, FACTORS, "mix")

    assert european < american < careful_carbon_g(deployment("global"), footprint, FACTORS, "mix")
