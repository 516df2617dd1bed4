"""Keys and arguments as the scripts get them."""

from __future__ import annotations

import json

import pytest

from gateway.budgets.amounts import MAX_STORED, Dimension
from gateway.budgets.counter import Bucket
from gateway.budgets.wire import OrgKeys, check_request, fingerprint, read_reserved, request_json
from gateway.errors import LedgerUnavailable
from tests.budgets.ledger_builders import NEXT_HOUR, THIS_HOUR, charge, counter


def test_a_counter_has_one_key_per_org_budget_scope_and_bucket() -> None:
    plain = counter("month", energy=1)
    team = counter("month", scope={"team": "a"}, energy=1)
    other = counter("day", energy=1)

    keys = {
        OrgKeys(org).counter(one, bucket)
        for org in ("acme", "globex")
        for one in (plain, team, other)
        for bucket in (THIS_HOUR, NEXT_HOUR)
    }

    assert len(keys) == 12


def test_a_counter_keeps_its_key_when_its_limit_bound_or_end_change() -> None:
    """A budget that is extended or tightened must not begin again at zero."""
    before = counter("month", energy=1)
    longer = Bucket(THIS_HOUR.start_ms, THIS_HOUR.end_ms + 1)
    after = counter("month", bound="high", water=7, buckets=(longer, NEXT_HOUR))

    keys = OrgKeys("acme")
    assert keys.counter(before, before.current) == keys.counter(after, after.current)


def test_a_scope_never_shows_in_a_key() -> None:
    key = OrgKeys("acme").counter(counter(scope={"user": "jane@example.org"}, energy=1), THIS_HOUR)

    assert "jane" not in key


def test_a_request_is_the_same_whatever_the_limits_and_buckets() -> None:
    now, later = counter(energy=1), counter(water=9, buckets=(NEXT_HOUR, NEXT_HOUR))

    first = fingerprint([charge(1), charge(2)], [now])

    assert first == fingerprint([charge(1), charge(2)], [later])
    assert first != fingerprint([charge(2), charge(1)], [now])
    assert first != fingerprint([charge(1), charge(2)], [counter(scope={"team": "a"})])
    assert first != fingerprint([charge(1), charge(2)], [counter(bound="high")])


def test_an_absent_limit_is_not_a_limit_of_zero() -> None:
    request = json.loads(request_json([charge(1, 2, 3, 4)], [counter(energy=0, images=5)]))
    costly = json.loads(request_json([charge(1)], [counter(cost=7)]))

    assert request["counters"][0]["limits"] == [0, -1, -1, 5, -1, -1]
    assert costly["counters"][0]["limits"] == [-1, -1, -1, -1, 7, 0]
    assert request["candidates"] == [{"central": [1, 2, 3, 4, 0, 0], "high": [2, 4, 6, 4, 0, 0]}]


@pytest.mark.parametrize("limit", [-1, MAX_STORED + 1])
def test_a_limit_that_cannot_be_kept_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="limits go from 0"):
        check_request([charge(1)], [counter(limits={Dimension.WATER: limit})])


def test_a_reserve_without_candidates_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one candidate"):
        check_request([], [counter(energy=1)])


def test_a_verdict_that_nobody_knows_is_not_taken_for_a_hold() -> None:
    with pytest.raises(LedgerUnavailable, match="no_ledger"):
        read_reserved(["no_ledger"], [], "acme", "h1")
