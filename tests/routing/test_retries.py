"""Failovers stay a tenth of what is asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.retries import RESERVE, RetryBudget


@given(st.lists(st.booleans(), max_size=500))
def test_failovers_are_never_more_than_a_tenth_of_requests_and_the_reserve(steps: list[bool]) -> None:
    budget, retries = RetryBudget(), 0
    for requests, wants in enumerate(steps, start=1):
        budget.earn()
        if wants and budget.take():
            retries += 1

        assert retries <= RESERVE + 0.1 * requests + 1e-9


def test_the_reserve_is_there_from_the_start_and_comes_back_with_requests() -> None:
    budget = RetryBudget()
    assert [budget.take() for _ in range(11)] == 10 * [True] + [False]

    for _ in range(11):
        budget.earn()

    assert [budget.take(), budget.take()] == [True, False]
