"""Limits of requests as clients read them: OpenAI's headers, and its 429 for a key that has to wait.

Refuses to know how requests are counted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gateway.errors import RateLimited

if TYPE_CHECKING:
    from gateway.budgets.rates import Standing

LIMIT_HEADERS = {
    "x-ratelimit-limit-requests": "Requests per minute of the key, where they are limited",
    "x-ratelimit-remaining-requests": "How many more would have passed when this one was counted",
    "x-ratelimit-reset-requests": "After which time without requests all would, as `250ms` or `12.5s`",
}
MS_PER_S = 1000


def limit_headers(standing: Standing | None) -> dict[str, str]:
    """How the caller's key stands; nothing where its requests are not limited or cannot be counted."""
    if standing is None:
        return {}
    values = (str(standing.limit), str(standing.remaining), _duration(standing.reset_ms))
    return dict(zip(LIMIT_HEADERS, values, strict=True))


def refused(standing: Standing) -> RateLimited:
    """The answer to a request that has to wait; whole seconds, the last one begun."""
    return RateLimited(
        f"Rate limit reached for this API key: {standing.limit} requests per minute."
        f" Please try again in {_duration(standing.wait_ms)}.",
        headers={"retry-after": str(math.ceil(standing.wait_ms / MS_PER_S))},
    )


def _duration(ms: int) -> str:
    """As OpenAI writes them."""
    return f"{ms}ms" if ms < MS_PER_S else f"{ms / MS_PER_S:g}s"
