"""How many failovers a process may still make: at most a tenth of its requests, after a small reserve.

When everything fails at once, sending everything twice makes it worse. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

SHARE = 0.1
RESERVE = 10.0


@dataclass(slots=True)
class RetryBudget:
    """Every request adds a tenth of a failover, up to the reserve, which is there from the start."""

    left: float = RESERVE

    def earn(self) -> None:
        """One more request."""
        self.left = min(RESERVE, self.left + SHARE)

    def take(self) -> bool:
        """Whether one more failover may be made now; if so, it counts."""
        if self.left < 1:
            return False
        self.left -= 1
        return True
