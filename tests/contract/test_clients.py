"""Every client does with the gateway what it does with OpenAI."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from gateway.demo.faults import parse_fault
from gateway.demo.standin import StandInSettings
from tests.contract.behind import COMPLETED, PARTIAL, behind
from tests.contract.driving import CLIENTS, drive, output
from tests.images.test_edits import RED
from tests.running import MODEL, UPSTREAM_MODEL, Gateway, budget, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.contract.scripted import Exchange

OPENAI = ("openai-python", "openai-python-1", "openai-node")
ASK = {"model": MODEL, "prompt": "a cat", "size": "64x64"}
IMAGES = 9


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    zones = {"SE": StandInSettings(zone="SE", usage="tokens")}
    limits = {"images": IMAGES}
    async with gateway_running(tmp_path, redis_url, zones=zones, budgets=[budget(limits=limits)]) as running:
        yield running


async def used(gateway: Gateway, key: str) -> int:
    rows = (await (await gateway.http(key)).get("/eco/v1/budgets")).json()["data"]
    return int(next(row["used"] for row in rows if row["dimension"] == "images"))


@pytest.mark.parametrize("client", CLIENTS)
async def test_any_client_pays_for_the_images_that_it_gets(gateway: Gateway, client: str) -> None:
    """Points 1, 5 to 7 and 31: any client, whatever it adds or splits, pays for two images."""
    key = await gateway.key()

    report = await drive(client, "generate", gateway, key, MODEL)

    assert report == {"images": 2}
    assert await used(gateway, key) == 2
    assert {body["model"] for body in gateway.generations()} == {UPSTREAM_MODEL}
    assert len(gateway.generations()) == (2 if client == "ai-sdk" else 1)


@pytest.mark.parametrize("client", CLIENTS)
async def test_the_files_of_any_client_arrive_and_are_charged(gateway: Gateway, client: str) -> None:
    """Points 19 to 21: files and fields in every client's own order."""
    key = await gateway.key()

    report = await drive(client, "edit", gateway, key, MODEL)

    assert report["images"] == 2
    assert await used(gateway, key) == 2
    received = gateway.standins["SE"].standin.generations[0]
    names = [one.name for one in received.files]
    assert names.count("image[]") == 2
    assert ("mask" in names) is (client in OPENAI)


@pytest.mark.parametrize("client", OPENAI)
@pytest.mark.parametrize(
    ("operation", "kind"), [("stream", "image_generation"), ("edit-stream", "image_edit")]
)
async def test_every_event_of_a_stream_arrives_and_is_charged(
    gateway: Gateway, client: str, operation: str, kind: str
) -> None:
    """Points 47, 49 and 51: every event arrives, and the last one is the bill."""
    key = await gateway.key()

    report = await drive(client, operation, gateway, key, MODEL)

    assert report == {"events": [f"{kind}.partial_image", f"{kind}.completed"]}
    assert await used(gateway, key) == 1


@pytest.mark.parametrize("client", OPENAI)
async def test_any_client_can_walk_the_list_of_models(gateway: Gateway, client: str) -> None:
    """Point 76: the list is one that clients can walk."""
    assert await drive(client, "models", gateway, await gateway.key(), MODEL) == {"models": [MODEL]}


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_refusal_is_asked_for_once(tmp_path: Path, redis_url: str, client: str) -> None:
    """Points 61 and 63: no client repeats a 402, and each one can say what it was."""
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits={"images": 0})]) as gateway:
        key = await gateway.key()

        report = await drive(client, "generate", gateway, key, MODEL)

        assert report["status"] == 402
        assert client == "litellm" or report["code"] == "eco_request_too_large"
        metrics = (await gateway.admin.get("/metrics")).text
        refused = next(line for line in metrics.splitlines() if 'code="eco_request_too_large"' in line)
        # The AI SDK splits two images into two requests of its own.
        assert float(refused.split()[-1]) == (2 if client == "ai-sdk" else 1)
        assert gateway.generations() == []


@pytest.mark.parametrize("client", [*CLIENTS, "curl"])
async def test_a_client_that_leaves_is_charged_once_and_the_service_hears_of_it(
    gateway: Gateway, client: str
) -> None:
    """Points 56 and 57: by closing a stream after its first picture, or by giving up a plain call."""
    key, standin = await gateway.key(), gateway.standins["SE"].standin
    streams = client in OPENAI
    standin.faults_to_come.append(parse_fault("stream_stall:2" if streams else "stall:20"))

    if client == "curl":
        await output([
            "sh", "-c", 'curl -sS -m 1 "$@" || test $? = 28', "curl", f"{gateway.url}/v1/images/generations",
            "-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json",
            "-d", json.dumps(ASK),
        ])  # fmt: skip
    else:
        report = await drive(client, "leave", gateway, key, MODEL)
        assert report == ({"events": ["image_generation.partial_image"]} if streams else {"left": True})

    async with asyncio.timeout(5):
        while not standin.generations[0].client_left or await used(gateway, key) != 1:
            await asyncio.sleep(0.02)
    assert len(standin.generations) == 1


@pytest.mark.parametrize("client", OPENAI)
async def test_heartbeats_disturb_no_client(tmp_path: Path, redis_url: str, client: str) -> None:
    """Point 53: not even where the service numbers its events, which once made a client fail."""

    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        for number, piece in enumerate((PARTIAL, COMPLETED)):
            await asyncio.sleep(0.5)
            await exchange.chunk(b"id: %d\n" % number + piece)
        await asyncio.sleep(0.5)
        await exchange.chunk(b"")

    async with behind(tmp_path, redis_url, script, stream_heartbeat_s=0.1) as here:
        report = await drive(client, "stream", here.gateway, here.key, MODEL)

        assert report == {"events": ["image_generation.partial_image", "image_generation.completed"]}


@pytest.mark.parametrize("client", OPENAI)
async def test_a_wrong_key_is_a_401(gateway: Gateway, client: str) -> None:
    """Point 62."""
    report = await drive(client, "generate", gateway, "nonsense", MODEL)

    assert (report["status"], report["code"]) == (401, "invalid_api_key")
    assert report["request_id"].startswith("req_")


@pytest.mark.parametrize("client", OPENAI)
async def test_a_wrong_model_is_a_404(gateway: Gateway, client: str) -> None:
    """Point 73."""
    report = await drive(client, "generate", gateway, await gateway.key(), "nope")

    assert (report["status"], report["code"]) == (404, "model_not_found")
    assert report["request_id"].startswith("req_")


async def test_curl_makes_edits_and_lists_and_is_refused_once(gateway: Gateway, tmp_path: Path) -> None:
    """Points 14 and 15: chunked JSON, and a form that waits for 100 Continue."""
    key = await gateway.key()
    picture = tmp_path / "large.png"
    picture.write_bytes(RED + b"\0" * 2_000_000)
    curl = ["curl", "-sS", "-H", f"Authorization: Bearer {key}"]
    body = json.dumps({"model": MODEL, "prompt": "a cat", "size": "64x64"})

    made = await output([
        *curl, f"{gateway.url}/v1/images/generations", "-d", body,
        "-H", "Content-Type: application/json", "-H", "Transfer-Encoding: chunked",
    ])  # fmt: skip
    edited = await output([
        *curl, f"{gateway.url}/v1/images/edits", "-F", f"image=@{picture};type=image/png",
        "-F", f"model={MODEL}", "-F", "prompt=a cat", "-F", "size=64x64", "-H", "Expect: 100-continue",
    ])  # fmt: skip
    streamed = await output([
        *curl, "-N", f"{gateway.url}/v1/images/generations", "-H", "Content-Type: application/json",
        "-d", json.dumps({**json.loads(body), "stream": True}),
    ])  # fmt: skip

    listed = await output([*curl, f"{gateway.url}/v1/models"])
    edit_stream = await output([
        *curl, "-N", f"{gateway.url}/v1/images/edits", "-F", f"image=@{picture};type=image/png",
        "-F", f"model={MODEL}", "-F", "prompt=a cat", "-F", "size=64x64", "-F", "stream=true",
    ])  # fmt: skip
    refused = await output([
        *curl, "-w", "%{http_code}", f"{gateway.url}/v1/images/generations", "-d",
        json.dumps({**json.loads(body), "n": 10}), "-H", "Content-Type: application/json",
        "--retry", "2", "--retry-delay", "0",
    ])  # fmt: skip

    assert [one["id"] for one in json.loads(listed)["data"]] == [MODEL]
    assert edit_stream.startswith("event: image_edit.completed\ndata: {")
    assert refused.endswith("402")
    assert refused.count('"error"') == 1
    assert len(json.loads(made)["data"]) == 1
    assert len(json.loads(edited)["data"]) == 1
    assert streamed.startswith("event: image_generation.completed\ndata: {")
    assert await used(gateway, key) == 4
