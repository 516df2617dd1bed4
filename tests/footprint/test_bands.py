from __future__ import annotations

import pytest

from gateway.footprint.bands import Spread, band, combine, total


def test_terms_add_in_squares_on_each_side() -> None:
    assert combine(Spread(3, 6), Spread(4, 8)) == Spread(5, 10)


def test_a_band_holds_1_645_standard_deviations() -> None:
    shown = band(1.1, Spread(up=0.75, down=1.2))

    assert shown.central == 1.1
    assert shown.low == pytest.approx(0.15, abs=0.005)
    assert shown.high == pytest.approx(3.8, abs=0.05)


def test_a_sum_is_surer_than_its_surest_part_alone_would_allow() -> None:
    common, own = Spread(0.1, 0.1), Spread(0.5, 0.5)
    parts = total(common, (1.0, own), (1.0, own))
    alone = total(common, (2.0, own))

    assert parts.central == alone.central == 2.0
    assert parts.high < alone.high
    assert parts.low > alone.low


def test_nothing_plus_nothing_is_nothing() -> None:
    assert total(Spread(1, 1), (0.0, Spread(1, 1))).high == 0.0
