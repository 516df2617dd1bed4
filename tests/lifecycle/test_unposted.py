"""What waits on disk comes back as it was, once, and never when it is too old."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from gateway.lifecycle.unposted import Posting, UnpostedFile, left_behind
from tests.budgets.ledger_builders import charge, counter

if TYPE_CHECKING:
    from pathlib import Path

SETTLED = Posting("acme", "h1", charge(3, 2, 1), '{"id":"r1"}', (counter("team", scope={"team": "a|b"}),))
RELEASED = Posting("acme", "h2", None, '{"id":"r2"}')


def lost(directory: Path, *postings: Posting) -> Path:
    """A file whose process is gone."""
    file = UnpostedFile.create(directory)
    file.write(postings)
    file.close()
    (path,) = directory.glob("*.jsonl")
    return path


def test_postings_of_a_dead_process_are_taken_over_as_they_were(tmp_path: Path) -> None:
    lost(tmp_path, SETTLED, RELEASED)

    (first, file), (second, _) = left_behind(tmp_path, within_s=60)

    assert (first.org, first.hold, first.charge, first.record) == (
        "acme",
        "h1",
        SETTLED.charge,
        SETTLED.record,
    )
    (back,), (before,) = first.counters, SETTLED.counters
    assert (back.id, back.budget, back.current, back.bound) == (
        before.id,
        before.budget,
        before.current,
        before.bound,
    )
    assert second == RELEASED
    file.clear()
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    file = UnpostedFile.create(tmp_path)
    file.write([SETTLED])

    assert left_behind(tmp_path, within_s=60) == []
    file.close()


def test_a_line_that_was_cut_is_left_out_and_the_others_are_kept(tmp_path: Path) -> None:
    path = lost(tmp_path, SETTLED, RELEASED)
    path.write_bytes(path.read_bytes()[:-5])

    ((posting, file),) = left_behind(tmp_path, within_s=60)

    assert posting.hold == "h1"
    file.close()


def test_what_is_too_old_is_set_aside(tmp_path: Path) -> None:
    path = lost(tmp_path, SETTLED)
    line = json.loads(path.read_text())
    line[-1] = int((time.time() - 100) * 1000)
    path.write_text(json.dumps(line) + "\n")

    assert left_behind(tmp_path, within_s=60) == []
    (kept,) = tmp_path.iterdir()
    assert kept.suffix == ".stale"
    assert "h1" in kept.read_text()


def test_a_file_with_nothing_in_it_leaves_nothing(tmp_path: Path) -> None:
    file = UnpostedFile.create(tmp_path)
    file.write([SETTLED])
    file.clear()
    file.close()

    assert list(tmp_path.iterdir()) == []
