"""The ledger's real scripts under a clock that a test moves: weeks pass in milliseconds."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

import pytest

from gateway.budgets import closing, expiry, ledger, presence
from gateway.budgets.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.asyncio import Redis

CLOCK = "clock-of-the-test"
TIME = "local time = redis.call('TIME')"
BENT_TIME = f"""local t = tonumber(redis.call('GET', '{CLOCK}'))
  local time = {{ math.floor(t / 1000), t % 1000 * 1000 }}"""
MODULES = (closing, expiry, ledger, presence)
"""Who runs scripts that look at the clock."""


def _bent(verb: str) -> Script:
    text = Script.load(verb).text
    assert text.count(TIME) == 1
    text = text.replace(TIME, BENT_TIME)
    return Script(verb, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@contextlib.contextmanager
def virtual_time() -> Iterator[None]:
    """Within it every ledger of this process goes by `CLOCK`, in ms; set it before the first call."""
    with pytest.MonkeyPatch.context() as patch:
        bent: dict[str, Script] = {}
        for module in MODULES:
            scripts = {name: one for name, one in vars(module).items() if isinstance(one, Script)}
            assert scripts, module
            for name, script in scripts.items():
                patch.setattr(module, name, bent.setdefault(script.verb, _bent(script.verb)))
        yield


async def set_clock(redis: Redis, now_ms: int) -> None:
    await redis.set(CLOCK, now_ms)
