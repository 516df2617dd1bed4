import math
from pathlib import Path

from gateway.budgets.amounts import Dimension
from gateway.budgets.policy import load_policies
from gateway.demo.story import DESIGN, POSTCARDS, SMALL_BUDGET, TOO_MUCH, Delivered, Facts, central


def test_facts_that_did_not_hold_are_listed() -> None:
    facts = Facts()

    facts.expect("water is wet", holds=True)
    facts.expect("fire is cold", holds=None)

    assert facts.failed == ["fire is cold"]


def test_a_figure_that_is_missing_is_not_a_number() -> None:
    delivered = Delivered(DESIGN[0], (Path("x.png"),), "r", {"ecogate-energy-wh": "1.5"})

    assert delivered.figure("energy-wh") == 1.5
    assert math.isnan(delivered.figure("energy-wh", "-low"))


def test_the_central_estimate_of_a_plain_number_is_itself() -> None:
    assert central({"low": 1, "central": 2, "high": 3}) == central(2)


def test_the_postcards_fit_their_budget_once_and_not_twice() -> None:
    policies = load_policies(Path("gateway/demo/files/policies"))
    [budget] = [budget for budget in policies.budgets if budget.name == SMALL_BUDGET]

    limit = budget.limits[Dimension.IMAGES]

    assert POSTCARDS.n <= limit < POSTCARDS.n + TOO_MUCH.n
