"""What clients of the OpenAI side meet at the door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.running import GENERATIONS, MODEL, Gateway, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    async with gateway_running(tmp_path, redis_url) as running:
        yield running


def assert_openai_error(answer: Any, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-request-id"].startswith("req_")
    error = answer.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert error["code"] == code


async def test_unknown_parameters_reach_the_service_in_their_order(gateway: Gateway) -> None:
    client = await gateway.openai()

    await client.images.generate(**ASK, extra_body={"num_inference_steps": 4, "seed": 7, "novelty": None})

    (body,) = gateway.generations()
    assert list(body.items())[-3:] == [("num_inference_steps", 4), ("seed", 7), ("novelty", None)]


async def test_a_url_answer_is_passed_on_untouched(gateway: Gateway) -> None:
    client = await gateway.openai()

    answer = await client.images.generate(**ASK, response_format="url")

    assert answer.data
    assert (answer.data[0].url or "").startswith(gateway.standins["SE"].base_url.removesuffix("/v1"))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"model":"starter-pack","prompt":"a","n":1,"n":10}', "invalid_json"),
        (b'{"model":"starter-pack","prompt":"a","n":NaN}', "invalid_json"),
        (b'{"model":"starter-pack","prompt":"\xff"}', "invalid_json"),
        (b'{"model":"starter-pack","prompt":"a","n":11}', "invalid_value"),
        (b'{"model":"starter-pack","prompt":"a","n":0}', "invalid_value"),
        (b'{"model":"starter-pack","prompt":"a","n":"2"}', "invalid_type"),
        (b'{"model":"starter-pack","prompt":"a","stream":"true"}', "invalid_type"),
        (b'{"model":"starter-pack"}', "missing_required_parameter"),
        (b'{"prompt":"a"}', "missing_required_parameter"),
        (b"[" * 100_000, "invalid_json"),
        (b"", "invalid_json"),
    ],
    ids=lambda value: repr(value[:40]),
)
async def test_a_malformed_body_is_a_400_and_nothing_is_sent(
    gateway: Gateway, body: bytes, code: str
) -> None:
    client = await gateway.member()

    answer = await client.post(GENERATIONS, content=body, headers={"content-type": "application/json"})

    assert_openai_error(answer, 400, code)
    assert gateway.generations() == []


async def test_an_unknown_model_is_a_404_that_the_stock_client_understands(gateway: Gateway) -> None:
    client = await gateway.openai()

    with pytest.raises(openai.NotFoundError) as missing:
        await client.images.generate(model="nope", prompt="a")

    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("key", [None, "nonsense", "egk_" + "a" * 40, "x" * 4000])
async def test_without_a_good_key_there_is_a_401(gateway: Gateway, key: str | None) -> None:
    client = await gateway.http(key)

    for answer in (
        await client.post(GENERATIONS, json=ASK),
        await client.get("/v1/models"),
        await client.post("/eco/v1/estimate", json=ASK),
    ):
        assert_openai_error(answer, 401, "invalid_api_key")
    assert gateway.generations() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1"),
        ("POST", "/openai/images/generations"),
        ("POST", "/openai/deployments/d/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/organization/keys"),
        ("POST", "/v1/v1/images/generations"),
        ("GET", "/nowhere"),
    ],
)
async def test_what_is_not_metered_does_not_exist(gateway: Gateway, method: str, path: str) -> None:
    client = await gateway.member()

    assert_openai_error(await client.request(method, path), 404, "unknown_url")


async def test_the_wrong_method_is_a_405_with_the_right_one(gateway: Gateway) -> None:
    answer = await (await gateway.member()).get(GENERATIONS)

    assert_openai_error(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_another_kind_of_body_is_a_415(gateway: Gateway, headers: dict[str, str]) -> None:
    client = await gateway.member()

    answer = await client.post(GENERATIONS, content=b'{"model":"m","prompt":"p"}', headers=headers)

    assert_openai_error(answer, 415, "unsupported_media_type")


async def test_a_body_over_the_limit_is_a_413(gateway: Gateway) -> None:
    client = await gateway.member()

    answer = await client.post(GENERATIONS, json=ASK | {"padding": "x" * 1_100_000})

    assert_openai_error(answer, 413, "request_too_large")


async def test_models_are_listed_and_found_by_names_with_slashes(tmp_path: Path, redis_url: str) -> None:
    name = "black-forest-labs/FLUX.1-dev"
    async with gateway_running(tmp_path, redis_url, deployment={"model": name}) as gateway:
        client = await gateway.openai()

        assert [model.id async for model in client.models.list()] == [name]
        assert (await client.models.retrieve(name)).id == name
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("black-forest-labs/FLUX.9")


async def test_a_client_that_leaves_in_the_middle_of_its_body_reaches_nobody(gateway: Gateway) -> None:
    key = await gateway.key()
    host, port = gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    complete = b'{"model":"starter-pack","prompt":"a"}'
    writer.write(
        f"POST {GENERATIONS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(complete) + 50}\r\n\r\n".encode()
        + complete
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.2)

    assert gateway.generations() == []


async def test_the_answer_has_no_header_of_the_service_that_is_not_on_the_list(gateway: Gateway) -> None:
    client = await gateway.member()

    answer = await client.post(GENERATIONS, json=ASK)

    ours = {name for name in answer.headers if not name.startswith(("ecogate-", "x-ratelimit-"))}
    assert ours == {"date", "content-type", "content-length", "x-request-id"}
    assert answer.headers["ecogate-upstream-request-id"] != answer.headers["x-request-id"]
