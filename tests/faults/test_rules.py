"""Every test that docs/faults.md names for a rule exists."""

from __future__ import annotations

import re
from pathlib import Path

NAMED = re.compile(r"`([a-z_/]+\.py)::(test_[a-z0-9_]+)`")


def test_every_rule_has_its_test() -> None:
    named = NAMED.findall(Path("docs/faults.md").read_text(encoding="utf-8"))

    assert len(named) >= 30
    assert [
        f"{file}::{name}" for file, name in named if f"def {name}(" not in Path("tests", file).read_text()
    ] == []
