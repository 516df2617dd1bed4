import math
from pathlib import Path

from gateway.demo.story import ASKS, TOO_MUCH, Delivered, Facts, central


def test_facts_that_did_not_hold_are_listed() -> None:
    facts = Facts()

    facts.expect("water is wet", holds=True)
    facts.expect("fire is cold", holds=None)

    assert facts.failed == ["fire is cold"]


def test_a_figure_that_is_missing_is_not_a_number() -> None:
    delivered = Delivered(ASKS[0], (Path("x.png"),), "r", {"ecogate-energy-wh": "1.5"})

    assert delivered.figure("energy-wh") == 1.5
    assert math.isnan(delivered.figure("energy-wh", "-low"))


def test_the_central_estimate_of_a_plain_number_is_itself() -> None:
    assert central({"low": 1, "central": 2, "high": 3}) == central(2)


def test_the_refused_request_asks_for_more_than_its_budget_allows() -> None:
    policy = Path("gateway/demo/files/policies/demo.yaml").read_text()

    assert "limits: {images: 3}" in policy
    assert TOO_MUCH.n > 3
