"""A seat never forgets what was passed in a window, and never shows anything that was not written."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gateway.budgets.counter import Bucket
from gateway.lifecycle.seats import Seat
from gateway.lifecycle.unposted import Posting
from tests.budgets.ledger_builders import NEXT_HOUR, ORG, THIS_HOUR, charge, counter

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.budgets.counter import Counter

MONTH = counter("month", images=100)


def use(hold: str, images: int = 1, *counters: Counter, org: str = ORG) -> Posting:
    return Posting(org, hold, charge(images=images), "{}", counters or (MONTH,), known=False)


def taken(directory: Path) -> Seat:
    seat = Seat.take(directory)
    assert seat is not None
    return seat


def images(seat: Seat, of: Counter = MONTH, org: str = ORG) -> int:
    return seat.used(org, of)[3]


def test_each_process_takes_the_lowest_seat_that_is_free(tmp_path: Path) -> None:
    one, two = taken(tmp_path), taken(tmp_path)
    one.close()
    again = taken(tmp_path)

    assert (one.number, two.number, again.number) == (1, 2, 1)


def test_who_takes_a_seat_takes_what_was_passed_on_it(tmp_path: Path) -> None:
    first = taken(tmp_path)
    first.write(use("a", 3))
    first.write(use("b", 2))
    first.posted("a")
    first.close()

    next_one = taken(tmp_path)

    assert images(next_one) == 5
    assert [(one.hold, one.charge, one.known) for one in next_one.waiting()] == [
        ("b", charge(images=2), False)
    ]


def test_the_end_of_a_use_takes_the_place_of_its_estimate(tmp_path: Path) -> None:
    seat = taken(tmp_path)
    for hold in "abc":
        seat.write(use(hold, 3))
    seat.write(use("a", 1))
    seat.write(Posting(ORG, "b", None, "{}", (MONTH,)))

    assert images(seat) == 4
    assert [one.hold for one in seat.waiting()] == ["a", "b", "c"]


def test_windows_scopes_and_orgs_are_counted_apart(tmp_path: Path) -> None:
    other = counter("month", scope={"team": "b"}, images=100)
    later = counter("month", buckets=(NEXT_HOUR, Bucket(NEXT_HOUR.end_ms, NEXT_HOUR.end_ms + 1)), images=100)
    seat = taken(tmp_path)
    seat.write(use("a", 1, MONTH))
    seat.write(use("b", 2, other))
    seat.write(use("c", 4, later))
    seat.write(use("d", 8, org="elsewhere"))

    assert [images(seat, one) for one in (MONTH, other, later)] == [1, 2, 4]
    assert images(seat, org="elsewhere") == 8


def test_a_rolling_window_counts_what_was_passed_in_its_trail(tmp_path: Path) -> None:
    hour = THIS_HOUR.end_ms - THIS_HOUR.start_ms

    def rolling(back: int) -> Counter:
        current = Bucket(THIS_HOUR.start_ms - back * hour, THIS_HOUR.end_ms - back * hour)
        return replace(counter("day", images=100), trail=3, current=current)

    seat = taken(tmp_path)
    for back, passed in ((4, 1), (3, 2), (2, 4), (0, 8)):
        seat.write(use(f"h{back}", passed, rolling(back)))
    seat.close()

    again = taken(tmp_path)
    assert [images(again, rolling(back)) for back in (0, 1, 4)] == [14, 7, 1]


@pytest.mark.parametrize("torn", [b'["acme","x"', b"\xff\xfe", b'"half'])
def test_a_last_line_that_was_cut_was_not_relied_on(tmp_path: Path, torn: bytes) -> None:
    seat = taken(tmp_path)
    seat.write(use("a", 2))
    seat.close()
    with (tmp_path / "seat-1.jsonl").open("ab") as file:
        file.write(torn)

    again = taken(tmp_path)
    again.write(use("b", 1))
    again.close()

    assert images(taken(tmp_path)) == 3


def test_what_is_posted_and_over_is_forgotten(tmp_path: Path) -> None:
    past = Bucket(THIS_HOUR.start_ms - 10, THIS_HOUR.start_ms)
    old = counter("month", buckets=(past, THIS_HOUR), images=100)
    seat = taken(tmp_path)
    seat.write(use("a", 2, old))
    seat.close()
    kept = taken(tmp_path)
    assert [one.hold for one in kept.waiting()] == ["a"]
    kept.posted("a")
    kept.close()

    assert images(taken(tmp_path), old) == 0
    assert (tmp_path / "seat-1.jsonl").stat().st_size == 0
    assert past.end_ms < time.time() * 1000


def test_only_seats_that_nobody_has_and_that_owe_something_are_left_behind(tmp_path: Path) -> None:
    alive, dead, settled = taken(tmp_path), taken(tmp_path), taken(tmp_path)
    for seat in (alive, dead, settled):
        seat.write(use(f"of-{seat.number}"))
    settled.posted("of-3")
    dead.close()
    settled.close()

    found = list(Seat.left_behind(tmp_path))

    assert [seat.number for seat in found] == [2]
    found[0].close()
    assert taken(tmp_path).number == 2


@dataclass
class Written:
    """What must be on a seat, whoever reads it."""

    images: dict[str, int] = field(default_factory=dict)
    posted: set[str] = field(default_factory=set)


class Sitting(RuleBasedStateMachine):
    """Writes, endings and postings, with a death and another process at any time."""

    directory: Path

    def __init__(self) -> None:
        super().__init__()
        self.home = self.directory / str(time.monotonic_ns())
        self.seat = taken(self.home)
        self.written = Written()

    @rule(images=st.integers(1, 4))
    def begin(self, images: int) -> None:
        hold = f"h{len(self.written.images)}"
        self.seat.write(use(hold, images))
        self.written.images[hold] = images

    @rule(number=st.integers(0, 20), images=st.integers(0, 4))
    def end(self, number: int, images: int) -> None:
        hold = f"h{number}"
        if hold in self.written.images and hold not in self.written.posted:
            self.seat.write(use(hold, images))
            self.written.images[hold] = images

    @rule(number=st.integers(0, 20))
    def post(self, number: int) -> None:
        hold = f"h{number}"
        if hold in self.written.images:
            self.seat.posted(hold)
            self.written.posted.add(hold)

    @rule(torn=st.sampled_from([b"", b'["acme",', b"\x00"]))
    def die(self, torn: bytes) -> None:
        self.seat.close()
        with (self.home / "seat-1.jsonl").open("ab") as file:
            file.write(torn)
        self.seat = taken(self.home)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        assert images(self.seat) == sum(self.written.images.values())
        waiting = [hold for hold in self.written.images if hold not in self.written.posted]
        assert sorted(one.hold for one in self.seat.waiting()) == sorted(waiting)

    def teardown(self) -> None:
        self.seat.close()


def test_random_deaths_lose_nothing_that_was_written(tmp_path: Path) -> None:
    class SittingHere(Sitting):
        directory = tmp_path

    run_state_machine_as_test(
        SittingHere, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )
