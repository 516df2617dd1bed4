"""The pages as a person meets them: drawn in a real browser, and silent towards every other host."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import urlsplit

import pytest

from tests.running import ADMIN_KEY, GENERATIONS, MODEL, Gateway, budget, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Browser, Page, Request

Scheme = Literal["light", "dark"]


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as running:
        yield running


@dataclass
class Visit:
    """A page with everything that it asked for and complained about."""

    page: Page
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("request", self._asked)
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        self.page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text) if message.type in {"error", "warning"} else None
            ),
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"}:
            self.hosts.add(parts.hostname or parts.scheme)


async def visit(chromium: Browser, url: str, scheme: Scheme) -> Visit:
    context = await chromium.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    seen = Visit(await context.new_page())
    seen.watch()
    await seen.page.goto(url)
    return seen


@pytest.mark.parametrize("scheme", get_args(Scheme))
async def test_the_documentation_is_drawn_without_another_host(
    gateway: Gateway, chromium: Browser, scheme: Scheme, tmp_path: Path
) -> None:
    seen = await visit(chromium, f"{gateway.url}/docs", scheme)

    operation = seen.page.locator("#operations-images-generate")
    await operation.wait_for()
    await operation.locator(".opblock-summary-control").click()
    await operation.locator(".responses-table").first.wait_for()
    await seen.page.screenshot(path=tmp_path / f"docs-{scheme}.png", full_page=True)

    assert await seen.page.locator(".opblock").count() >= 14
    assert seen.hosts == {"127.0.0.1"}
    assert seen.complaints == []


@pytest.mark.parametrize("scheme", get_args(Scheme))
async def test_the_dashboard_shows_a_months_figures_to_whoever_types_a_key(
    gateway: Gateway, chromium: Browser, scheme: Scheme, tmp_path: Path
) -> None:
    member = await gateway.member()
    for n in (2, 1, 9):
        await member.post(GENERATIONS, json={"model": MODEL, "prompt": "a fox", "n": n, "size": "512x512"})
    async with asyncio.timeout(10):
        while len((await member.get("/eco/v1/requests")).json()["data"]) < 3:
            await asyncio.sleep(0.02)
    seen = await visit(chromium, f"{gateway.url}/dashboard", scheme)

    await seen.page.get_by_label("API key").fill(ADMIN_KEY)
    await seen.page.get_by_role("button", name="Show").click()
    await seen.page.locator("#status", has_text="As of").wait_for()
    await seen.page.screenshot(path=tmp_path / f"dashboard-{scheme}.png", full_page=True)
    await seen.page.get_by_role("button", name="Details of request").first.click()
    await seen.page.locator("#details-json", has_text='"footprint"').wait_for()
    await seen.page.screenshot(path=tmp_path / f"details-{scheme}.png")

    figures = await seen.page.locator("#figures").inner_text()
    assert "design-month" in figures
    assert "deny" in figures
    assert seen.hosts == {"127.0.0.1"}
    assert seen.complaints == []


async def test_a_dashboard_that_loses_its_gateway_says_of_when_its_figures_are(
    gateway: Gateway, chromium: Browser
) -> None:
    seen = await visit(chromium, f"{gateway.url}/dashboard", "light")
    await seen.page.get_by_label("API key").fill(ADMIN_KEY)
    await seen.page.get_by_role("button", name="Show").click()
    await seen.page.locator("#status", has_text="As of").wait_for()
    shown_at = (await seen.page.locator("#status").inner_text()).removeprefix("As of ").partition(";")[0]

    await seen.page.route("**/eco/v1/**", lambda route: route.abort())
    await seen.page.get_by_role("button", name="Refresh").click()
    await seen.page.locator("#status.error").wait_for()

    status = await seen.page.locator("#status").inner_text()
    assert status == f"The gateway cannot be reached. The figures are as of {shown_at}."
    assert await seen.page.locator("#figures").is_visible()
