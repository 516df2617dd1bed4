"""Every mutant fits the sources, so that `make mutants` never proves less than it says."""

from __future__ import annotations

from collections import Counter

from tests.mutants import MUTANTS, ROOT, fits


def test_every_mutant_fits_the_sources_and_names_tests_that_exist() -> None:
    assert [one.name for one in MUTANTS if not fits(one)] == []
    assert [name for one in MUTANTS for name in one.tests if not (ROOT / name).exists()] == []


def test_no_two_mutants_have_one_name() -> None:
    assert max(Counter(one.name for one in MUTANTS).values()) == 1
