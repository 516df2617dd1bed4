"""What a request leaves behind in memory: nothing that only the garbage collector could find.

Its pauses grow with what it has to look at: over a crowd of refused requests it took a second.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from gateway.errors import ApiError, UpstreamFailure
from tests.running import GENERATIONS, MODEL, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

ROOM = 9
FIRST = 3  # scripts are loaded, statements compiled


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"n": ROOM + 1}, 402),
        ({"standin_fault": "overload"}, 503),
        ({"standin_fault": "error"}, 500),
        ({"standin_fault": "reset"}, 502),
    ],
)
async def test_a_request_that_fails_is_gone_with_its_answer(
    tmp_path: Path, redis_url: str, body: dict[str, object], status: int
) -> None:
    budgets = [budget("some", limits={"images": ROOM})]
    async with gateway_running(tmp_path, redis_url, budgets=budgets) as gateway:
        ada = await gateway.member()

        async def ask() -> int:
            asked = {"model": MODEL, "prompt": "a cat", "size": "64x64", **body}
            return (await ada.post(GENERATIONS, json=asked)).status_code

        for _ in range(FIRST):
            await ask()
        gc.collect()
        constants = errors()
        gc.disable()
        try:
            assert await ask() == status
            left = [error for error in errors() if not any(error is one for one in constants)]
        finally:
            gc.enable()

        assert left == []


def errors() -> list[BaseException]:
    return [one for one in gc.get_objects() if isinstance(one, ApiError | UpstreamFailure)]
