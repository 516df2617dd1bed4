"""The lanes of keys: one at a time in each, in order, and nobody waits for another key."""

from __future__ import annotations

import asyncio

import pytest

from gateway.lifecycle import lanes as module
from gateway.lifecycle.lanes import Lanes, Place


async def entered(lanes: Lanes, key: str) -> Place:
    place = lanes.place(key)
    await place.take()
    return place


async def passed(tasks: list[asyncio.Task[Place]]) -> list[bool]:
    for _ in range(5):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> Lanes:
    monkeypatch.setattr(module, "KEPT_S", 60.0)
    return Lanes()


async def test_a_crowd_waits_in_its_own_lane_and_goes_on_in_order(lanes: Lanes) -> None:
    crowd = [asyncio.create_task(entered(lanes, "crowd")) for _ in range(3)]
    alone = asyncio.create_task(entered(lanes, "alone"))

    assert await passed([*crowd, alone]) == [True, False, False, True]
    crowd[0].result().leave()
    assert await passed(crowd) == [True, True, False]
    crowd[1].result().leave()
    assert await passed(crowd) == [True, True, True]


async def test_who_is_not_through_in_time_keeps_nobody_waiting(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as soon:
        soon.setattr(module, "KEPT_S", 0.001)
        slow = await entered(lanes, "key")
    second = await asyncio.wait_for(entered(lanes, "key"), 10)
    slow.leave()

    third = asyncio.create_task(entered(lanes, "key"))
    assert await passed([third]) == [False]
    second.leave()
    await third


async def test_a_place_is_given_up_once(lanes: Lanes) -> None:
    place = await entered(lanes, "key")
    waiting = [asyncio.create_task(entered(lanes, "key")) for _ in range(2)]

    place.leave()
    place.leave()

    assert await passed(waiting) == [True, False]
    waiting[0].result().leave()
    await waiting[1]


async def test_who_gives_up_waiting_keeps_nobody_out(lanes: Lanes) -> None:
    place = await entered(lanes, "key")
    gone, next_one = (asyncio.create_task(entered(lanes, "key")) for _ in range(2))
    await passed([gone])
    gone.cancel()

    place.leave()

    assert await passed([next_one]) == [True]


async def test_no_lane_is_kept_for_keys_that_are_gone(lanes: Lanes) -> None:
    (await entered(lanes, "key")).leave()
    lanes.place("key").leave()

    assert len(lanes._lanes) == 0
