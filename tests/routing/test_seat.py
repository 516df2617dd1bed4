"""Who leads from hour to hour: kept until a rival is better enough, at once or all in all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.seat import Seat

GAIN = 0.05


def leaders(*hours: list[float], min_gain: float = GAIN) -> list[int]:
    seat = Seat()
    return [seat.decide(hour, costs, min_gain) for hour, costs in enumerate(hours)]


def test_the_best_takes_an_empty_seat() -> None:
    assert leaders([3.0, 1.0, 2.0]) == [1]


def test_a_rival_that_is_better_by_the_minimum_gain_leads_at_once() -> None:
    assert leaders([100, 101], [100, 95]) == [0, 1]


def test_a_rival_that_stays_a_little_better_leads_once_its_gains_add_up() -> None:
    assert leaders([100, 101], *[[100.0, 97.0]] * 3) == [0, 0, 1, 1]
    assert leaders([100, 101], *[[100.0, 99.0]] * 6) == [0, 0, 0, 0, 0, 1, 1]


def test_a_rival_that_comes_and_goes_leads_never() -> None:
    assert set(leaders([100, 101], *[[100.0, 97.0], [100.0, 104.0]] * 50)) == {0}


def test_asking_again_in_the_same_hour_counts_the_hour_once() -> None:
    seat = Seat()
    seat.decide(0, [100, 101], GAIN)

    assert {seat.decide(1, [100, 97], GAIN) for _ in range(10)} == {0}
    assert seat.decide(2, [100, 97], GAIN) == 1


def test_the_hour_counts_as_it_was_seen_last() -> None:
    seat = Seat()
    seat.decide(0, [100, 101], GAIN)
    seat.decide(1, [100, 97], GAIN)
    seat.decide(1, [100, 102], GAIN)

    assert seat.decide(2, [100, 97], GAIN) == 0


def test_a_new_leader_starts_with_a_clean_slate() -> None:
    assert leaders([100, 101], [100, 97], [100, 97], [97, 100], [97, 100]) == [0, 0, 1, 1, 0]


def test_without_a_minimum_gain_the_best_leads_and_equals_change_nothing() -> None:
    assert leaders([2, 1], [1, 2], [1, 1], min_gain=0.0) == [1, 0, 0]


def test_a_cost_of_nothing_is_left_by_nobody() -> None:
    assert leaders([0.0, 1.0], [0.0, 0.0], [0.0, 5.0]) == [0, 0, 0]


costs = st.lists(st.floats(0.1, 1000), min_size=3, max_size=3)


@given(st.lists(costs, min_size=1, max_size=60), st.floats(0.001, 0.5))
def test_what_waiting_costs_is_bounded_and_every_change_was_earned(
    hours: list[list[float]], min_gain: float
) -> None:
    seat = Seat()
    for hour, now in enumerate(hours):
        before = seat.place
        first = seat.decide(hour, now, min_gain)
        best = min(now)
        # In any hour the leader is within the minimum gain of the best.
        assert now[first] * (1 - min_gain) <= best * (1 + 1e-9)
        if first == before:
            assert max(seat.lately) < min_gain
        elif before is not None:
            assert now[first] < now[before]
