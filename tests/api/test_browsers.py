"""Web pages of other origins, and HEAD."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.api.browsers import cors
from tests.running import GENERATIONS, MODEL, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "https://studio.example"
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang",
}


async def test_a_configured_origin_may_ask_and_read_our_headers(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, cors_origins=f"{PAGE}, https://b.example") as gateway:
        nobody, member = await gateway.http(None), await gateway.member()

        preflight = await nobody.options(GENERATIONS, headers=PREFLIGHT)
        answer = await member.post(
            GENERATIONS, json={"model": MODEL, "prompt": "a", "size": "64x64"}, headers={"origin": PAGE}
        )
        other = await nobody.options(GENERATIONS, headers=PREFLIGHT | {"origin": "https://evil.example"})

    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == PAGE
    allowed = preflight.headers["access-control-allow-headers"]
    assert all(name in allowed for name in ("x-stainless-lang", "idempotency-key", "api-key"))
    assert answer.headers["access-control-allow-origin"] == PAGE
    exposed = answer.headers["access-control-expose-headers"]
    assert all(name in exposed for name in ("ecogate-energy-wh", "retry-after", "x-ratelimit-reset-images"))
    assert "access-control-allow-origin" not in other.headers


async def test_without_origins_no_page_may_do_anything(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        client = await gateway.member()

        answer = await client.get("/v1/models", headers={"origin": PAGE})
        preflight = await client.options(GENERATIONS, headers=PREFLIGHT)

    assert not [name for name in (*answer.headers, *preflight.headers) if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/v1/models", "/healthz"])
async def test_head_is_get_without_a_body(tmp_path: Path, redis_url: str, path: str) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        client = await gateway.member()

        head, get = await client.head(path), await client.get(path)

    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize("origins", ["", " , "])
def test_no_origins_are_no_rules(origins: str) -> None:
    assert cors(origins) is None
