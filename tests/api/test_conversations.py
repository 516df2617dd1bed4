"""Responses and chats that make images: what the client gets, and what is held and charged for it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from PIL import Image

from gateway.demo.conversations import CHAT, CHAT_IMAGE_TOKENS, RESPONSES, TEXT_TOKENS, WORDS
from gateway.demo.faults import parse_fault
from gateway.demo.standin import StandInSettings
from tests.lifecycle.reading import budgets_of, recorded
from tests.running import Gateway, budget, gateway_running

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    import httpx

TALKER, PAINTER = "gpt-4o", "gemini-2.5-flash-image"
ELSEWHERE: dict[str, Any] = {"upstream_model": None, "hardware": {}, "defaults": {}}
TALKS = {**ELSEWHERE, "model": [TALKER, "gpt-5"], "image_model": "gpt-image-1.5"}
PAINTS = {**ELSEWHERE, "model": PAINTER, "dialect": "openrouter"}
TOOL = {"type": "image_generation", "size": "256x256", "quality": "low"}
RESPOND: dict[str, Any] = {"model": TALKER, "input": "draw a cat", "tools": [TOOL], "max_tool_calls": 1}
SAY: dict[str, Any] = {"model": TALKER, "input": "say something"}
DRAW: dict[str, Any] = {
    "model": PAINTER,
    "messages": [{"role": "user", "content": "draw a cat"}],
    "modalities": ["image", "text"],
}
ASKS = {"responses": (TALKS, RESPONSES, RESPOND), "chat": (PAINTS, CHAT, DRAW)}
BOTH = pytest.mark.parametrize("route", ASKS)
MWH_PER_TEXT_TOKEN, WH_PER_TEXT, MWH_PER_IMAGE_TOKEN = 1.136, 0.079, 1.1
IMAGE_TOKENS = 17
"""Of the stand-in, for one picture of 256 pixels square and low quality."""
TEXT_WH = WH_PER_TEXT + TEXT_TOKENS * MWH_PER_TEXT_TOKEN / 1000


def running(
    directory: Path,
    redis_url: str,
    deployment: dict[str, Any],
    *budgets: dict[str, Any],
    zones: tuple[str, ...] = ("SE",),
    seconds: float = 0.1,
    **fields: Any,
) -> AbstractAsyncContextManager[Gateway]:
    standins = {zone: StandInSettings(zone=zone, usage="tokens", seconds_per_image=seconds) for zone in zones}
    return gateway_running(
        directory, redis_url, zones=standins, budgets=list(budgets), deployment=deployment | fields
    )


def strike(gateway: Gateway, fault: str) -> None:
    gateway.standins["SE"].standin.faults_to_come.append(parse_fault(fault))


async def spent(client: httpx.AsyncClient) -> tuple[int, int]:
    images = (await budgets_of(client))["images"]
    return images["used"], images["held"]


def size_of(picture: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(picture.rpartition(",")[2]))).size


def energy(answer: httpx.Response | Any) -> float:
    return float(answer.headers["ecogate-energy-wh"])


async def test_a_response_is_charged_its_image_tokens_and_its_text(tmp_path: Path, redis_url: str) -> None:
    async with running(tmp_path, redis_url, TALKS, budget()) as gateway:
        key = await gateway.key()
        client, http = await gateway.openai(key), await gateway.http(key)

        answer = await client.responses.with_raw_response.create(**RESPOND)

        response = answer.parse()
        assert response.output_text == WORDS
        calls = [item for item in response.output if item.type == "image_generation_call"]
        assert [size_of(call.result or "") for call in calls] == [(256, 256)]
        assert response.tool_usage.image_gen.output_tokens == IMAGE_TOKENS
        wh = IMAGE_TOKENS * MWH_PER_IMAGE_TOKEN / 1000 + TEXT_WH
        assert energy(answer) == pytest.approx(wh, rel=1e-4)
        assert answer.headers["ecogate-basis"] == "settled"
        record = await recorded(http, answer.headers["x-request-id"])
        assert (record["route"], record["outcome"], record["images"]) == ("responses", "delivered", 1)
        assert record["usage_basis"] == "reported"
        assert record["usage"]["image_gen"]["output_tokens"] == IMAGE_TOKENS
        assert record["usage"]["text_model"]["output_tokens"] == TEXT_TOKENS
        assert "draw a cat" not in json.dumps(record)
        assert await spent(http) == (1, 0)


async def test_a_chat_is_charged_its_image_tokens_and_its_text(tmp_path: Path, redis_url: str) -> None:
    async with running(tmp_path, redis_url, PAINTS, budget()) as gateway:
        key = await gateway.key()
        client, http = await gateway.openai(key), await gateway.http(key)

        answer = await client.chat.completions.with_raw_response.create(**DRAW)

        message = answer.parse().choices[0].message
        assert [size_of(one["image_url"]["url"]) for one in message.images] == [(1024, 1024)]
        assert energy(answer) == pytest.approx(
            (CHAT_IMAGE_TOKENS + TEXT_TOKENS) * MWH_PER_IMAGE_TOKEN / 1000, rel=1e-4
        )
        record = await recorded(http, answer.headers["x-request-id"])
        assert (record["route"], record["images"], record["usage_basis"]) == ("chat", 1, "reported")
        assert record["usage"]["cost"] == pytest.approx(0.039)
        assert await spent(http) == (1, 0)


@BOTH
async def test_the_body_and_the_answer_are_those_of_the_two_ends(
    tmp_path: Path, redis_url: str, route: str
) -> None:
    deployment, path, ask = ASKS[route]
    odd = {**ask, "metadata": {"z": "1", "a": None}, "a_field_of_tomorrow": [1.5, None]}
    async with running(tmp_path, redis_url, deployment) as gateway:
        client = await gateway.member()

        answer = await client.post(path, json=odd)

        assert answer.status_code == 200, answer.text
        assert "ecogate" not in answer.json()
        assert answer.json()["model"] == ask["model"]
        received = gateway.standins["SE"].standin.received[-1]
        assert list(json.loads(received.body).items()) == list(odd.items())


@BOTH
async def test_pictures_are_counted_where_no_tokens_are_named(
    tmp_path: Path, redis_url: str, route: str
) -> None:
    deployment, path, ask = ASKS[route]
    async with running(tmp_path, redis_url, deployment, budget()) as gateway:
        client = await gateway.member()
        strike(gateway, "no_tool_usage")

        answer = await client.post(path, json=ask)

        record = await recorded(client, answer.headers["x-request-id"])
        assert (record["images"], record["usage_basis"]) == (1, "estimated")
        assert await spent(client) == (1, 0)
        if route == "responses":
            # 272 is the published count for low quality, which covers pictures up to that size.
            wh = 272 * MWH_PER_IMAGE_TOKEN / 1000 + TEXT_WH
        else:
            # The picture is counted, and the tokens are text, since nobody says that most of them drew it.
            wh = (2 * CHAT_IMAGE_TOKENS + TEXT_TOKENS) * MWH_PER_IMAGE_TOKEN / 1000
        assert energy(answer) == pytest.approx(wh, rel=1e-4)


@BOTH
async def test_more_images_than_were_held_are_charged(tmp_path: Path, redis_url: str, route: str) -> None:
    deployment, path, ask = ASKS[route]
    async with running(tmp_path, redis_url, deployment, budget(limits={"images": 9})) as gateway:
        client = await gateway.member()
        strike(gateway, "images:6")

        assert (await client.post(path, json=ask)).status_code == 200
        assert await spent(client) == (6, 0)


@pytest.mark.parametrize(
    ("route", "change", "images"),
    [
        ("responses", {}, 1),
        ("responses", {"max_tool_calls": 3}, 3),
        ("responses", {"max_tool_calls": None}, 5),
        ("responses", {"max_tool_calls": 2, "tools": [{**TOOL, "n": 4}]}, 8),
        ("chat", {}, 5),
        ("chat", {"n": 2}, 10),
    ],
)
async def test_what_a_body_can_cause_is_held(
    tmp_path: Path, redis_url: str, route: str, change: dict[str, Any], images: int
) -> None:
    deployment, path, ask = ASKS[route]
    body = {**ask, **change}
    limits = {"images": images - 1}
    async with running(
        tmp_path, redis_url, deployment, budget(limits=limits), max_images_per_response=5
    ) as gateway:
        client = await gateway.member()

        dry = (await client.post("/eco/v1/estimate", json=body)).json()
        answer = await client.post(path, json=body)

        assert dry["hold"]["central"]["images"] == images
        assert dry["verdict"] == "deny"
        assert answer.status_code == 402
        assert answer.json()["error"]["eco"]["requested"] == images
        assert answer.headers["x-should-retry"] == "false"
        assert gateway.generations() == []


async def test_text_without_a_factor_is_said_and_not_counted_as_nothing(
    tmp_path: Path, redis_url: str
) -> None:
    async with running(tmp_path, redis_url, TALKS, budget()) as gateway:
        client = await gateway.member()

        answer = await client.post(RESPONSES, json=RESPOND | {"model": "gpt-5"})

        assert "unpriced_text" in answer.headers["ecogate-warning"]
        assert energy(answer) == pytest.approx(IMAGE_TOKENS * MWH_PER_IMAGE_TOKEN / 1000, rel=1e-4)
        record = await recorded(client, answer.headers["x-request-id"])
        assert any(warning.startswith("unpriced_text") for warning in record["warnings"])


async def test_an_answer_without_pictures_is_charged_its_text_or_what_was_held(
    tmp_path: Path, redis_url: str
) -> None:
    async with running(tmp_path, redis_url, TALKS, budget()) as gateway:
        client = await gateway.member()
        strike(gateway, "images:0")
        strike(gateway, "images:0")

        priced = await client.post(RESPONSES, json=RESPOND)
        unpriced = await client.post(RESPONSES, json=RESPOND | {"model": "gpt-5"})

        assert energy(priced) == pytest.approx(TEXT_WH, rel=1e-4)
        record = await recorded(client, priced.headers["x-request-id"])
        assert (record["outcome"], record["images"], record["usage_basis"]) == ("delivered", 0, "reported")
        record = await recorded(client, unpriced.headers["x-request-id"])
        assert (record["outcome"], record["images"], record["basis"]) == ("no_images", 1, "estimate")
        assert await spent(client) == (1, 0)


@BOTH
async def test_text_alone_is_refused_unless_it_is_allowed(tmp_path: Path, redis_url: str, route: str) -> None:
    deployment, path, ask = ASKS[route]
    text = {name: value for name, value in ask.items() if name not in {"tools", "modalities"}}
    async with running(tmp_path, redis_url, deployment) as gateway:
        answer = await (await gateway.member()).post(path, json=text)

        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "text_not_offered"
        assert answer.json()["error"]["param"] == ("tools" if route == "responses" else "modalities")
        assert gateway.generations() == []


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_text_that_is_allowed_is_charged_by_its_tokens(
    tmp_path: Path, redis_url: str, route: str, stream: bool
) -> None:
    deployment, path, ask = ASKS[route]
    text = {name: value for name, value in ask.items() if name not in {"tools", "modalities"}}
    text |= {"stream": stream}
    if route == "chat" and stream:
        text["stream_options"] = {"include_usage": True}
    wh = TEXT_WH if route == "responses" else TEXT_TOKENS * MWH_PER_IMAGE_TOKEN / 1000
    limits = {"images": 1, "energy": "1 kWh"}
    async with running(tmp_path, redis_url, deployment, budget(limits=limits), text="allow") as gateway:
        client = await gateway.member()

        answer = await client.post(path, json=text)

        assert answer.status_code == 200, answer.text
        record = await recorded(client, answer.headers["x-request-id"])
        assert (record["images"], record["images_requested"], record["usage_basis"]) == (0, 0, "reported")
        assert record["footprint"]["energy_wh"]["central"] == pytest.approx(wh, rel=1e-4)
        budgets = await budgets_of(client)
        assert budgets["energy"]["used"] == pytest.approx(wh, rel=1e-3)
        assert (budgets["images"]["used"], budgets["images"]["held"]) == (0, 0)


async def test_text_that_nobody_can_price_is_refused(tmp_path: Path, redis_url: str) -> None:
    async with running(tmp_path, redis_url, TALKS, text="allow") as gateway:
        client = await gateway.member()

        answer = await client.post(RESPONSES, json=SAY | {"model": "gpt-5"})

        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "text_not_priced")
        assert gateway.generations() == []


async def test_a_refusal_says_how_often_the_tool_could_be_used(tmp_path: Path, redis_url: str) -> None:
    body = {name: value for name, value in RESPOND.items() if name != "max_tool_calls"}
    async with running(tmp_path, redis_url, TALKS, budget(limits={"images": 3})) as gateway:
        client = await gateway.member()

        refused = await client.post(RESPONSES, json=body)
        found = refused.json()["error"]["eco"]["alternatives"]
        admitted = await client.post(RESPONSES, json=body | found[-1]["set"])

        assert refused.status_code == 402
        assert found[-1]["set"] == {"max_tool_calls": 3}
        assert found[-1]["requested"]["images"] == 3
        assert admitted.status_code == 200


@BOTH
async def test_the_footprint_goes_into_the_answer_when_asked_for(
    tmp_path: Path, redis_url: str, route: str
) -> None:
    deployment, path, ask = ASKS[route]
    async with running(tmp_path, redis_url, deployment) as gateway:
        client = await gateway.member()
        headers = {"ecogate-include": "footprint"}
        streamed = {**ask, "stream": True, "stream_options": {"include_usage": True}}

        answer = await client.post(path, json=ask, headers=headers)
        stream = await client.post(path, json=streamed, headers=headers)

        member = answer.json()["ecogate"]
        assert member["basis"] == "settled"
        assert member["footprint"]["energy_wh"]["central"] == pytest.approx(energy(answer), rel=1e-4)
        events = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: {")]
        carrying = [event for event in events if "ecogate" in event]
        assert carrying[-1] == events[-1]
        if route == "responses":
            assert [event["type"] for event in carrying] == ["response.completed"]
        assert carrying[-1]["ecogate"]["basis"] == "settled"
        wh = carrying[-1]["ecogate"]["footprint"]["energy_wh"]["central"]
        assert wh == pytest.approx(energy(answer), rel=1e-4)


@BOTH
async def test_a_stream_is_that_of_the_service_and_settles_by_what_came(
    tmp_path: Path, redis_url: str, route: str
) -> None:
    deployment, path, ask = ASKS[route]
    streamed = {**ask, "stream": True}
    if route == "responses":
        streamed["tools"] = [{**TOOL, "partial_images": 2}]
    async with running(tmp_path, redis_url, deployment, budget()) as gateway:
        client = await gateway.member()
        key = await gateway.key()

        through = await client.post(path, json=streamed)
        direct = await client.post(gateway.standins["SE"].base_url.removesuffix("/v1") + path, json=streamed)

        assert through.headers["content-type"].startswith("text/event-stream")
        assert through.headers["ecogate-basis"] == "estimate"
        assert [line[:40] for line in through.text.splitlines() if not line.startswith("data: {")] == [
            line[:40] for line in direct.text.splitlines() if not line.startswith("data: {")
        ]
        assert through.text.count("data: ") == direct.text.count("data: ")
        record = await recorded(client, through.headers["x-request-id"])
        assert (record["outcome"], record["images"], record["basis"]) == ("delivered", 1, "settled")
        assert await spent(client) == (1, 0)
        sdk = await gateway.openai(key)
        if route == "responses":
            kinds = [event.type async for event in await sdk.responses.create(**streamed)]
            assert kinds[-1] == "response.completed"
            assert kinds.count("response.image_generation_call.partial_image") == 2
        else:
            chunks = [chunk async for chunk in await sdk.chat.completions.create(**streamed)]
            images = [chunk for chunk in chunks if getattr(chunk.choices[0].delta, "images", None)]
            assert len(images) == 1


async def test_a_chat_stream_without_usage_counts_its_pictures(tmp_path: Path, redis_url: str) -> None:
    """The client did not ask for the usage, so nobody does: bodies stay the client's."""
    async with running(tmp_path, redis_url, PAINTS, budget()) as gateway:
        client = await gateway.member()

        answer = await client.post(CHAT, json=DRAW | {"stream": True})

        assert "stream_options" not in gateway.generations()[0]
        record = await recorded(client, answer.headers["x-request-id"])
        assert (record["images"], record["usage_basis"]) == (1, "estimated")


@BOTH
@pytest.mark.parametrize("fault", ["stream_reset:1", "stream_end:2", "stream_cut:2"])
async def test_a_stream_that_breaks_off_is_an_error_and_charged_as_held(
    tmp_path: Path, redis_url: str, route: str, fault: str
) -> None:
    deployment, path, ask = ASKS[route]
    async with running(tmp_path, redis_url, deployment, budget(), max_images_per_response=1) as gateway:
        key = await gateway.key()
        client, http = await gateway.openai(key), await gateway.http(key)
        strike(gateway, fault)
        asking = client.responses if route == "responses" else client.chat.completions

        with pytest.raises(openai.APIError):
            async for _ in await asking.create(**ask, stream=True):
                pass

        assert path in [one.path for one in gateway.standins["SE"].standin.received]
        for _ in range(100):
            if (await spent(http))[1] == 0:
                break
            await asyncio.sleep(0.05)
        assert await spent(http) == (1, 0)


@BOTH
async def test_a_client_that_leaves_is_charged_and_its_service_is_let_go(
    tmp_path: Path, redis_url: str, route: str
) -> None:
    deployment, path, ask = ASKS[route]
    async with running(tmp_path, redis_url, deployment, budget(), max_images_per_response=1) as gateway:
        client = await gateway.member()
        strike(gateway, "stream_stall:1")

        async with client.stream("POST", path, json={**ask, "stream": True}) as answer:
            await anext(answer.aiter_bytes())

        for _ in range(100):
            if (await spent(client)) == (1, 0):
                break
            await asyncio.sleep(0.05)
        assert await spent(client) == (1, 0)
        assert gateway.standins["SE"].standin.received[-1].client_left


@BOTH
@pytest.mark.parametrize(("code", "charged"), [(429, 0), (502, 1)])
async def test_an_error_under_a_status_of_success_is_no_success(
    tmp_path: Path, redis_url: str, route: str, code: int, charged: int
) -> None:
    deployment, path, ask = ASKS[route]
    async with running(tmp_path, redis_url, deployment, budget(), max_images_per_response=1) as gateway:
        client = await gateway.member()
        strike(gateway, f"success_error:{code}")

        answer = await client.post(path, json=ask)

        assert (answer.status_code, answer.json()["error"]["code"]) == (200, code)
        assert await spent(client) == (charged, 0)


@BOTH
async def test_a_conversation_with_an_idempotency_key_is_had_once(
    tmp_path: Path, redis_url: str, route: str
) -> None:
    deployment, path, ask = ASKS[route]
    key = {"idempotency-key": "4711"}
    async with running(tmp_path, redis_url, deployment, budget(), max_images_per_response=1) as gateway:
        client = await gateway.member()
        first = await client.post(path, json=ask, headers=key)
        again = await client.post(path, json=ask, headers=key)
        other = await client.post(path, json=ask | {"user": "somebody else"}, headers=key)

        assert first.status_code == 200, first.text
        codes = [answer.json()["error"]["code"] for answer in (again, other)]
        assert codes == ["idempotency_completed", "idempotency_key_conflict"]
        assert again.json()["error"]["eco"]["request"] == first.headers["x-request-id"]
        assert await spent(client) == (1, 0)


async def test_fifty_at_once_never_overspend(tmp_path: Path, redis_url: str) -> None:
    """Each may make two images and makes one: 20 fit by what is held, and the rest by what was given back."""
    async with running(tmp_path, redis_url, TALKS, budget(limits={"images": 20}), seconds=1) as gateway:
        client = await gateway.member()
        body = RESPOND | {"max_tool_calls": 2}

        answers = await asyncio.gather(*(client.post(RESPONSES, json=body) for _ in range(50)))

        statuses = [answer.status_code for answer in answers]
        made = len(gateway.generations())
        assert statuses.count(200) == made
        assert 10 <= made <= 20
        assert {status for status in statuses if status != 200} <= {402, 429}
        assert await spent(client) == (made, 0)


@pytest.mark.parametrize("route", ["responses", "images.generate"])
async def test_a_policy_can_speak_of_one_route(tmp_path: Path, redis_url: str, route: str) -> None:
    strict = budget(match={"route": [route]}, limits={"images": 0})
    async with running(tmp_path, redis_url, TALKS, strict) as gateway:
        answer = await (await gateway.member()).post(RESPONSES, json=RESPOND)

        assert answer.status_code == (402 if route == "responses" else 200)


async def test_a_policy_makes_the_tool_of_a_response_lighter(tmp_path: Path, redis_url: str) -> None:
    ladder = budget(limits={"energy": "2 Wh"}, on_exceed=[{"downgrade": [{"quality": "low"}]}, "deny"])
    heavy = {"type": "image_generation", "size": "1024x1024", "quality": "high"}
    body = {**RESPOND, "tools": [heavy], "max_output_tokens": 100}
    async with running(tmp_path, redis_url, TALKS, ladder) as gateway:
        answer = await (await gateway.member()).post(RESPONSES, json=body)

        assert answer.status_code == 200, answer.text
        assert answer.headers["ecogate-downgraded"] == "quality=low"
        assert gateway.generations() == [{**body, "tools": [{**heavy, "quality": "low"}]}]


@pytest.mark.parametrize("reference", [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}])
async def test_what_one_provider_keeps_is_asked_of_one_deployment_only(
    tmp_path: Path, redis_url: str, reference: dict[str, str]
) -> None:
    async with running(tmp_path, redis_url, TALKS) as gateway:
        alone = await (await gateway.member()).post(RESPONSES, json=RESPOND | reference)
    async with running(tmp_path / "data", redis_url, TALKS, zones=("SE", "PL")) as gateway:
        among = await (await gateway.member()).post(RESPONSES, json=RESPOND | reference)

    assert alone.status_code == 200
    assert among.status_code == 400
    assert among.json()["error"]["param"] in reference


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/openai/v1/responses/resp_1/input_items"),
        ("POST", "/v1/responses/compact"),
        ("GET", "/v1/chat/completions/c_1"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/files"),
        ("GET", "/v1/videos/v_1"),
    ],
)
async def test_what_cannot_be_settled_is_refused_in_words(
    tmp_path: Path, redis_url: str, method: str, path: str
) -> None:
    async with running(tmp_path, redis_url, TALKS) as gateway:
        answer = await (await gateway.member()).request(method, path)

        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_offered"
        assert path not in answer.json()["error"]["message"]
        assert gateway.standins["SE"].standin.received == []


async def test_a_plain_image_server_is_not_asked_for_conversations(tmp_path: Path, redis_url: str) -> None:
    async with running(tmp_path, redis_url, TALKS, dialect="sglang") as gateway:
        answer = await (await gateway.member()).post(RESPONSES, json=RESPOND)

        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_route")


async def test_azures_paths_take_conversations_too(tmp_path: Path, redis_url: str) -> None:
    async with running(tmp_path, redis_url, TALKS, dialect="azure", image_deployment="painter-1") as gateway:
        key = await gateway.key()
        azure = openai.AsyncAzureOpenAI(
            azure_endpoint=gateway.url, api_key=key, api_version="2025-04-01-preview", max_retries=0
        )
        http = await gateway.http(key)

        response = await azure.responses.create(**RESPOND)
        below = await http.post("/openai/v1/responses", json=RESPOND)
        await azure.close()

        assert response.output_text == WORDS
        assert below.status_code == 200
        received = gateway.standins["SE"].standin.received[0]
        assert received.headers["x-ms-oai-image-generation-deployment"] == "painter-1"
    async with running(tmp_path / "data", redis_url, PAINTS) as gateway:
        azure = openai.AsyncAzureOpenAI(
            azure_endpoint=gateway.url, api_key=await gateway.key(), api_version="1", max_retries=0
        )

        completion = await azure.chat.completions.create(**DRAW)
        await azure.close()

        assert completion.choices[0].message.content == WORDS
