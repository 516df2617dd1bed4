"""Acting on a signal only where its own record supports it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gateway.routing.proof import Proof, judged_at

if TYPE_CHECKING:
    from collections.abc import Callable

Costs = list[float]


def proof(min_gain: float = 0.05) -> Proof:
    return Proof(fixed=0, first_hour=0, min_gain=min_gain)


def told(actual: Callable[[int], Costs | None]) -> Callable[[int, int], float | None]:
    """What came of each place in an hour, None where nobody knows."""

    def outcome(hour: int, place: int) -> float | None:
        costs = actual(hour)
        return None if costs is None else costs[place]

    return outcome


def supports(age: int, weeks: int, expected: Callable[[int], Costs], actual: Callable[[int], Costs]) -> bool:
    return proof().supports(age, weeks * 168 - 1, lambda hour, _: expected(hour), told(actual))


def swing(hour: int) -> Costs:
    return [100.0, 50.0 if hour % 24 < 12 else 200.0]


def reversed_swing(hour: int) -> Costs:
    return swing(hour + 12)


def test_a_signal_that_has_paid_is_acted_on() -> None:
    for age in (1, 2, 6):
        assert supports(age, 9, swing, swing)


def test_a_signal_that_misled_is_not_acted_on() -> None:
    for age in (1, 2, 6):
        assert not supports(age, 9, reversed_swing, swing)


def test_a_live_signal_needs_no_record_but_an_older_one_does() -> None:
    assert proof().supports(1, -1, lambda hour, _: swing(hour), told(swing))
    assert not proof().supports(2, 166, lambda hour, _: swing(hour), told(swing))
    assert proof().supports(2, 167, lambda hour, _: swing(hour), told(swing))
    assert not proof().supports(6, 670, lambda hour, _: swing(hour), told(swing))
    assert proof().supports(6, 671, lambda hour, _: swing(hour), told(swing))


def test_a_live_signal_is_left_when_a_week_of_it_has_lost_though_older_weeks_saved_more() -> None:
    def little(hour: int) -> Costs:
        costs = swing(hour)
        return [costs[0], costs[1] if hour < 9 * 168 else 100.5]  # half a percent worse than it seems

    def seems(hour: int) -> Costs:
        return swing(hour) if hour < 9 * 168 else [100.0, 90.0]

    one = proof()
    turn = 9 * 168

    assert one.supports(1, turn - 1, lambda hour, _: seems(hour), told(little))
    assert one.supports(1, turn + 99, lambda hour, _: seems(hour), told(little))
    assert not one.supports(1, turn + 167, lambda hour, _: seems(hour), told(little))
    assert one.accounts[1].better_by(0.1, 4 * 168)


def test_a_signal_of_two_hours_is_left_as_soon_as_two_days_of_it_lose() -> None:
    def turned(hour: int) -> Costs:
        return swing(hour) if hour < 9 * 168 else reversed_swing(hour)

    one = proof()
    turn = 9 * 168

    assert one.supports(2, turn - 1, lambda hour, _: turned(hour), told(swing))
    assert not one.supports(2, turn + 24, lambda hour, _: turned(hour), told(swing))


def test_a_reading_is_judged_by_the_record_of_the_next_older_age_and_none_beyond_six_hours() -> None:
    assert [judged_at(age) for age in (-1, 0, 1, 2, 3, 6, 7, 48)] == [1, 1, 1, 2, 6, 6, None, None]


def test_hours_that_nobody_knows_are_not_part_of_the_record() -> None:
    one = proof()

    assert not one.supports(6, 500, lambda hour, _: swing(hour), told(lambda hour: None))
    assert one.accounts[6].known == 0


def test_each_hour_is_learnt_once() -> None:
    one = proof()
    one.supports(1, 400, lambda hour, _: swing(hour), told(swing))
    one.supports(1, 400, lambda hour, _: swing(hour), told(swing))

    assert one.accounts[1].known == 401


def test_an_hour_that_arrives_late_enters_the_record_with_the_leader_of_its_time() -> None:
    late = range(200, 210)
    known: set[int] = set()

    def arriving(hour: int) -> Costs | None:
        return None if hour in late and hour not in known else swing(hour)

    one, whole = proof(), proof()
    one.supports(1, 300, lambda hour, _: swing(hour), told(arriving))
    assert one.accounts[1].known == 291
    known.update(late)
    one.supports(1, 301, lambda hour, _: reversed_swing(hour), told(arriving))
    whole.supports(1, 300, lambda hour, _: swing(hour), told(swing))

    assert one.accounts[1].hours == list(range(302))
    assert one.accounts[1].extra[:301] == whole.accounts[1].extra


def test_an_hour_that_is_more_than_a_week_late_counts_no_more() -> None:
    known: set[int] = set()
    one = proof()
    for until in (100, 270):
        one.supports(
            1,
            until,
            lambda hour, _: swing(hour),
            told(lambda hour: None if hour == 100 and hour not in known else swing(hour)),
        )
        known.add(100)

    assert one.accounts[1].known == 271
    assert not one.accounts[1].open
    known.clear()
    other = proof()
    other.supports(
        1, 270, lambda hour, _: swing(hour), told(lambda hour: None if hour == 100 else swing(hour))
    )
    other.supports(1, 271, lambda hour, _: swing(hour), told(swing))

    assert other.accounts[1].known == 271
    assert 100 not in other.accounts[1].hours


def test_the_fixed_choice_leads_where_nobody_knew_how_it_fares() -> None:
    def unknown_at_noon(hour: int, _: int) -> Costs:
        costs = swing(hour)
        return [math.inf if 6 <= hour % 24 < 10 else costs[0], costs[1]]

    one, blind = proof(), proof()
    one.supports(1, 671, unknown_at_noon, told(swing))
    blind.supports(1, 671, lambda hour, _: [swing(hour)[0], math.inf], told(swing))

    assert [one.accounts[1].extra[hour] for hour in (5, 6, 9, 10)] == [-50, 0, 0, -50]
    assert set(blind.accounts[1].extra) == {0}


def test_the_record_of_the_last_weeks_counts() -> None:
    def lately_wrong(hour: int) -> Costs:
        return swing(hour) if hour < 9 * 168 else reversed_swing(hour)

    assert not supports(6, 14, lately_wrong, swing)


def test_what_held_before_a_long_silence_proves_nothing() -> None:
    def with_silence(hour: int) -> Costs | None:
        return None if 1000 <= hour < 1200 else swing(hour)

    one = proof()

    assert one.supports(6, 999, lambda hour, _: swing(hour), told(with_silence))
    assert not one.supports(6, 1250, lambda hour, _: swing(hour), told(with_silence))
    assert not one.supports(6, 1400, lambda hour, _: swing(hour), told(with_silence))
    assert one.supports(6, 1900, lambda hour, _: swing(hour), told(with_silence))
