"""Requests cancelled at any step of the event loop (F21), and their handlers: nothing is held or lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.budgets.wire import OrgKeys
from gateway.demo.standin import StandInSettings
from gateway.lifecycle.ask import ClientGone
from gateway.lifecycle.serve import Images
from tests.faults.world import ASK, ORG, PLENTY, assert_exact, load, store_running, until
from tests.running import GENERATIONS, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from gateway.lifecycle.ask import Ask, Served

STEPS = 600
EXAMPLES = 120
ZONES = {"SE": StandInSettings(zone="SE", seconds_per_image=0.05 * 256)}


def test_f21_a_request_cancelled_at_any_step_leaves_nothing_held(tmp_path: Path) -> None:
    """Client and gateway share the event loop, so each step of it is a place in the request's path."""
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        store = runner.run(stack.enter_async_context(store_running(tmp_path / "store")))
        running = gateway_running(tmp_path, store.url, budgets=PLENTY, zones=ZONES, lease_s=5)
        gateway = runner.run(stack.enter_async_context(running))
        images, asked = gateway.standins["SE"], 0

        async def idle() -> bool:
            return images.standin.in_flight == 0 and not await store.redis.zcard(OrgKeys(ORG).open_holds)

        async def cancelled_after(steps: int) -> None:
            asking = asyncio.create_task(gateway.admin.post(GENERATIONS, json=ASK))
            for _ in range(steps):
                await asyncio.sleep(0)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            await until(idle)

        @settings(max_examples=EXAMPLES, deadline=None, database=None)
        @given(st.integers(min_value=0, max_value=STEPS))
        @example(0)
        def cancelled(steps: int) -> None:
            nonlocal asked
            asked += 1
            runner.run(cancelled_after(steps))

        try:
            assert runner.run(load(gateway.admin, per_s=5, seconds=1)).statuses == [200] * 5
            cancelled()
            # One that left between the mark and the first byte is charged: nobody can know.
            runner.run(assert_exact(store.redis, tmp_path / "data", [images], unknown=asked))
        finally:
            runner.run(stack.aclose())


async def test_a_life_goes_on_when_the_handler_that_waits_for_it_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its hold and its settlement: it is delivered and charged as delivered, not as unknown."""
    real, ended = Images.serve, asyncio.Event()
    async with (
        store_running(tmp_path / "store") as store,
        gateway_running(tmp_path, store.url, budgets=PLENTY, zones=ZONES, lease_s=30) as gateway,
    ):

        async def cancelled(images: Images, ask: Ask) -> Served:
            serving = asyncio.create_task(real(images, ask))
            while not gateway.generations():
                await asyncio.sleep(0.005)
            serving.cancel()
            await asyncio.wait({serving})
            assert serving.cancelled()
            ended.set()
            raise ClientGone

        monkeypatch.setattr(Images, "serve", cancelled)
        await gateway.admin.post(GENERATIONS, json=ASK)
        assert ended.is_set()

        async def charged_as_delivered() -> bool:
            answer = await gateway.admin.get("/eco/v1/requests")
            return [row["outcome"] for row in answer.json()["data"]] == ["delivered"]

        await until(charged_as_delivered)
        await assert_exact(store.redis, tmp_path / "data", list(gateway.standins.values()))
