"""What may pass while the store is down: the share of one process, of every budget that is enforced."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budgets.amounts import Amounts, Charge, Dimension
from gateway.budgets.emergency import allowed
from gateway.budgets.matching import MatchedBudget
from gateway.budgets.policy import Budget, Emergency
from gateway.budgets.windows import Window
from tests.budgets.ledger_builders import charge, counter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.budgets.amounts import Bound
    from gateway.budgets.counter import Counter
    from gateway.budgets.policy_file import Mode

NONE = [0] * 6


def matched(
    name: str = "month",
    *,
    limits: dict[Dimension, int] | None = None,
    processes: int = 2,
    mode: Mode = "enforce",
    bound: Bound = "central",
    denies: bool = False,
) -> MatchedBudget:
    """A budget whose emergency limits are 10 images for two processes, unless said otherwise."""
    emergency = Emergency(limits or {Dimension.IMAGES: 10}, processes)
    facts: dict[str, Any] = {"file": "f", "line": 1, "match": {}, "per": (), "timezone": "UTC"}
    budget = Budget(
        name=name,
        limits={Dimension.IMAGES: 100},
        window=Window("calendar", "month"),
        bound=bound,
        mode=mode,
        on_exceed=("deny",),
        on_store_down="deny" if denies else "allow",
        emergency=None if denies else emergency,
        **facts,
    )
    return MatchedBudget(budget, counter(name, bound=bound, images=100))


def passes(wanted: Charge, *budgets: MatchedBudget, seat: int = 1, used: Sequence[int] = NONE) -> bool:
    return allowed(wanted, budgets, seat=seat, used=lambda _: used)


@pytest.mark.parametrize(
    ("images", "before", "passed"), [(5, 0, True), (6, 0, False), (1, 4, True), (1, 5, False)]
)
def test_a_process_may_pass_its_share_and_not_one_more(images: int, before: int, passed: bool) -> None:
    assert passes(charge(images=images), matched(), used=[0, 0, 0, before, 0, 0]) is passed


def test_a_share_is_rounded_down() -> None:
    three = matched(processes=3)

    assert passes(charge(images=3), three)
    assert not passes(charge(images=4), three)


def test_more_processes_than_were_declared_have_nothing() -> None:
    assert passes(charge(), matched(), seat=2)
    assert not passes(charge(), matched(), seat=3)


def test_one_enforced_budget_that_denies_stands_in_the_way_and_no_other_does() -> None:
    assert not passes(charge(), matched(), matched("strict", denies=True))
    assert passes(charge(), matched(), matched("tried", denies=True, mode="shadow"))
    assert passes(charge(), matched(), matched("told", denies=True, mode="warn"))


def test_what_no_enforced_budget_counts_does_not_pass() -> None:
    assert not passes(charge())
    assert not passes(charge(), matched(mode="warn"))


def test_the_bound_that_the_budget_counts_decides() -> None:
    energy = {Dimension.ENERGY: 20}

    assert passes(charge(10), matched(limits=energy))
    assert not passes(charge(10), matched(limits=energy, bound="high"))


def test_an_unknown_cost_does_not_pass_where_cost_is_limited() -> None:
    cost = matched(limits={Dimension.COST: 1000})
    known, unknown = Amounts(0, 0, 0, 1, 5), Amounts(0, 0, 0, 1, None)

    assert passes(Charge(known, known), cost)
    assert not passes(Charge(unknown, unknown), cost)


@given(
    limit=st.integers(1, 40),
    processes=st.integers(1, 5),
    asked=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 4)), max_size=60),
)
def test_all_processes_together_pass_at_most_the_declared_limit(
    limit: int, processes: int, asked: list[tuple[int, int]]
) -> None:
    """Any number of processes; each request goes to some seat and wants some images."""
    budget = matched(limits={Dimension.IMAGES: limit}, processes=processes)
    used: Tally[int] = Tally()
    for seat, images in asked:

        def so_far(_: Counter, seat: int = seat) -> list[int]:
            return [0, 0, 0, used[seat], 0, 0]

        if allowed(charge(images=images), [budget], seat=seat, used=so_far):
            used[seat] += images

    assert used.total() <= limit
