"""What a request wasted, from its own record."""

from __future__ import annotations

from gateway.usage.record import Attempt
from gateway.usage.waste import wasted
from tests.usage.journals import record

LOST = Attempt("a", "unknown", wasted={"energy_wh": 1.5, "water_ml": 2.0, "carbon_g": 0.25, "cost_usd": 0.04})


def test_waste_is_summed_over_the_attempts_that_may_have_run_for_nothing() -> None:
    told = record(attempts=[LOST, LOST, Attempt("b", "delivered", 200)])

    assert wasted(told, "energy_wh") == 3_000_000
    assert wasted(told, "water_ml") == 4_000
    assert wasted(told, "carbon_g") == 500_000


def test_a_request_without_failed_attempts_wasted_nothing() -> None:
    assert wasted(record(), "energy_wh") == 0
