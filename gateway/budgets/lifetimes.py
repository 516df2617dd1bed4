"""How long what the ledger keeps in Redis lives there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LONGEST_LEASE_S: Final = 3600
RETENTION_S: Final = 7200
"""Over ten times the longest upstream call, so no resend outlives its tombstone."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """`lease_s`: a hold that is not renewed; `retention_s`: the tombstone of one that ended."""

    lease_s: int
    retention_s: int = RETENTION_S

    @property
    def lease_ms(self) -> int:
        return self.lease_s * 1000

    @property
    def retention_ms(self) -> int:
        return self.retention_s * 1000

    @property
    def outlives_ms(self) -> int:
        """So long a hold lives beyond its lease, and a counter beyond its bucket."""
        return (LONGEST_LEASE_S + self.retention_s) * 1000
