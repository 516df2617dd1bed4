"""What refusals name instead: other models, too, each admitted when it is sent as it stands."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from gateway.budgets.scripts import Script
from tests.lifecycle.test_ladder_reroute import (
    ASK,
    BIG,
    ECO,
    LIGHTER,
    REROUTE,
    VETO,
    energy_at,
    place,
    places,
    room_for_eco,
)
from tests.running import GENERATIONS, MODEL, Gateway, budget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    from redis.asyncio.client import Monitor

    from tests.lifecycle.test_ladder_reroute import Places

__all__ = ["places"]

LEANER = place(
    "flux-leaner", "SE", model="leaner", upstream_model=LIGHTER, hardware=BIG["hardware"] | {"pue": 1.0}
)


async def refused(gateway: Gateway, ask: dict[str, Any], **member: Any) -> list[dict[str, Any]]:
    answer = await (await gateway.member(**member)).post(GENERATIONS, json=ask, headers=VETO)
    assert answer.status_code == 402, answer.text
    return list(answer.json()["error"]["eco"]["alternatives"])


async def admitted(
    gateway: Gateway, ask: dict[str, Any], found: list[dict[str, Any]]
) -> list[httpx.Response]:
    """Each of them, sent by a team that has used nothing and wants no change made."""
    sent = []
    for number, one in enumerate(found):
        client = await gateway.member(team=f"team-{number}")
        sent.append(await client.post(GENERATIONS, json=ask | one["set"], headers=VETO))
    return sent


async def test_the_model_of_a_named_deployment_is_an_alternative_that_is_admitted(places: Places) -> None:
    team = budget(limits=await room_for_eco(places), on_exceed=REROUTE)
    async with places(BIG, ECO, budgets=[team]) as gateway:
        found = await refused(gateway, ASK)
        sent = await admitted(gateway, ASK, found)

    assert {"model": "flux-lite"} in [one["set"] for one in found]
    assert [answer.status_code for answer in sent] == [200] * len(found)
    assert [answer.headers["ecogate-decision"] for answer in sent] == ["allow"] * len(found)
    for answer, one in zip(sent, found, strict=True):
        assert float(answer.headers["ecogate-energy-wh"]) <= one["requested"]["energy_wh"] * 1.001


async def test_of_models_that_no_policy_names_the_heaviest_lighter_one_with_room_is_listed(
    places: Places,
) -> None:
    lite, leaner = await energy_at(places, ECO, "flux-lite"), await energy_at(places, LEANER, "leaner")
    assert leaner * 1.05 < lite < await energy_at(places, BIG)
    listed: list[Any] = []
    for room in (lite, leaner):
        team = budget(f"room-{len(listed)}", limits={"energy": f"{room * 1.01:.6f} Wh"})
        async with places(BIG, LEANER, ECO, budgets=[team]) as gateway:
            found = await refused(gateway, ASK)
            sent = await admitted(gateway, ASK, found)
        assert {answer.status_code for answer in sent} == {200}
        listed.append([one["set"]["model"] for one in found if "model" in one["set"]])

    assert listed == [["flux-lite"], ["leaner"]]


async def test_a_model_with_a_budget_of_its_own_is_listed_only_while_it_has_room(places: Places) -> None:
    spent = budget(per=["team", "model"], limits={"images": 1}, on_exceed=REROUTE)
    async with places(BIG, ECO, budgets=[spent]) as gateway:
        client = await gateway.member()
        assert (await client.post(GENERATIONS, json=ASK)).status_code == 200
        before = await refused(gateway, ASK)
        taken = await client.post(GENERATIONS, json=ASK | before[0]["set"])
        after = await refused(gateway, ASK)

    assert [one["set"] for one in before] == [{"model": "flux-lite"}]
    assert (taken.status_code, taken.headers["ecogate-deployment"]) == (200, "flux-eco")
    assert after == []


async def test_a_deployment_with_a_budget_of_its_own_is_listed_when_the_first_has_no_image_left(
    places: Places,
) -> None:
    spent = budget(per=["team", "deployment"], limits={"images": 1})
    async with places(BIG, ECO, budgets=[spent]) as gateway:
        client = await gateway.member()
        assert (await client.post(GENERATIONS, json=ASK)).status_code == 200
        found = await refused(gateway, ASK)

    assert [one["set"] for one in found] == [{"model": "flux-lite"}]


async def test_a_model_that_costs_nothing_is_listed_when_no_money_is_left(places: Places) -> None:
    paid = BIG | {"price": {"usd_per_image": 0.05}}
    free = ECO | {"price": {"usd_per_image": 0}}
    async with places(paid, free, budgets=[budget(limits={"cost": "0.05 USD"})]) as gateway:
        client = await gateway.member()
        assert (await client.post(GENERATIONS, json=ASK)).status_code == 200
        found = await refused(gateway, ASK)

    assert [one["set"] for one in found] == [{"model": "flux-lite"}]


@pytest.mark.parametrize(
    ("limits", "searched"),
    [({"images": 1}, False), ({"images": 4}, True), ({"energy": "0.001 Wh"}, True)],
    ids=["no image left", "too few images left", "too little energy left"],
)
async def test_no_form_is_looked_for_where_not_one_image_is_left(
    places: Places, limits: dict[str, Any], *, searched: bool
) -> None:
    """Whoever looks reads balances, which the store tells by the digest of their script."""
    two = ASK | {"n": 2}
    async with places(BIG, ECO, budgets=[budget(limits=limits)]) as gateway:
        client = await gateway.member()
        for spent in (ASK, two):
            await client.post(GENERATIONS, json=spent, headers=VETO)
        async with Redis.from_url(places.redis_url) as redis, redis.monitor() as monitor:
            answer = await client.post(GENERATIONS, json=two, headers=VETO)
            await redis.echo("that was all")
            called = [command async for command in _until(monitor, "that was all")]

    assert answer.status_code == 402
    assert any(Script.load("refuse").sha in command for command in called)
    assert any(Script.load("balance").sha in command for command in called) is searched


async def _until(monitor: Monitor, last: str) -> AsyncIterator[str]:
    """What the store was asked, up to a last word."""
    async for told in monitor.listen():
        command = str(told["command"])
        if last in command:
            return
        yield command


async def test_where_nothing_helps_alone_the_named_model_with_several_changes_is_listed(
    places: Places,
) -> None:
    """There is room for a small picture of the named model, and for nothing of the model that was asked."""
    small: dict[str, Any] = {"size": "256x256", "steps": 10}
    room = await energy_at(places, ECO, "flux-lite", **small)
    assert room * 1.05 < await energy_at(places, BIG, **small)
    team = budget(limits={"energy": f"{room * 1.01:.6f} Wh"}, on_exceed=[{"downgrade": [small]}, *REROUTE])
    async with places(BIG, ECO, budgets=[team]) as gateway:
        found = await refused(gateway, ASK)
        sent = await admitted(gateway, ASK, found)

    assert [one["set"] for one in found] == [{"model": "flux-lite", **small}]
    assert [answer.status_code for answer in sent] == [200]


async def test_one_small_picture_is_listed_where_neither_fewer_nor_smaller_ones_help(places: Places) -> None:
    ask = {"model": MODEL, "prompt": "a cat", "size": "1024x1024", "n": 2}
    room = await energy_at(places, BIG, size="512x512", steps=None)
    team = budget(limits={"energy": f"{room * 1.01:.6f} Wh"})
    async with places(BIG, budgets=[team]) as gateway:
        found = await refused(gateway, ask)
        sent = await admitted(gateway, ask, found)

    assert [one["set"] for one in found] == [{"n": 1, "size": "512x512"}]
    assert [answer.status_code for answer in sent] == [200]


@pytest.mark.parametrize("outside", [True, False], ids=["outside", "inside"])
async def test_a_model_where_residency_does_not_let_a_request_go_is_not_listed(
    places: Places, *, outside: bool
) -> None:
    location = {"provider": "self", "zone": "US-CAL-CISO" if outside else "FR", "pin": "region"}
    team = budget(limits=await room_for_eco(places), on_exceed=REROUTE)
    eco = {**ECO, "location": location}
    async with places(BIG, eco, budgets=[team], routing={"residency": ["eu"]}) as gateway:
        found = await refused(gateway, ASK)

    assert ({"model": "flux-lite"} in [one["set"] for one in found]) is not outside


async def test_every_alternative_is_admitted_where_models_and_deployments_have_budgets_of_their_own(
    places: Places,
) -> None:
    """Each is sent by a team of its own that stands exactly where the refused one stood."""
    generator = random.Random(7)
    base = await energy_at(places, BIG)
    shared = budget(
        "shared",
        limits={"energy": f"{base * 5:.6f} Wh"},
        on_exceed=[{"downgrade": [{"size": "256x256"}]}, *REROUTE],
    )
    of_model = budget("of-model", per=["team", "model"], limits={"images": 6})
    of_eco = budget("of-eco", match={"deployment": ["flux-eco"]}, limits={"images": 4})
    kinds: set[tuple[str, ...]] = set()
    async with places(BIG, ECO, LEANER, budgets=[shared, of_model, of_eco]) as gateway:
        for case in range(6):
            asked = {**ASK, "n": generator.randint(3, 9), "size": generator.choice(["1024x1024", "512x512"])}
            spent = [
                {
                    **ASK,
                    "model": generator.choice([MODEL, "flux-lite", "leaner"]),
                    "n": generator.randint(1, 3),
                }
                for _ in range(generator.randint(1, 3))
            ]

            async def standing(
                number: int, case: int = case, spent: list[dict[str, Any]] = spent
            ) -> httpx.AsyncClient:
                client = await gateway.member(team=f"case-{case}-{number}")
                for one in spent:
                    await client.post(GENERATIONS, json=one, headers=VETO)
                return client

            refused = await (await standing(0)).post(GENERATIONS, json=asked, headers=VETO)
            if refused.status_code == 200:
                continue
            for number, other in enumerate(refused.json()["error"]["eco"]["alternatives"], start=1):
                answer = await (await standing(number)).post(
                    GENERATIONS, json=asked | other["set"], headers=VETO
                )
                assert answer.status_code == 200, (asked, spent, other, answer.text)
                kinds.add(tuple(sorted(other["set"])))

    assert kinds >= {("model",), ("n",)}
