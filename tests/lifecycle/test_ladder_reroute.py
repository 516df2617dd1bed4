"""Other deployments for a request that has no room: only where a policy names them, and always told."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from tests.lifecycle.test_ladder import record_of
from tests.running import GENERATIONS, MODEL, UPSTREAM_MODEL, Gateway, budget, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    import httpx

    from gateway.demo.serving import Running

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "512x512", "steps": 20}
LIGHTER = "stabilityai/stable-diffusion-xl-base-1.0"
VETO = {"ecogate-allow-downgrade": "false"}
REROUTE: list[Any] = [{"reroute": ["flux-eco"]}, "deny"]


def place(name: str, zone: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": name,
        "model": MODEL,
        "upstream_model": UPSTREAM_MODEL,
        "location": {"provider": "self", "zone": zone, "pin": "region"},
        "hardware": {"gpu": "H100", "precision": "bf16", "pue": 1.1, "wue_l_per_kwh": 0.1},
        **fields,
    }


BIG = place("flux-big", "SE")
ECO = place("flux-eco", "SE", model="flux-lite", upstream_model=LIGHTER)
WASTEFUL = place("flux-wasteful", "SE", hardware=BIG["hardware"] | {"pue": 4.0})
LEAN = place("flux-lean", "PL")


@dataclass(frozen=True, slots=True)
class Places:
    """Starts gateways whose deployments all are one stand-in."""

    directory: Path
    redis_url: str
    service: Running

    def __call__(
        self, *places: Mapping[str, Any], budgets: list[dict[str, Any]], **options: Any
    ) -> AbstractAsyncContextManager[Gateway]:
        listed = [{**one, "base_url": self.service.base_url} for one in places]
        return gateway_running(self.directory, self.redis_url, deployments=listed, budgets=budgets, **options)


@pytest.fixture
async def places(tmp_path: Path, redis_url: str) -> AsyncIterator[Places]:
    async with serving(StandInSettings(zone="SE")) as service:
        yield Places(tmp_path, redis_url, service)


async def energy_at(places: Places, place: Mapping[str, Any], model: str = MODEL, **fields: Any) -> float:
    async with places(place, budgets=[]) as gateway:
        dry = await (await gateway.member()).post("/eco/v1/estimate", json=ASK | {"model": model} | fields)
    return float(dry.json()["hold"]["central"]["energy_wh"])


async def room_for_eco(places: Places) -> dict[str, str]:
    eco, big = await energy_at(places, ECO, "flux-lite"), await energy_at(places, BIG)
    assert eco * 1.1 < big
    return {"energy": f"{eco * 1.1:.6f} Wh"}


async def by_decision(gateway: Gateway) -> list[str]:
    rows = (
        await gateway.admin.get("/eco/v1/usage", params={"group_by": "decision", "window": "total"})
    ).json()
    return [row["group"]["decision"] for row in rows["data"]]


async def test_a_named_deployment_takes_what_has_no_room_and_everything_says_so(places: Places) -> None:
    team = budget(limits=await room_for_eco(places), on_exceed=REROUTE)
    async with places(BIG, ECO, budgets=[team]) as gateway:
        client = await gateway.member()
        dry = (await client.post("/eco/v1/estimate", json=ASK)).json()
        answer = await client.post(GENERATIONS, json=ASK)
        record = await record_of(gateway, answer)
        (row,) = (await client.get("/eco/v1/budgets")).json()["data"]
        decisions = await by_decision(gateway)

    assert answer.status_code == 200, answer.text
    assert answer.headers["ecogate-decision"] == "reroute"
    assert answer.headers["ecogate-rerouted"] == "from=flux-big, to=flux-eco, model=flux-lite"
    assert answer.headers["ecogate-deployment"] == "flux-eco"
    assert "ecogate-downgraded" not in answer.headers
    assert [(one.json or {})["model"] for one in places.service.standin.generations] == [LIGHTER]
    assert (record["decision"], record["deployment"], record["model"]) == ("reroute", "flux-eco", "flux-lite")
    moved = {"from": "flux-big", "to": "flux-eco", "model": {"asked": MODEL, "got": "flux-lite"}}
    assert record["reroute"] == moved
    assert "no room at deployment flux-big: flux-eco takes it" in record["because"][0]
    assert decisions == ["reroute"]
    assert row["used"] == pytest.approx(float(answer.headers["ecogate-energy-wh"]), rel=1e-5)
    assert (dry["verdict"], dry["reroute"], dry["deployment"]) == ("reroute", moved, "flux-eco")


async def test_an_interchangeable_deployment_that_has_room_is_a_reroute_too(places: Places) -> None:
    lean = await energy_at(places, LEAN)
    team = budget(limits={"energy": f"{lean * 1.1:.6f} Wh"})
    async with places(WASTEFUL, LEAN, budgets=[team]) as gateway:
        client = await gateway.member()
        dry = (await client.post("/eco/v1/estimate", json=ASK)).json()
        answer = await client.post(GENERATIONS, json=ASK)
        record = await record_of(gateway, answer)

    assert answer.headers["ecogate-decision"] == "reroute"
    assert answer.headers["ecogate-rerouted"] == "from=flux-wasteful, to=flux-lean"
    assert record["reroute"] == {"from": "flux-wasteful", "to": "flux-lean"}
    assert (dry["verdict"], dry["deployment"]) == ("reroute", "flux-lean")


async def test_a_request_with_room_is_not_moved(places: Places) -> None:
    team = budget(limits={"energy": "1 kWh"}, on_exceed=REROUTE)
    async with places(BIG, ECO, budgets=[team]) as gateway:
        answer = await (await gateway.member()).post(GENERATIONS, json=ASK)

    assert (answer.headers["ecogate-decision"], answer.headers["ecogate-deployment"]) == ("allow", "flux-big")
    assert "ecogate-rerouted" not in answer.headers


async def test_nothing_is_moved_without_a_policy_or_against_the_callers_will(places: Places) -> None:
    limits = await room_for_eco(places)
    shadow = budget("shadow", limits={"energy": "1 MWh"}, mode="shadow", on_exceed=REROUTE)
    async with places(BIG, ECO, budgets=[budget(limits=limits), shadow]) as gateway:
        unnamed = await (await gateway.member()).post(GENERATIONS, json=ASK)
    async with places(BIG, ECO, budgets=[budget(limits=limits, on_exceed=REROUTE)]) as gateway:
        vetoed = await (await gateway.member()).post(GENERATIONS, json=ASK, headers=VETO)

    assert (unnamed.status_code, vetoed.status_code) == (402, 402)
    assert places.service.standin.generations == []


async def test_residency_holds_for_rerouted_requests_too(places: Places) -> None:
    outside = {**ECO, "location": {"provider": "self", "zone": "US-CAL-CISO", "pin": "region"}}
    team = budget(limits=await room_for_eco(places), on_exceed=REROUTE)
    async with places(BIG, outside, budgets=[team], routing={"residency": ["eu"]}) as gateway:
        client = await gateway.member()
        answer = await client.post(GENERATIONS, json=ASK)
        dry = (await client.post("/eco/v1/estimate", json=ASK)).json()

    assert (answer.status_code, dry["verdict"]) == (402, "deny")
    assert places.service.standin.generations == []


async def test_actions_are_tried_in_the_order_in_which_the_policy_has_them(places: Places) -> None:
    limits = await room_for_eco(places)
    ladder: dict[str, Any] = {"downgrade": [{"size": "256x256", "steps": 4}]}
    told: list[str] = []
    for actions in ([ladder, *REROUTE], [REROUTE[0], ladder, "deny"]):
        async with places(BIG, ECO, budgets=[budget(limits=limits, on_exceed=actions)]) as gateway:
            client = await gateway.member(team=f"team-{len(told)}")
            told.append((await client.post("/eco/v1/estimate", json=ASK)).json()["verdict"])

    assert told == ["downgrade", "reroute"]


async def test_every_alternative_is_admitted_whatever_was_used_before(places: Places) -> None:
    """Each is sent by a team of its own that stands exactly where the refused one stood."""
    generator = random.Random(5)
    base = await energy_at(places, BIG)
    team = budget(limits={"energy": f"{base * 5:.6f} Wh", "images": 6})
    kinds: set[tuple[str, ...]] = set()
    async with places(BIG, budgets=[team]) as gateway:
        for case in range(6):
            asked = {**ASK, "n": generator.randint(3, 8), "size": generator.choice(["1024x1024", "1024x512"])}
            spent = {**ASK, "n": generator.randint(1, 3)}

            async def standing(
                number: int, case: int = case, spent: dict[str, Any] = spent
            ) -> httpx.AsyncClient:
                client: httpx.AsyncClient = await gateway.member(team=f"case-{case}-{number}")
                assert (await client.post(GENERATIONS, json=spent)).status_code == 200
                return client

            refused = await (await standing(0)).post(GENERATIONS, json=asked)
            assert refused.status_code == 402, refused.text
            for number, other in enumerate(refused.json()["error"]["eco"]["alternatives"], start=1):
                answer = await (await standing(number)).post(GENERATIONS, json=asked | other["set"])
                assert answer.status_code == 200, (asked, spent, other)
                kinds.add(tuple(sorted(other["set"])))

    assert len(kinds) > 1


async def test_lighter_at_another_deployment_is_tried_last_and_told_in_both_ways(places: Places) -> None:
    own = await energy_at(places, BIG, size="256x256")
    moved_small = await energy_at(places, ECO, "flux-lite", size="256x256")
    assert moved_small * 1.05 < min(own, await energy_at(places, ECO, "flux-lite"))
    limits = {"energy": f"{moved_small * 1.01:.6f} Wh"}
    ladder: dict[str, Any] = {"downgrade": [{"size": "256x256"}]}
    for actions in ([ladder, *REROUTE], [REROUTE[0], ladder, "deny"]):
        async with places(BIG, ECO, budgets=[budget(limits=limits, on_exceed=actions)]) as gateway:
            client = await gateway.member(team=f"team-{actions.index(ladder)}")
            dry = (await client.post("/eco/v1/estimate", json=ASK)).json()
            vetoed = await client.post(GENERATIONS, json=ASK, headers=VETO)
            answer = await client.post(GENERATIONS, json=ASK)
            record = await record_of(gateway, answer)
            (row,) = (await client.get("/eco/v1/budgets")).json()["data"]
            decisions = await by_decision(gateway)

        assert vetoed.status_code == 402
        assert answer.status_code == 200, answer.text
        assert answer.headers["ecogate-decision"] == "downgrade"
        assert answer.headers["ecogate-downgraded"] == "size=256x256"
        assert answer.headers["ecogate-rerouted"] == "from=flux-big, to=flux-eco, model=flux-lite"
        sent = places.service.standin.generations[-1].json or {}
        assert (sent["model"], sent["size"]) == (LIGHTER, "256x256")
        lighter = {"size": {"asked": "512x512", "got": "256x256"}}
        moved = {"from": "flux-big", "to": "flux-eco", "model": {"asked": MODEL, "got": "flux-lite"}}
        assert (record["downgrade"], record["reroute"]) == (lighter, moved)
        assert (dry["verdict"], dry["downgrade"], dry["reroute"]) == ("downgrade", lighter, moved)
        assert row["used"] == pytest.approx(float(answer.headers["ecogate-energy-wh"]), rel=1e-5)
        assert decisions.count("downgrade") == 1


async def test_the_ladder_of_one_budget_and_the_deployments_of_another_go_together(places: Places) -> None:
    small = await energy_at(places, ECO, "flux-lite")
    ladder = budget("ladder", limits={"images": 1}, on_exceed=[{"downgrade": [{"n": 1}]}, "deny"])
    moves = budget("moves", limits={"energy": f"{small * 1.1:.6f} Wh"}, on_exceed=REROUTE)
    async with places(BIG, ECO, budgets=[ladder, moves]) as gateway:
        answer = await (await gateway.member()).post(GENERATIONS, json=ASK | {"n": 2})

    assert (answer.status_code, answer.headers["ecogate-downgraded"]) == (200, "n=1")
    assert answer.headers["ecogate-deployment"] == "flux-eco"
