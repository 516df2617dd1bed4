"""The demo's course: keys, pictures, one refusal, the table, the checks, the addresses, in this order.

Everything it needs is running when it starts. Refuses to know how that was started.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import openai

from gateway.demo import report
from gateway.demo.gateway_process import log_tail
from gateway.demo.story import (
    DESIGN,
    LIGHTHOUSE,
    POSTCARDS,
    TOO_MUCH,
    Ask,
    Delivered,
    Facts,
    Guest,
    ask_for,
    ask_too_much,
    check_books,
    check_pages,
    guest,
    issue_key,
    talk_for,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.demo.gateway_process import RunningGateway
    from gateway.demo.run import Demo
    from gateway.demo.serving import Running


async def walk(demo: Demo, gateway: RunningGateway, standins: list[Running], admin_key: str) -> bool:
    """Whether every step could be taken and every check held; tells what happens on the way."""
    facts = Facts()
    async with contextlib.AsyncExitStack() as stack:

        async def enter(key: str) -> Guest:
            caller = guest(gateway.url, key)
            stack.push_async_callback(caller.close)
            return caller

        try:
            admin = await enter(admin_key)
            ada = await enter(await issue_key(admin, team="design", user="ada", role="member"))
            bo = await enter(await issue_key(admin, team="postcards", user="bo", role="member"))
            delivered = [await _made(demo, ask_for, ada, ask, facts) for ask in DESIGN]
            delivered.append(await _made(demo, talk_for, ada, LIGHTHOUSE, facts))
            delivered.append(await _made(demo, ask_for, bo, POSTCARDS, facts))
            refusal = await _refuse(demo, bo, standins, facts)
            report.table(demo.console, delivered, refusal)
            await check_books(admin, delivered, facts)
            await check_pages(admin, facts)
            reader = await issue_key(admin, team=None, user="reader", role="org_admin")
        except (openai.APIError, httpx.HTTPError, TimeoutError) as failure:
            report.failure(demo.console, failure, log_tail(gateway.log.parent))
            return False
    report.facts(demo.console, facts)
    report.addresses(demo.console, gateway, reader=reader, designer=ada.key)
    return not facts.failed


async def _made(
    demo: Demo,
    make: Callable[[Guest, Ask, Path, Facts], Awaitable[Delivered]],
    caller: Guest,
    ask: Ask,
    facts: Facts,
) -> Delivered:
    with demo.console.status(f"{ask.n} x {ask.size}: {ask.prompt}"):
        delivered = await make(caller, ask, demo.pictures, facts)
    zone = delivered.headers.get("ecogate-zone")
    demo.tell(f"{ask.n} x {ask.size} for {ask.team}, {ask.prompt!r}, from {zone}: {ask.why}")
    return delivered


async def _refuse(demo: Demo, caller: Guest, standins: list[Running], facts: Facts) -> dict[str, Any]:
    before = _generations(standins)
    refusal = await ask_too_much(caller, facts)
    facts.expect("the refused request reached no image service", before == _generations(standins))
    demo.tell(f"{TOO_MUCH.n} more for {TOO_MUCH.team}: {refusal.get('message')}")
    return refusal


def _generations(standins: list[Running]) -> int:
    return sum(len(running.standin.generations) for running in standins)
