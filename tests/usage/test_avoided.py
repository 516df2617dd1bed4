"""What a request avoided, from its own record."""

from __future__ import annotations

from typing import Any

from gateway.usage.avoided import avoided_ug
from tests.usage.journals import footprint, record

PLANNED = [{"deployment": "flux-se", "carbon_g": 1.0}, {"deployment": "flux-pl", "carbon_g": 9.0}]
INSTEAD = {"instead": {"even_spread": {"carbon_g": 5.0}, "best_fixed": {"carbon_g": 0.5}}}


def avoided(charged_ug: int, baseline: Any = "even_spread", **changes: Any) -> int | None:
    values: dict[str, Any] = {"candidates": PLANNED, "routing": INSTEAD} | changes
    return avoided_ug(record(**values), baseline, charged_ug)


def test_the_baseline_less_the_charge_is_avoided_and_may_be_negative() -> None:
    assert avoided(1_000_000) == 4_000_000
    assert avoided(1_000_000, "best_fixed") == -500_000


def test_the_baseline_is_for_the_work_that_was_done() -> None:
    assert avoided(2_000_000, footprint=footprint(carbon_g=2.0)) == 8_000_000


def test_what_failed_attempts_cost_is_not_avoided() -> None:
    assert avoided(3_000_000) == 2_000_000


def test_a_failover_is_compared_by_what_its_own_deployment_would_cause() -> None:
    assert avoided(9_000_000, deployment="flux-pl", footprint=footprint(carbon_g=9.0)) == -4_000_000


def test_where_nothing_was_charged_nothing_was_avoided() -> None:
    assert avoided(0, routing={}) == 0


def test_a_record_that_does_not_tell_leaves_it_unknown() -> None:
    assert avoided(1, routing={}) is None
    assert avoided(1, candidates=[]) is None
    assert avoided(1, footprint={}) is None
    assert avoided(1, candidates=[{"deployment": "flux-se", "carbon_g": 0.0}]) is None
