from __future__ import annotations

import pytest

from gateway.footprint.bands import Spread
from gateway.footprint.factors import load_factors
from gateway.footprint.known import Known, spread
from gateway.footprint.quantities import FactorUse


def test_a_term_without_a_downward_value_is_symmetric() -> None:
    assert spread(load_factors(), "flops") == Spread(0.22, 0.22)
    assert spread(load_factors(), "tokens") == Spread(0.75, 1.2)


def test_an_unknown_term_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        spread(load_factors(), "no such term")


def test_the_value_is_that_of_the_factor() -> None:
    assert Known(FactorUse("x", 3.0, "g", "a source"), Spread()).value == 3.0
