"""The routes that show what routing sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.running import gateway_running

if TYPE_CHECKING:
    from pathlib import Path


async def test_without_signals_the_grid_is_known_by_the_year(redis_url: str, tmp_path: Path) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        member = await gateway.member()
        signals = (await member.get("/eco/v1/signals")).json()
        listed = (await member.get("/eco/v1/deployments")).json()["data"]

    assert signals == {"data": [], "kind": "average-lifecycle", "problems": {}}
    assert [one["zone"] for one in listed] == ["SE", "PL"]
    assert listed[0]["places"] == ["eu", "se"]
    assert listed[0]["intensity"]["quality"] == "yearly"
    assert not {"base_url", "api_key"} & set(listed[0])


async def test_a_stranger_sees_neither(redis_url: str, tmp_path: Path) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        stranger = await gateway.http(None)

        for path in ("/eco/v1/signals", "/eco/v1/deployments"):
            assert (await stranger.get(path)).status_code == 401
