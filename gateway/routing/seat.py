"""Who leads a group of deployments, from hour to hour.

The leader keeps its seat until a rival is better by the minimum gain: in one hour, or summed over the hours
since the two were last even. A rival that stays 3 % better against a minimum gain of 5 % thus leads from the
second hour on, and no change comes without a gain that was there to be had. Pure; knows costs per hour, not
where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class Seat:
    """The leader's place among the options, None before the first hour.

    `ahead` is by how much each option was better than the leader up to the hour before `hour`, `lately` with
    that hour's own part, as shares of the leader's cost in an hour.
    """

    place: int | None = None
    hour: int | None = None
    ahead: list[float] = field(default_factory=list)
    lately: list[float] = field(default_factory=list)

    def decide(self, hour: int, costs: Sequence[float], min_gain: float) -> int:
        """The leader at these costs (lower is better); asking again in the same hour counts the hour once."""
        best = min(range(len(costs)), key=costs.__getitem__)
        if self.place is None:
            return self.take(best)
        if hour != self.hour:
            self.ahead, self.hour = self.lately, hour
        before = self.ahead or [0.0] * len(costs)
        mine = costs[self.place]
        gains = [(mine - cost) / mine if mine > 0 else float(cost < mine) for cost in costs]
        self.lately = [max(0.0, sum(both)) for both in zip(before, gains, strict=True)]
        rivals = [at for at, gain in enumerate(gains) if gain > 0 and self.lately[at] >= min_gain]
        return self.take(min(rivals, key=costs.__getitem__)) if rivals else self.place

    def take(self, place: int) -> int:
        """Gives the seat to an option; what others were ahead of its predecessor is forgotten."""
        if place != self.place:
            self.place, self.ahead, self.lately = place, [], []
        return place
