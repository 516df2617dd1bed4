"""Readings in Redis: one gateway asks, all know; and what the gateway makes of them."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from gateway.budgets.policy import no_policies
from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork
from gateway.lifecycle.plan import Configuration, site
from gateway.lifecycle.watching import Watching, watch
from gateway.routing.feed import Feed
from gateway.routing.grid import Grid
from gateway.routing.rank import Candidate, rank
from gateway.routing.readings import hour_of
from gateway.routing.signal_file import read_signals
from gateway.simulation.options import options_for
from gateway.simulation.simulate import World, simulated
from gateway.simulation.traces import read_requests
from gateway.upstreams.deployment_file import load_deployments
from gateway.upstreams.rules import Rules, Weights
from tests.routing.sources import Source, source_running
from tests.running import GENERATIONS, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis.asyncio import Redis

HISTORY = "/v4/carbon-intensity/history"


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    async with source_running() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        yield client


def answer(zone: str, value: float, hours: int = 24) -> str:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    rows = [
        {"zone": zone, "carbonIntensity": value, "datetime": (now - timedelta(hours=back)).isoformat()}
        for back in reversed(range(hours))
    ]
    return json.dumps({"zone": zone, "history": rows})


def configuration(
    directory: Path, sources: list[dict[str, Any]], *zones: str, **signals: Any
) -> Configuration:
    listed = [
        {
            "id": zone.lower(),
            "model": "m",
            "upstream_model": "black-forest-labs/FLUX.1-dev",
            "base_url": "http://images.example/v1",
            "location": {"provider": "self", "zone": zone, "pin": "region"},
            "hardware": {"gpu": "H100"},
        }
        for zone in zones
    ]
    file = directory / "deployments.yaml"
    file.write_text(yaml.safe_dump({"deployments": listed, "signals": {"sources": sources, **signals}}))
    deployed = load_deployments(file, environ={"KEY": "k"})
    return Configuration(no_policies(), deployed, load_factors(), loaded_at=0)


def maps(source: Source, *zones: str) -> dict[str, Any]:
    chosen = {"zones": list(zones)} if zones else {}
    return {"provider": "electricity-maps", "key": "${KEY}", "base_url": source.url, **chosen}


def feed(redis: Redis, http: httpx.AsyncClient, configured: Configuration) -> Feed:
    return Feed(redis, http, Grid(), Watching(lambda: configured))


async def test_one_gateway_asks_and_all_of_them_know(
    redis: Redis, http: httpx.AsyncClient, source: Source, tmp_path: Path
) -> None:
    source.says(HISTORY, answer("DE", 222))
    configured = configuration(tmp_path, [maps(source, "DE")], "DE", "SE")
    feeds = [feed(redis, http, configured) for _ in range(8)]

    await asyncio.gather(*(one.tick() for one in feeds))
    await asyncio.gather(*(one.tick() for one in feeds))

    assert len(source.asked) == 1
    for one in feeds:
        known = one.grid.series["DE"]
        assert (known.newest, known.hours[known.newest or 0]) == (hour_of(time.time()), 222)
        assert known.source == "electricity-maps"


@pytest.mark.parametrize(
    "refusal",
    [
        (429, {"retry_after": "77"}, 77, "too many requests"),
        (401, {}, 3600, "refused with status 401"),
        (403, {}, 3600, "refused with status 403"),
        (404, {}, 3600, "refused with status 404"),
    ],
)
async def test_a_source_that_refuses_is_left_alone_by_everybody(
    redis: Redis,
    http: httpx.AsyncClient,
    source: Source,
    tmp_path: Path,
    refusal: tuple[int, dict[str, str], int, str],
) -> None:
    status, headers, pause_s, problem = refusal
    source.says(HISTORY, "{}", status, **headers)
    configured = configuration(tmp_path, [maps(source)], "DE")
    first, second = feed(redis, http, configured), feed(redis, http, configured)

    await first.tick()
    await second.tick()

    assert len(source.asked) == 1
    assert pause_s - 17 < await redis.ttl("eg:signals:turn:electricity-maps:DE") <= pause_s
    assert second.grid.problems == {"electricity-maps DE": problem}


async def test_what_was_known_stays_when_the_source_fails(
    redis: Redis, http: httpx.AsyncClient, source: Source, tmp_path: Path
) -> None:
    source.says(HISTORY, answer("DE", 222))
    one = feed(redis, http, configuration(tmp_path, [maps(source)], "DE"))
    await one.tick()
    await redis.delete("eg:signals:turn:electricity-maps:DE")
    source.says(HISTORY, "<html>maintenance</html>")

    await one.tick()

    assert one.grid.series["DE"].newest == hour_of(time.time())
    assert one.grid.problems == {"electricity-maps DE": "the answer is no JSON"}


async def test_readings_of_another_kind_are_shown_and_not_compared(
    redis: Redis, http: httpx.AsyncClient, source: Source, tmp_path: Path
) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    data = [{"from": start.isoformat(), "intensity": {"forecast": 90, "actual": 80}}]
    source.says("/intensity/", json.dumps({"data": data}))
    one = feed(
        redis, http, configuration(tmp_path, [{"provider": "neso", "base_url": source.url}], "GB", "SE")
    )

    await one.tick()

    assert one.grid.series == {}
    shown = one.grid.as_json(hour_of(time.time()))
    assert [(row["zone"], row["kind"], row["newest"], row["compared"]) for row in shown] == [
        ("GB", "average-direct", 80, False)
    ]


def test_the_first_source_that_knows_a_zone_is_asked_about_it(tmp_path: Path) -> None:
    eia = {"provider": "eia", "key": "${KEY}"}
    maps_of_germany = {"provider": "electricity-maps", "key": "${KEY}", "zones": ["DE"]}
    configured = configuration(
        tmp_path,
        [maps_of_germany, eia],
        "DE",
        "US-NW-PACW",
    )

    asked = [(one.provider.name, one.zone, one.area) for one in watch(configured).wants]

    assert asked == [("electricity-maps", "DE", "DE"), ("eia", "US-NW-PACW", "PACW")]


def test_a_history_file_becomes_the_table_of_its_zones(tmp_path: Path) -> None:
    (tmp_path / "grid.csv").write_text(
        "zone,time,gco2_per_kwh\nDE,2025-11-01T00:00Z,300\nDE,2025-11-02T00:00Z,500\n"
    )
    configured = configuration(tmp_path, [], "DE", history="grid.csv")
    table = watch(configured).tables["DE"]
    grid = Grid(tables={"DE": table})

    midnight = hour_of(datetime(2026, 11, 5, tzinfo=UTC).timestamp())
    known = grid.intensity("DE", midnight, yearly_g_per_kwh=350, yearly_source="EMBER")

    assert (known.g_per_kwh, known.quality, known.source) == (400, "table", "grid.csv")


RULES = (
    Rules(),
    Rules(objective="water"),
    Rules(objective="static"),
    Rules(objective="weighted", weights=Weights(carbon=1, water=2)),
    Rules(objective="weighted", weights=Weights(carbon=1, water=0.5, price=3)),
    Rules(objective="weighted", weights=Weights(carbon=0, water=1)),
)


@pytest.mark.parametrize("rules", RULES)
def test_who_leads_goes_by_the_objective_that_rules(tmp_path: Path, rules: Rules) -> None:
    zones = ("DE", "SE", "PL", "US-NW-PACW")
    configured = configuration(tmp_path, [], *zones)
    deployed = configured.deployments
    prices = dict(zip(zones, (0.04, None, 0.01, 0.02), strict=True))
    group = [replace(one, usd_per_image=prices[str(one.location.zone)]) for one in deployed.deployments]
    configured = replace(configured, deployments=replace(deployed, deployments=tuple(group), rules=rules))
    image = ImageWork(model="black-forest-labs/FLUX.1-dev")
    candidates = [
        Candidate(one, estimate(image, site(one), configured.factors), usd=one.usd_per_image) for one in group
    ]

    grid = Grid(standings=watch(configured).standings)
    grid.refresh(hour_of(time.time()), rules.min_gain)

    ranked = {route.deployment.id: route.score for route in rank(candidates, rules).routes}
    scores = {one.deployment: one.fixed_score for one in grid.standings["m"].options}
    assert scores == pytest.approx(ranked)
    assert grid.incumbent("m") == min(scores, key=scores.__getitem__)


@pytest.mark.parametrize("rules", RULES)
def test_a_history_makes_the_same_fixed_choice_here_as_in_the_simulation(
    tmp_path: Path, rules: Rules
) -> None:
    # By yearly factors Sweden is the cleanest; by the history Germany is.
    rows = [
        f"{zone},2025-0{month}-01T0{hour}:00Z,{g + month * 10}"
        for zone, g in {"DE": 30, "SE": 300, "PL": 700}.items()
        for month in (1, 6)
        for hour in range(6)
    ]
    history, later, requests = (tmp_path / name for name in ("grid.csv", "later.csv", "requests.csv"))
    history.write_text("\n".join(["zone,time,gco2_per_kwh", *rows]))
    later.write_text(
        "\n".join(["zone,time,gco2_per_kwh", *(f"{z},2025-07-01,100" for z in ("DE", "SE", "PL"))])
    )
    requests.write_text("time,images\n2025-07-01T00:30Z,1\n")
    configured = configuration(tmp_path, [], "SE", "DE", "PL", history="grid.csv")
    deployed = replace(configured.deployments, rules=rules)
    known = watch(replace(configured, deployments=deployed))
    grid = Grid(tables=known.tables, standings=known.standings)
    grid.refresh(hour_of(time.time()), rules.min_gain)

    trace, before = read_signals(later), read_signals(history)
    options = options_for("-", deployed.deployments, "m", trace, rules=rules, factors=configured.factors)
    world = World("m", rules, options, trace, before, read_requests(requests))
    fixed = simulated(world, age_h=60).strategies["fixed"].by_deployment

    assert list(fixed) == [grid.incumbent("m")]
    if rules.objective == "carbon":
        assert list(fixed) == ["de"]


async def test_a_history_decides_the_fixed_choice_and_the_record_says_so(
    redis_url: str, tmp_path: Path
) -> None:
    # The yearly factors say Sweden; the history, which is all this gateway knows, says Poland.
    (tmp_path / "grid.csv").write_text(
        "zone,time,gco2_per_kwh\nSE,2025-11-01T00:00Z,500\nPL,2025-11-01T00:00Z,100\n"
    )
    async with gateway_running(tmp_path, redis_url, signals={"history": "grid.csv"}) as gateway:
        member = await gateway.member()
        async with asyncio.timeout(20):
            while not any(
                one["zone"] == "PL" and one["leads"]
                for one in (await member.get("/eco/v1/deployments")).json()["data"]
            ):
                await asyncio.sleep(0.05)
        body = {"model": "starter-pack", "prompt": "a lake", "size": "1024x1024"}
        served = await member.post(GENERATIONS, json=body)
        record: dict[str, Any] = {}
        async with asyncio.timeout(20):
            while "routing" not in record:
                record = (await member.get(f"/eco/v1/requests/{served.headers['x-request-id']}")).json()
                await asyncio.sleep(0.05)

    assert served.headers["ecogate-zone"] == "PL"
    assert record["routing"]["instead"]["best_fixed"]["deployment"] == "flux-pl"
    ranked = {one["deployment"]: one["ranked_by_carbon_g"] for one in record["candidates"]}
    energy_kwh = float(served.headers["ecogate-energy-wh"]) / 1000
    assert ranked["flux-se"] - ranked["flux-pl"] == pytest.approx(400 * energy_kwh, rel=1e-4)


async def test_a_reading_changes_the_price_the_order_and_the_record(
    redis_url: str, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sweden is the best fixed choice; now its grid is dirtier than Poland's.
    monkeypatch.setenv("KEY", "k")
    source.says(HISTORY, answer("SE", 240, hours=240))
    configured = {"sources": [maps(source, "SE")]}

    async with gateway_running(tmp_path, redis_url, signals=configured) as gateway:
        member = await gateway.member()
        async with asyncio.timeout(20):
            while not (await member.get("/eco/v1/signals")).json()["data"]:
                await asyncio.sleep(0.05)
        signals = (await member.get("/eco/v1/signals")).json()
        listed = (await member.get("/eco/v1/deployments")).json()["data"]
        body = {"model": "starter-pack", "prompt": "a lake", "size": "1024x1024"}
        served = await member.post(GENERATIONS, json=body)
        record: dict[str, Any] = {}
        async with asyncio.timeout(20):
            while "routing" not in record:
                found = await member.get(f"/eco/v1/requests/{served.headers['x-request-id']}")
                record = found.json()
                await asyncio.sleep(0.05)

    span = next(one for one in gateway.span_tree() if one.name == "route.choose")
    chosen = span.attributes or {}
    assert chosen["ecogate.signal.source"] == "electricity-maps"
    assert chosen["ecogate.signal.age_h"] == 0
    assert chosen["ecogate.route.objective"] == "carbon"
    assert served.headers["ecogate-zone"] == "SE"
    assert signals["data"][0]["newest"] == 240
    swedish = next(one for one in listed if one["zone"] == "SE")
    assert swedish["intensity"]["quality"] == "live"
    assert swedish["leads"] == ["starter-pack"]
    energy_kwh = float(served.headers["ecogate-energy-wh"]) / 1000
    assert float(served.headers["ecogate-carbon-g"]) > energy_kwh * 240
    candidate = next(one for one in record["candidates"] if one["zone"] == "SE")
    assert candidate["signal"]["source"] == "electricity-maps"
    assert candidate["signal"]["age_h"] == 0
    assert record["routing"]["objective"] == "carbon"
    assert set(record["routing"]["instead"]) == {"even_spread", "best_fixed"}
    assert "reading of the zone" in record["footprint"]["carbon_basis"]
