"""Key names: one hash tag per org, whatever the org is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store.keyspace import journal_key, org_key, refusals_key

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_plain_names_stay_readable() -> None:
    assert org_key("acme", "h", "01J.a-b_c") == "eg:{acme}:h:01J.a-b_c"
    assert (journal_key("acme"), refusals_key("acme")) == ("eg:{acme}:journal", "eg:{acme}:refusals")


def test_an_org_without_a_name_has_no_keys() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        org_key("", "meta")


@given(org=NAMES, part=NAMES)
def test_no_name_leaves_its_place(org: str, part: str) -> None:
    key = org_key(org, part)

    assert key.count("{") == key.count("}") == 1
    assert key.count(":") == 2


@given(first=st.tuples(NAMES, NAMES), second=st.tuples(NAMES, NAMES))
def test_different_names_make_different_keys(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert (org_key(*first) == org_key(*second)) == (first == second)
