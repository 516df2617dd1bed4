"""How a hold ended, once: entries of two servers that posted the same ending become one.

A hold ends by a commit, an orphan or a release, or it expires and is corrected by one late entry. A replica
that took over may lack an ending that is counted here already; its gateway posts it again there, under
another entry id and perhaps by another kind. Pure; refuses to know where entries are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.usage.entries import NOTHING, Amounts

if TYPE_CHECKING:
    from gateway.usage.entries import Entry

FINAL: Final = frozenset({"commit", "orphan", "release"})


@dataclass(frozen=True, slots=True)
class Ended:
    """What is counted for a hold so far: the kinds of its entries and the sums of their amounts."""

    kinds: frozenset[str] = frozenset()
    central: Amounts = NOTHING
    high: Amounts = NOTHING

    def after(self, entry: Entry) -> Ended:
        return Ended(self.kinds | {entry.kind}, self.central.plus(entry.central), self.high.plus(entry.high))

    def counts(self, entry: Entry) -> Entry | None:
        """The entry as it counts beside what is known: as it is, as a late difference, or not at all."""
        if not self.kinds:
            return entry
        if entry.kind == "late":
            return entry if self.kinds == {"expire"} else None
        if entry.kind == "expire":
            return entry if self.kinds == {"late"} else None
        if entry.kind in FINAL:
            if self.kinds != {"expire"}:
                return None
            return replace(
                entry, kind="late", central=entry.central.less(self.central), high=entry.high.less(self.high)
            )
        return entry
