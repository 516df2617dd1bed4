"""Where an answer says that it ran, and what that is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.demo.standin import StandInSettings
from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork
from gateway.lifecycle.plan import site
from gateway.lifecycle.served_place import served_place
from gateway.routing.rank import Candidate, Route
from gateway.upstreams.deployments import Deployment, Location
from tests.lifecycle.reading import recorded
from tests.running import GENERATIONS, MODEL, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

FACTORS = load_factors()
AZURE_ANYWHERE = Location("azure", "uksouth", pin="global")


def route(location: Location) -> Route:
    deployment = Deployment("d", ("m",), "http://127.0.0.1/v1", location=location)
    footprint = estimate(ImageWork("sdxl"), site(deployment), FACTORS)
    return Route(Candidate(deployment, footprint), "only one")


@pytest.mark.parametrize(
    ("location", "told", "zone", "moved"),
    [
        (AZURE_ANYWHERE, "Sweden Central", "SE", True),
        (AZURE_ANYWHERE, "swedencentral", "SE", True),
        (Location("azure", "uksouth", pin="region"), "UK South", "GB", False),
        (Location("azure", "uksouth", pin="region"), "Sweden Central", "SE", True),
        (Location("azure", zone="SE-SE3", pin="region"), "Sweden Central", "SE-SE3", False),
        (Location("azure", "swedencentral", "SE-SE3", pin="region"), "Sweden Central", "SE-SE3", False),
        (AZURE_ANYWHERE, "Atlantis Central", None, False),
    ],
)
def test_a_known_region_moves_the_work_there_unless_that_is_where_it_was_expected(
    location: Location, told: str, zone: str | None, moved: bool
) -> None:
    place = served_place(route(location), [("x-ms-region", told)], FACTORS)

    assert place is not None
    assert (place.told, place.zone, place.site is not None) == (told, zone, moved)
    assert told in place.because()


@pytest.mark.parametrize("told", ["", "x" * 64, "a\tb", "<script>", "région"])
def test_what_is_no_name_of_a_place_is_not_kept(told: str) -> None:
    assert served_place(route(AZURE_ANYWHERE), [("x-ms-region", told)], FACTORS) is None
    assert served_place(route(AZURE_ANYWHERE), [], FACTORS) is None


def anywhere() -> dict[str, Any]:
    return {"location": {"provider": "azure", "region": "uksouth", "pin": "global"}}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_settled_where_its_answer_says_that_it_ran(
    tmp_path: Path, redis_url: str, stream: bool
) -> None:
    zones = {"SE": StandInSettings(zone="SE", region="Sweden Central")}
    async with gateway_running(tmp_path, redis_url, zones=zones, deployment=anywhere()) as gateway:
        client = await gateway.member()
        body = {"model": MODEL, "prompt": "a cat", "size": "64x64", "stream": stream}

        answer = await client.post(GENERATIONS, json=body)

        assert answer.status_code == 200
        record = await recorded(client, answer.headers["x-request-id"])
        assert record["zone"] == "SE"
        assert record["candidates"][0]["zone"] is None
        assert record["served"] == {"region": "Sweden Central", "zone": "SE", "planned_zone": None}
        assert record["because"][1].endswith("not an unknown zone: settled there")
        planned_g = record["candidates"][0]["carbon_g"]
        assert record["footprint"]["carbon_g"]["central"] < planned_g / 2
        if not stream:
            assert answer.headers["ecogate-zone"] == "SE"
            shown = float(answer.headers["ecogate-carbon-g"])
            assert shown == pytest.approx(record["footprint"]["carbon_g"]["central"], rel=1e-5)


async def test_a_place_that_nobody_knows_is_recorded_and_changes_nothing(
    tmp_path: Path, redis_url: str
) -> None:
    zones = {"SE": StandInSettings(zone="SE", region="Atlantis Central")}
    async with gateway_running(tmp_path, redis_url, zones=zones) as gateway:
        client = await gateway.member()

        answer = await client.post(GENERATIONS, json={"model": MODEL, "prompt": "a cat", "size": "64x64"})

        record = await recorded(client, answer.headers["x-request-id"])
        assert record["zone"] == "SE"
        assert record["served"] == {"region": "Atlantis Central", "zone": None, "planned_zone": "SE"}


async def test_an_answer_from_outside_the_residency_rules_is_told(
    tmp_path: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    zones = {"SE": StandInSettings(zone="SE", region="East US")}
    pinned = {"location": {"provider": "azure", "region": "swedencentral", "pin": "region"}}
    async with gateway_running(
        tmp_path, redis_url, zones=zones, deployment=pinned, routing={"residency": ["eu"]}
    ) as gateway:
        client = await gateway.member()

        answer = await client.post(GENERATIONS, json={"model": MODEL, "prompt": "a cat", "size": "64x64"})

        record = await recorded(client, answer.headers["x-request-id"])
        assert record["served"]["planned_zone"] == "SE"
        assert record["zone"].startswith("US")
        assert record["because"][1].endswith("outside the residency rules")
        assert "deployment flux-se answered from East US, outside the residency rules" in caplog.text
