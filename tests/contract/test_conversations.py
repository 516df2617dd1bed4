"""Responses and chats that make images, as the clients of people ask for them."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import pytest

from gateway.demo.conversations import WORDS
from tests.api.test_conversations import ASKS, PAINTER, PAINTS, TALKER, TALKS, running
from tests.contract.driving import drive, output
from tests.contract.test_clients import used
from tests.running import budget

if TYPE_CHECKING:
    from pathlib import Path

OPENAI = ("openai-python", "openai-python-1", "openai-node")
CALL = "response.image_generation_call"
KINDS = {"respond": (TALKS, TALKER), "chat": (PAINTS, PAINTER)}
ASKING = [*itertools.product([*OPENAI, "litellm"], KINDS), ("ai-sdk", "respond")]
"""The AI SDK can neither ask a chat for pictures nor read them."""


@pytest.mark.parametrize(("client", "operation"), ASKING)
async def test_a_conversation_brings_its_picture_and_its_bill(
    tmp_path: Path, redis_url: str, client: str, operation: str
) -> None:
    """Points 39 and 58."""
    deployment, model = KINDS[operation]
    async with running(tmp_path, redis_url, deployment, budget(limits={"images": 9})) as gateway:
        key = await gateway.key()

        report = await drive(client, operation, gateway, key, model)

        assert report == {"images": 1} | ({} if client == "litellm" else {"text": WORDS})
        assert await used(gateway, key) == 1
        assert [body["model"] for body in gateway.generations()] == [model]


@pytest.mark.parametrize("client", [*OPENAI, "litellm"])
async def test_a_streamed_response_arrives_in_order(tmp_path: Path, redis_url: str, client: str) -> None:
    """Point 58."""
    async with running(tmp_path, redis_url, TALKS, budget()) as gateway:
        key = await gateway.key()

        events = (await drive(client, "respond-stream", gateway, key, TALKER))["events"]

        drawn = [event.removeprefix(CALL) for event in events if event.startswith(CALL)]
        assert drawn == [".in_progress", ".generating", ".partial_image", ".completed"]
        assert (events[0], events[-1]) == ("response.created", "response.completed")
        assert await used(gateway, key) == 1


async def test_the_ai_sdk_streams_a_response_and_shows_its_pictures(tmp_path: Path, redis_url: str) -> None:
    """Point 58: a partial picture and the whole one, of one call, which is charged once."""
    async with running(tmp_path, redis_url, TALKS, budget()) as gateway:
        key = await gateway.key()

        report = await drive("ai-sdk", "respond-stream", gateway, key, TALKER)

        assert report == {"images": 1, "results": 2, "text": WORDS}
        assert await used(gateway, key) == 1


@pytest.mark.parametrize("client", [*OPENAI, "litellm"])
async def test_a_streamed_chat_brings_its_picture_once(tmp_path: Path, redis_url: str, client: str) -> None:
    """Point 59."""
    async with running(tmp_path, redis_url, PAINTS, budget()) as gateway:
        key = await gateway.key()

        report = await drive(client, "chat-stream", gateway, key, PAINTER)

        assert report == {"images": 1, "text": WORDS}
        assert await used(gateway, key) == 1


@pytest.mark.parametrize(("client", "operation"), ASKING)
async def test_a_refusal_is_asked_for_once(
    tmp_path: Path, redis_url: str, client: str, operation: str
) -> None:
    """Point 63: no client repeats a 402."""
    deployment, model = KINDS[operation]
    async with running(tmp_path, redis_url, deployment, budget(limits={"images": 0})) as gateway:
        report = await drive(client, operation, gateway, await gateway.key(), model)

        assert report["status"] == 402
        metrics = (await gateway.admin.get("/metrics")).text
        refused = next(line for line in metrics.splitlines() if 'code="eco_request_too_large"' in line)
        assert float(refused.split()[-1]) == 1
        assert gateway.generations() == []


@pytest.mark.parametrize("kind", ASKS)
async def test_curl_asks_whole_and_streamed_and_is_refused_once(
    tmp_path: Path, redis_url: str, kind: str
) -> None:
    """Points 58, 59 and 63: nothing but curl between a shell and a picture."""
    deployment, path, body = ASKS[kind]
    room = 2 if kind == "responses" else 5  # a chat does not bound its pictures: four are held
    async with running(tmp_path, redis_url, deployment, budget(limits={"images": room})) as gateway:
        key = await gateway.key()
        curl = ["curl", "-sS", "-N", f"{gateway.url}{path}", "-H", f"Authorization: Bearer {key}"]
        curl += ["-H", "Content-Type: application/json", "-d"]

        whole = json.loads(await output([*curl, json.dumps(body)]))
        streamed = await output([*curl, json.dumps({**body, "stream": True})])
        refused = await output([
            *curl, json.dumps(body), "-w", "%{http_code}", "--retry", "2", "--retry-delay", "0",
        ])  # fmt: skip

        assert WORDS in json.dumps(whole)
        if kind == "responses":
            assert streamed.startswith("event: response.created\ndata: {")
            assert "event: response.completed\n" in streamed
        else:
            assert streamed.startswith("data: {")
            assert streamed.endswith("data: [DONE]\n\n")
        assert await used(gateway, key) == 2
        assert refused.endswith("402")
        assert refused.count('"error"') == 1
        assert len(gateway.generations()) == 2
