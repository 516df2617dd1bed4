"""The ledger of the tests of budgets, unless they make one of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.budgets.ledger import Ledger
from tests.budgets.ledger_builders import BUDGET, HIGH, charge, held

if TYPE_CHECKING:
    from redis.asyncio import Redis


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    """One without an archive, in which nothing is held."""
    return Ledger(redis, lease_s=60, timeout_ms=2000)


@pytest.fixture
async def holding(ledger: Ledger) -> Ledger:
    """A ledger in which `h1` holds 40 uWh, 4 uL, 5 ugCO2e (80, 8, 10 at most) and two images."""
    await held(ledger, "h1", charge(40, 4, 5, 2), BUDGET, HIGH)
    return ledger
