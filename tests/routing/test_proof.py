"""Acting on a signal only where its own record supports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.routing.proof import Proof

if TYPE_CHECKING:
    from collections.abc import Callable

Costs = list[float]


def proof(min_gain: float = 0.05) -> Proof:
    return Proof(fixed=0, first_hour=0, min_gain=min_gain)


def supports(age: int, weeks: int, expected: Callable[[int], Costs], actual: Callable[[int], Costs]) -> bool:
    return proof().supports(age, weeks * 168 - 1, lambda hour, _: expected(hour), actual)


def swing(hour: int) -> Costs:
    return [100.0, 50.0 if hour % 24 < 12 else 200.0]


def reversed_swing(hour: int) -> Costs:
    return swing(hour + 12)


def test_a_signal_that_has_paid_is_acted_on() -> None:
    for age in (0, 1, 2, 6):
        assert supports(age, 9, swing, swing)


def test_a_signal_that_misled_is_not_acted_on() -> None:
    for age in (0, 1, 2, 6):
        assert not supports(age, 9, reversed_swing, swing)


def test_a_live_signal_needs_no_record_but_an_older_one_does() -> None:
    assert proof().supports(1, -1, lambda hour, _: swing(hour), swing)
    assert not proof().supports(2, 166, lambda hour, _: swing(hour), swing)
    assert proof().supports(2, 167, lambda hour, _: swing(hour), swing)
    assert not proof().supports(6, 670, lambda hour, _: swing(hour), swing)
    assert proof().supports(6, 671, lambda hour, _: swing(hour), swing)


def test_a_signal_of_two_hours_is_left_as_soon_as_two_days_of_it_lose() -> None:
    def turned(hour: int) -> Costs:
        return swing(hour) if hour < 9 * 168 else reversed_swing(hour)

    one = proof()
    turn = 9 * 168

    assert one.supports(2, turn - 1, lambda hour, _: turned(hour), swing)
    assert not one.supports(2, turn + 24, lambda hour, _: turned(hour), swing)


def test_nothing_older_than_six_hours_is_acted_on() -> None:
    assert not supports(7, 9, swing, swing)


def test_hours_that_nobody_knows_are_not_part_of_the_record() -> None:
    one = proof()

    assert not one.supports(6, 500, lambda hour, _: swing(hour), lambda hour: None)
    assert one.accounts[6].known == 0


def test_each_hour_is_learnt_once() -> None:
    one = proof()
    one.supports(1, 400, lambda hour, _: swing(hour), swing)
    one.supports(1, 400, lambda hour, _: swing(hour), swing)

    assert one.accounts[1].known == 401


def test_the_record_of_the_last_weeks_counts() -> None:
    def lately_wrong(hour: int) -> Costs:
        return swing(hour) if hour < 9 * 168 else reversed_swing(hour)

    assert not supports(6, 14, lately_wrong, swing)


def test_what_held_before_a_long_silence_proves_nothing() -> None:
    def with_silence(hour: int) -> Costs | None:
        return None if 1000 <= hour < 1200 else swing(hour)

    one = proof()

    assert one.supports(6, 999, lambda hour, _: swing(hour), with_silence)
    assert not one.supports(6, 1250, lambda hour, _: swing(hour), with_silence)
    assert not one.supports(6, 1400, lambda hour, _: swing(hour), with_silence)
    assert one.supports(6, 1900, lambda hour, _: swing(hour), with_silence)
