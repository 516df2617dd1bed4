"""What a process makes of the rows that the store gave it."""

from __future__ import annotations

from gateway.routing.fleet import Fleet, Sight
from gateway.upstreams.deployments import Deployment

A = Deployment("a", ("m",), "http://127.0.0.1/v1", concurrency=4)


def seen(*row: object, at: float = 100.0) -> Fleet:
    return Fleet({"a": Sight.read(row, at)}, looked_at=at)


def test_an_ejection_ends_by_the_clock_and_leaves_the_deployment_half_open() -> None:
    fleet = seen("ejected", 1, 0, 2, 5000, 0, "timeout")

    assert fleet.left_out(A, 101.0) == "ejected for 4 s more: timeout"
    assert fleet.sight(A).state_at(105.1) == "half_open"
    assert fleet.left_out(A, 105.1) is None


def test_a_pause_ends_by_the_clock() -> None:
    fleet = seen("paused", 0, 0, 0, -1, 2000, "rate_limited")

    assert fleet.left_out(A, 100.0) == "its service asked for a pause of 2 s more: rate_limited"
    assert fleet.sight(A).state_at(102.1) == "closed"


def test_free_capacity_is_that_of_all_gateways_while_the_view_is_young() -> None:
    fleet = seen("closed", 3, 0, 0, -1, 0, "")
    fleet.own["a"] = 1

    assert fleet.free(A, 101.0) == 0.25
    assert fleet.free(A, 106.0) == 0.75
    assert fleet.free(Deployment("b", ("m",), "http://127.0.0.1/v1"), 101.0) == 1.0


def test_a_view_that_missed_own_leases_counts_them_all_the_same() -> None:
    fleet = seen("closed", 0, 0, 0, -1, 0, "")
    fleet.own["a"] = 4

    assert fleet.free(A, 100.5) == 0.0
