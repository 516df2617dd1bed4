"""The gateway's command, with a SIGKILL of its own process at one named step of a request.

`python -m tests.faults.crashing serve`, with `CRASH_AT` naming the step. The calls to ledger and upstream are
real; only the moment of death is chosen.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from httpx_aiohttp import AiohttpTransport

from gateway.api.responses import ImageAnswer
from gateway.budgets.ledger import Ledger
from gateway.upstreams.client import Upstream

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = {
    "reserve": (Ledger, "reserve"),
    "mark": (Ledger, "dispatch"),
    "upstream": (Upstream, "send"),
    "first_byte": (AiohttpTransport, "handle_async_request"),
    "reply": (ImageAnswer, "__call__"),
    "settle": (Ledger, "settle"),
}


def die_at(step: str) -> None:
    """`before_<call>` or `after_<call>`: the process dies there, at once."""
    when, _, name = step.partition("_")
    owner, method = STEPS[name]
    real: Callable[..., Any] = getattr(owner, method)

    async def doomed(*args: Any, **keywords: Any) -> Any:
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await real(*args, **keywords)
        os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, method, doomed)


if __name__ == "__main__":
    die_at(os.environ["CRASH_AT"])
    from gateway.cli import app

    app()
