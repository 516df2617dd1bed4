import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.demo.faults import Fault, FaultName, UnknownFault, parse_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("overload", Fault(FaultName.OVERLOAD, 1)),
        ("rate_limit:7", Fault(FaultName.RATE_LIMIT, 7)),
        ("stall:2.5@SE", Fault(FaultName.STALL, 2.5, "SE")),
        ("reset@US-MIDA-PJM", Fault(FaultName.RESET, 0, "US-MIDA-PJM")),
        ("images:0", Fault(FaultName.IMAGES, 0)),
    ],
)
def test_a_fault_is_a_name_an_amount_and_a_zone(text: str, fault: Fault) -> None:
    assert fault == parse_fault(text)


@pytest.mark.parametrize("text", ["", "explode", "stall:", "stall:x", "overload@", "OVERLOAD", "stall:1 "])
def test_anything_else_is_refused_with_the_names_there_are(text: str) -> None:
    with pytest.raises(UnknownFault, match="known: rate_limit, overload"):
        parse_fault(text)


@given(st.sampled_from(FaultName), st.integers(0, 10_000), st.sampled_from(["SE", "FR", None]))
def test_every_fault_that_can_be_written_is_read_back(name: FaultName, amount: int, zone: str | None) -> None:
    text = f"{name}:{amount}" + (f"@{zone}" if zone else "")

    assert Fault(name, amount, zone) == parse_fault(text)


def test_a_fault_with_a_zone_strikes_only_there() -> None:
    fault = parse_fault("overload@SE")

    assert fault.strikes("SE")
    assert not fault.strikes("FR")
    assert parse_fault("overload").strikes("FR")
