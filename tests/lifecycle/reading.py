"""What the eco side says about requests that were made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx


async def budgets_of(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """The caller's budgets by dimension."""
    answer = await client.get("/eco/v1/budgets")
    assert answer.status_code == 200, answer.text
    return {row["dimension"]: row for row in answer.json()["data"]}


async def recorded(client: httpx.AsyncClient, request_id: str) -> dict[str, Any]:
    """The request as the journal's consumer wrote it into SQL."""
    for _ in range(100):
        answer = await client.get(f"/eco/v1/requests/{request_id}")
        if answer.status_code == 200:
            record: dict[str, Any] = answer.json()
            return record
        await asyncio.sleep(0.05)
    raise AssertionError(f"request {request_id} was never recorded")
