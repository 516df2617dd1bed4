"""Azure's paths and its header, in front of the same models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import pytest

from tests.images.test_edits import RED
from tests.running import MODEL, UPSTREAM_MODEL, Gateway, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    async with gateway_running(tmp_path, redis_url) as running:
        yield running


async def test_the_stock_azure_client_makes_and_edits_images(gateway: Gateway) -> None:
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=gateway.url,
        api_key=await gateway.key(),
        api_version="2025-04-01-preview",
        max_retries=0,
    ) as client:
        made = await client.images.generate(model=MODEL, prompt="a cat", size="64x64")
        edited = await client.images.edit(model=MODEL, image=RED, prompt="a cat", size="64x64")

    assert made.data
    assert edited.data
    assert [body["model"] for body in gateway.generations()] == [UPSTREAM_MODEL, UPSTREAM_MODEL]


async def test_a_body_without_a_model_gets_the_one_in_the_path(gateway: Gateway) -> None:
    client = await gateway.member()
    path = f"/openai/deployments/{MODEL}/images"

    made = await client.post(f"{path}/generations?api-version=1", json={"prompt": "a", "size": "64x64"})
    files = {"image": ("a.png", RED, "image/png")}
    edited = await client.post(f"{path}/edits", files=files, data={"prompt": "a", "size": "64x64"})

    assert (made.status_code, edited.status_code) == (200, 200)
    assert [body["model"] for body in gateway.generations()] == [UPSTREAM_MODEL, UPSTREAM_MODEL]
    assert all("?" not in one.path for one in gateway.standins["SE"].standin.generations)


async def test_the_stock_client_works_below_azures_own_v1(gateway: Gateway) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/openai/v1/", api_key=await gateway.key(), max_retries=0
    ) as client:
        assert (await client.images.generate(model=MODEL, prompt="a cat", size="64x64")).data
        assert [model.id async for model in client.models.list()] == [MODEL]


async def test_a_wrong_key_in_azures_header_is_a_401(gateway: Gateway) -> None:
    client = await gateway.http(None)

    answer = await client.get("/openai/models", headers={"api-key": "nonsense"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
