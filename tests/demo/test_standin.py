import asyncio
import base64
import io
from collections.abc import AsyncIterator

import httpx
import openai
import pytest
from PIL import Image

from gateway.demo.faults import parse_fault
from gateway.demo.serving import Running, serving
from gateway.demo.standin import StandInSettings


@pytest.fixture
async def sweden() -> AsyncIterator[Running]:
    async with serving(StandInSettings(zone="SE", usage="tokens")) as running:
        yield running


@pytest.fixture
async def http(sweden: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sweden.base_url, timeout=20) as client:
        yield client


def picture_size(encoded: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(encoded)) as picture:
        picture.load()
        return picture.size


async def test_the_stock_client_gets_the_pictures_it_asks_for(sweden: Running) -> None:
    async with openai.AsyncOpenAI(base_url=sweden.base_url, api_key="any") as client:
        answer = await client.images.generate(
            model="m", prompt="a red fox", n=2, size="1536x1024", quality="high", output_format="webp"
        )

    assert answer.data is not None
    sizes = [picture_size(base64.b64decode(image.b64_json or "")) for image in answer.data]
    assert sizes == [(1536, 1024), (1536, 1024)]
    assert (answer.size, answer.quality, answer.output_format) == ("1536x1024", "high", "webp")
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0


async def test_a_url_answer_can_be_downloaded(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/images/generations", json={"prompt": "x", "size": "64x48", "response_format": "url"}
    )

    picture = await http.get(answer.json()["data"][0]["url"])

    assert picture_size(picture.content) == (64, 48)
    assert picture.headers["content-type"] == "image/png"


async def test_it_calls_itself_a_stand_in(http: httpx.AsyncClient) -> None:
    models = await http.get("/models")

    assert models.json()["data"][0]["owned_by"] == "ecogate-stand-in"
    assert "stand-in" in models.headers["server"]
    assert "nothing real is generated" in models.headers["x-standin"]
    assert models.headers["x-request-id"].startswith("standin-")


async def test_what_it_received_is_kept_for_tests(sweden: Running, http: httpx.AsyncClient) -> None:
    await http.post("/images/generations", json={"prompt": "x", "size": "16x16"}, headers={"X-Trace": "1"})

    received = sweden.standin.generations[0]

    assert received.json == {"prompt": "x", "size": "16x16"}
    assert received.headers["x-trace"] == "1"


async def test_an_unknown_url_is_404_in_openai_shape(http: httpx.AsyncClient) -> None:
    answer = await http.get("/nothing")

    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "invalid_request_error")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"prompt": 1}'])
async def test_a_bad_body_is_400(http: httpx.AsyncClient, content: bytes) -> None:
    assert (await http.post("/images/generations", content=content)).status_code == 400


async def test_a_wrong_credential_is_401() -> None:
    async with (
        serving(StandInSettings(zone="SE", api_key="good")) as running,
        httpx.AsyncClient(base_url=running.base_url) as client,
    ):
        body = {"prompt": "x", "size": "16x16"}
        refused = await client.post("/images/generations", json=body)
        accepted = await client.post(
            "/images/generations", json=body, headers={"authorization": "Bearer good"}
        )

    assert (refused.status_code, accepted.status_code) == (401, 200)


async def test_slowness_grows_with_images_pixels_and_steps() -> None:
    async with (
        serving(StandInSettings(zone="SE", seconds_per_image=0.4, steps=28)) as running,
        httpx.AsyncClient(base_url=running.base_url) as client,
    ):
        loop = asyncio.get_running_loop()
        started = loop.time()
        await client.post(
            "/images/generations",
            json={"prompt": "x", "n": 2, "size": "512x1024", "num_inference_steps": 14},
        )

    assert 0.2 <= loop.time() - started < 2


async def test_a_client_that_leaves_is_noticed() -> None:
    async with serving(StandInSettings(zone="SE", seconds_per_image=30)) as running:
        async with httpx.AsyncClient(base_url=running.base_url, timeout=0.3) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/images/generations", json={"prompt": "x"})
        await asyncio.sleep(0.1)

        assert running.standin.generations[0].client_left
        assert running.standin.in_flight == 0


@pytest.mark.parametrize(
    ("fault", "status", "code", "retry_after"),
    [
        ("rate_limit:7", 429, "rate_limit_exceeded", "7"),
        ("overload", 503, "overloaded", "1"),
        ("unavailable", 503, None, None),
        ("error", 500, None, None),
        ("content_policy", 400, "content_policy_violation", None),
        ("refused_key", 401, "invalid_api_key", None),
    ],
)
async def test_refusals_on_demand(
    http: httpx.AsyncClient, fault: str, status: int, code: str | None, retry_after: str | None
) -> None:
    by_field = await http.post("/images/generations", json={"prompt": "x", "standin_fault": fault})
    by_header = await http.post(
        "/images/generations", json={"prompt": "x"}, headers={"x-standin-fault": fault}
    )

    for answer in (by_field, by_header):
        assert (status, code) == (answer.status_code, answer.json()["error"]["code"])
        assert retry_after == answer.headers.get("retry-after")


async def test_a_fault_for_another_zone_does_nothing(http: httpx.AsyncClient) -> None:
    body = {"prompt": "x", "size": "16x16", "standin_fault": "overload@FR"}

    assert (await http.post("/images/generations", json=body)).status_code == 200


async def test_an_unknown_fault_is_400(http: httpx.AsyncClient) -> None:
    answer = await http.post("/images/generations", json={"prompt": "x", "standin_fault": "explode"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "standin_fault")


async def test_faults_can_be_laid_out_for_the_next_requests(sweden: Running, http: httpx.AsyncClient) -> None:
    sweden.standin.faults_to_come.append(parse_fault("overload"))
    body = {"prompt": "x", "size": "16x16"}

    statuses = [(await http.post("/images/generations", json=body)).status_code for _ in range(2)]

    assert statuses == [503, 200]


async def test_a_reset_ends_the_connection_before_the_first_byte(http: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ReadError):
        await http.post("/images/generations", json={"prompt": "x", "standin_fault": "reset"})


async def test_a_cut_answer_starts_well_and_does_not_end(http: httpx.AsyncClient) -> None:
    body = {"prompt": "x", "size": "64x64", "standin_fault": "cut"}
    got = bytearray()

    async def read(answer: httpx.Response) -> None:
        async for chunk in answer.aiter_raw():
            got.extend(chunk)

    async with http.stream("POST", "/images/generations", json=body) as answer:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await read(answer)

    assert answer.status_code == 200
    assert 0 < len(got) < int(answer.headers["content-length"])


@pytest.mark.parametrize("fault", ["stall:0.3", "stall_body:0.3"])
async def test_a_stalled_answer_comes_late_and_whole(http: httpx.AsyncClient, fault: str) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()

    answer = await http.post(
        "/images/generations", json={"prompt": "x", "size": "16x16", "standin_fault": fault}
    )

    assert loop.time() - started >= 0.3
    assert len(answer.json()["data"]) == 1


@pytest.mark.parametrize(("fault", "count"), [("images:0", 0), ("images:3", 3)])
async def test_fewer_or_more_images_than_asked_for(http: httpx.AsyncClient, fault: str, count: int) -> None:
    body = {"prompt": "x", "n": 2, "size": "16x16", "standin_fault": fault}

    assert count == len((await http.post("/images/generations", json=body)).json()["data"])


async def test_another_size_than_asked_for(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/images/generations", json={"prompt": "x", "size": "16x16", "standin_fault": "size:32"}
    )

    assert answer.json()["size"] == "32x32"
    assert picture_size(base64.b64decode(answer.json()["data"][0]["b64_json"])) == (32, 32)


async def test_a_gzip_answer_is_a_good_answer(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/images/generations", json={"prompt": "x", "size": "16x16", "standin_fault": "gzip"}
    )

    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()["data"]) == 1


async def test_a_huge_answer_still_holds_a_picture(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/images/generations", json={"prompt": "x", "size": "16x16", "standin_fault": "huge:3"}
    )

    picture = base64.b64decode(answer.json()["data"][0]["b64_json"])
    assert len(picture) == 3_000_000
    assert picture_size(picture) == (16, 16)


@pytest.mark.parametrize(
    ("fault", "media_type"),
    [("malformed", "application/json"), ("wrong_shape", "application/json"), ("html", "text/html")],
)
async def test_a_good_status_with_a_body_that_is_no_images_answer(
    http: httpx.AsyncClient, fault: str, media_type: str
) -> None:
    answer = await http.post("/images/generations", json={"prompt": "x", "standin_fault": fault})

    assert (200, media_type) == (answer.status_code, answer.headers["content-type"])
    assert b'"b64_json"' not in answer.content
