from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.usage.entries import Amounts, Unreadable, read_entry
from tests.usage.journals import fields, record

GOOD = {name.encode(): value.encode() for name, value in fields(record(id="req_1")).items()}


def test_an_entry_is_read_with_all_its_amounts() -> None:
    entry = read_entry("acme", "journal", "1-0", GOOD)

    assert (entry.central.energy_uwh, entry.high.energy_uwh) == (2_000_000, 4_000_000)
    assert (entry.request_id, entry.kind, len(entry.postings)) == ("req_1", "commit", 1)


@pytest.mark.parametrize("name", [name.decode() for name in GOOD])
def test_every_field_is_needed(name: str) -> None:
    rest = {key: value for key, value in GOOD.items() if key != name.encode()}

    with pytest.raises(Unreadable, match=name):
        read_entry("acme", "journal", "1-0", rest)


@given(st.sampled_from(sorted(GOOD)), st.binary(max_size=60))
def test_no_bytes_in_a_field_make_the_reader_fail_otherwise(name: bytes, value: bytes) -> None:
    try:
        read_entry("acme", "journal", "1-0", {**GOOD, name: value})
    except Unreadable as error:
        assert len(value) < 8 or repr(value)[2:-1] not in str(error)


def test_amounts_of_a_late_correction_may_be_negative() -> None:
    late = {**GOOD, b"kind": b"late", b"central": b"-1 -2 -3 0 -4 0"}

    assert read_entry("acme", "journal", "1-0", late).central == Amounts(-1, -2, -3, 0, -4, 0)
