"""An ending counts once, by whichever entries of whichever servers it arrives."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.usage.endings import FINAL, Ended
from gateway.usage.entries import NOTHING, Amounts, Entry
from tests.usage.journals import record

RECORD = record()
RESERVED, ACTUAL = Amounts(10, 20, 30, 2, 0, 1), Amounts(7, 21, 25, 2, 40, 0)


def entry(kind: str, amounts: Amounts, entry_id: str = "1-1") -> Entry:
    return Entry("acme", "journal", entry_id, kind, "h1", 1, amounts, amounts, (), RECORD, "{}")


EXPIRE = entry("expire", RESERVED)
LATE = entry("late", ACTUAL.less(RESERVED))
COMMIT = entry("commit", ACTUAL)


def counted(*entries: Entry) -> Ended:
    ended = Ended()
    for one in entries:
        counts = ended.counts(one)
        if counts is not None:
            ended = ended.after(counts)
    return ended


@pytest.mark.parametrize(
    ("entries", "total"),
    [
        ((COMMIT,), ACTUAL),
        ((COMMIT, COMMIT), ACTUAL),
        ((COMMIT, replace(COMMIT, kind="orphan")), ACTUAL),
        ((COMMIT, EXPIRE), ACTUAL),
        ((COMMIT, EXPIRE, LATE), ACTUAL),
        ((EXPIRE,), RESERVED),
        ((EXPIRE, EXPIRE), RESERVED),
        ((EXPIRE, LATE), ACTUAL),
        ((LATE, EXPIRE), ACTUAL),
        ((EXPIRE, LATE, LATE), ACTUAL),
        ((EXPIRE, COMMIT), ACTUAL),
        ((EXPIRE, COMMIT, LATE), ACTUAL),
        ((EXPIRE, LATE, COMMIT), ACTUAL),
        ((EXPIRE, entry("release", NOTHING)), NOTHING),
    ],
)
def test_the_sum_is_what_the_last_word_on_the_hold_says(entries: tuple[Entry, ...], total: Amounts) -> None:
    assert (counted(*entries).central, counted(*entries).high) == (total, total)


def test_what_corrects_an_expiry_stands_as_a_late_entry() -> None:
    late = Ended().after(EXPIRE).counts(COMMIT)

    assert late is not None
    assert (late.kind, late.central) == ("late", Amounts(-3, 1, -5, 0, 40, -1))


@given(st.lists(st.sampled_from([COMMIT, EXPIRE, LATE]), min_size=1, max_size=8))
def test_any_entries_of_any_servers_add_up_to_one_ending(entries: list[Entry]) -> None:
    ended = counted(*entries)

    assert len(ended.kinds & FINAL) <= 1
    possible = {ACTUAL, RESERVED} | (
        {LATE.central} if EXPIRE not in entries and COMMIT not in entries else set()
    )
    if LATE not in entries or entries.index(LATE) > 0:
        assert ended.central in possible


@given(st.lists(st.sampled_from([COMMIT, EXPIRE, LATE]), min_size=1, max_size=8))
def test_what_was_said_before_changes_nothing(entries: list[Entry]) -> None:
    assert counted(*entries, *entries) == counted(*entries)
