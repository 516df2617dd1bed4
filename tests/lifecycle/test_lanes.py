"""The lanes of keys: a few at a time in each, in order, and nobody waits for another key."""

from __future__ import annotations

import asyncio

import pytest

from gateway.lifecycle.lanes import WIDTH, Lanes, Place


async def entered(lanes: Lanes, key: str) -> Place:
    place = lanes.place(key)
    await place.take()
    return place


async def passed(tasks: list[asyncio.Task[Place]]) -> list[bool]:
    for _ in range(5):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


@pytest.fixture
def lanes() -> Lanes:
    return Lanes()


async def test_a_crowd_waits_in_its_own_lane_and_goes_on_in_order(lanes: Lanes) -> None:
    crowd = [asyncio.create_task(entered(lanes, "crowd")) for _ in range(WIDTH + 2)]
    alone = asyncio.create_task(entered(lanes, "alone"))

    assert await passed([*crowd, alone]) == [True] * WIDTH + [False, False, True]
    crowd[1].result().leave()
    assert await passed(crowd) == [True] * (WIDTH + 1) + [False]
    crowd[0].result().leave()
    assert await passed(crowd) == [True] * (WIDTH + 2)


async def test_a_place_is_given_up_once(lanes: Lanes) -> None:
    places = [await entered(lanes, "key") for _ in range(WIDTH)]
    waiting = [asyncio.create_task(entered(lanes, "key")) for _ in range(2)]

    places[0].leave()
    places[0].leave()

    assert await passed(waiting) == [True, False]
    places[1].leave()
    await waiting[1]


async def test_who_gives_up_waiting_keeps_nobody_out(lanes: Lanes) -> None:
    places = [await entered(lanes, "key") for _ in range(WIDTH)]
    gone, next_one = (asyncio.create_task(entered(lanes, "key")) for _ in range(2))
    await passed([gone])
    gone.cancel()

    places[0].leave()

    assert await passed([next_one]) == [True]


async def test_no_lane_is_kept_for_keys_that_are_gone(lanes: Lanes) -> None:
    (await entered(lanes, "key")).leave()
    lanes.place("key").leave()

    assert len(lanes._lanes) == 0
