import io
from pathlib import Path

from rich.console import Console

from gateway.demo import report
from gateway.demo.gateway_process import RunningGateway
from gateway.demo.story import DESIGN, Delivered, Facts

HEADERS = {
    "ecogate-deployment": "stand-in-se",
    "ecogate-zone": "SE",
    "ecogate-energy-wh": "1.234",
    "ecogate-energy-wh-low": "0.9",
    "ecogate-energy-wh-high": "2.1",
    "ecogate-budget-remaining": "design-month;energy=997.720089",
}


def printed() -> Console:
    return Console(file=io.StringIO(), width=132, force_terminal=False)


def text(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_introduction_says_that_nothing_real_is_generated() -> None:
    console = printed()

    report.introduction(console)

    assert "Nothing real is" in text(console)
    assert "stand-in" in text(console)


def test_the_table_shows_figures_with_their_range_and_unknown_ones_by_that_word() -> None:
    console = printed()

    report.table(console, [Delivered(DESIGN[0], (Path("data/demo/fox-1.png"),), "r", HEADERS)], {})

    for expected in ("data/demo/fox-1.png", "stand-in-se", "1.23", "(0.9 to 2.1)", "unknown", "997.7 Wh"):
        assert expected in text(console)
    assert "no error.eco came back" in text(console)


def test_the_refusal_is_told_with_its_amounts() -> None:
    console = printed()
    eco = {"policy": "postcards-month", "scope": {"team": "[red]"}, "limit": 3, "requested": 4}

    report.table(console, [], {"code": "eco_budget_exceeded", "eco": eco})

    told = "code eco_budget_exceeded, policy postcards-month, scope team [red], limit 3, requested 4"
    assert told in text(console)


def test_each_fact_that_did_not_hold_is_named() -> None:
    console, facts = printed(), Facts()
    facts.expect("[bold] markup is text", holds=False)
    facts.expect("a good one", holds=True)

    report.facts(console, facts)

    assert "1 of 2 checks held" in text(console)
    assert "not so: [bold] markup is text" in text(console)


def test_the_addresses_are_whole_lines_that_can_be_copied() -> None:
    console = printed()

    report.addresses(
        console, RunningGateway("http://127.0.0.1:1", Path("g.log")), reader="r" * 60, designer="d" * 60
    )

    assert f"Authorization: Bearer {'r' * 60}' 'http://127.0.0.1:1/eco/v1/usage?group_by=zone'" in text(
        console
    )
