"""What of an answer reaches the client: points 31 to 46, 64 to 72, 75 to 91, 96 and 99 of the table."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import signal
import zipfile
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from tests.contract.behind import ASK, COMPLETED, PARTIAL, SECRET, b64, behind, give_images, images, picture
from tests.lifecycle.reading import recorded
from tests.processes import gateway_process
from tests.running import GENERATIONS, MODEL, budget

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.scripted import Exchange

CHAT = {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12, "image_count": 1}
USAGES = [
    ({"usage": CHAT}, "prompt_tokens"),
    ({"usage": {"cost_in_usd_ticks": 200000}}, "cost_in_usd_ticks"),
    ({"usage": {"output_tokens": 7}, "svg_usage": {"model": "m", "output_tokens": 5}}, "svg_usage"),
]


@pytest.mark.parametrize(("fields", "kept"), USAGES)
async def test_usage_of_any_family_is_stored_as_numbers(
    tmp_path: Path, redis_url: str, fields: dict[str, Any], kept: str
) -> None:
    """35: the answer goes on as it came; the record has the numbers."""
    body = images(**fields)

    async def script(exchange: Exchange) -> None:
        await exchange.answer(body)

    async with behind(tmp_path, redis_url, script) as here:
        answer = await here.post()

        assert answer.content == body
        assert kept in (await recorded(here.client, answer.headers["x-request-id"]))["usage"]


async def test_time_that_an_own_server_measured_is_what_is_charged(tmp_path: Path, redis_url: str) -> None:
    """36: twice the seconds are twice the energy, whatever the estimate was."""
    answers = [
        images(inference_time_s=2.0),
        images(metrics={"stage_durations": {"P.forward": 4.0, "P.diffuse": 3.9, "stage_0_gen_ms": 4100.0}}),
    ]

    async def script(exchange: Exchange) -> None:
        await exchange.answer(answers[exchange.json["seed"]])

    async with behind(tmp_path, redis_url, script) as here:
        two, four = [float((await here.post(seed=one)).headers["ecogate-energy-wh"]) for one in (0, 1)]

        assert four == pytest.approx(2 * two, rel=1e-4)


async def test_an_url_and_a_number_of_images_that_was_not_asked_for(
    tmp_path: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """37 and 38: nothing is fetched or rewritten; what came is charged; no log has the link."""
    links = [f"https://files.example/{number}.png?sig=very-secret-{number}" for number in range(3)]
    body = json.dumps({"created": 1, "data": [{"url": link} for link in links]}).encode()

    async def script(exchange: Exchange) -> None:
        await exchange.answer(body)

    async with behind(tmp_path, redis_url, script, budgets=[budget()]) as here:
        answer = await here.post(n=2, response_format="url")

        assert answer.content == body
        assert await here.budgets() == (3, 0)
        record = await recorded(here.client, answer.headers["x-request-id"])
        assert "very-secret" not in caplog.text + json.dumps(record)


async def test_pictures_that_come_as_files_go_on_as_files(tmp_path: Path, redis_url: str) -> None:
    """40: a raw picture and an archive, with their names, counted."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(2):
            archive.writestr(f"{number}.png", picture())

    async def script(exchange: Exchange) -> None:
        several = exchange.json.get("n") == 2
        kind, body = ("application/zip", packed.getvalue()) if several else ("image/png", picture())
        await exchange.answer(body, content_type=kind, content_disposition='attachment; filename="out"')

    async with behind(tmp_path, redis_url, script, budgets=[budget()]) as here:
        one, two = await here.post(), await here.post(n=2)

        assert (one.headers["content-type"], one.content) == ("image/png", picture())
        assert (two.headers["content-type"], two.content) == ("application/zip", packed.getvalue())
        assert two.headers["content-disposition"] == 'attachment; filename="out"'
        assert await here.budgets() == (3, 0)


@pytest.mark.parametrize("frame", ["chunks", "length", "until it closes", "gzip"])
async def test_every_frame_of_the_service_becomes_one_that_fits(
    tmp_path: Path, redis_url: str, frame: str
) -> None:
    """41 to 43: no encoding that the bytes do not have, and always their length."""
    body = images()

    async def script(exchange: Exchange) -> None:
        if frame == "chunks":
            await exchange.begin_stream(content_type="application/json")
            await exchange.chunk(body[:7])
            await exchange.chunk(body[7:])
            await exchange.chunk(b"")
        elif frame == "gzip":
            await exchange.answer(gzip.compress(body), content_encoding="gzip")
        elif frame == "length":
            await exchange.answer(body)
        else:
            await exchange.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + body)
            exchange.writer.close()

    async with behind(tmp_path, redis_url, script) as here:
        answer = await here.post()

        assert answer.content == body
        assert answer.headers["content-length"] == str(len(body))
        assert {"content-encoding", "transfer-encoding"}.isdisjoint(answer.headers)


async def test_an_empty_success_is_an_error_and_charged_as_held(tmp_path: Path, redis_url: str) -> None:
    """45: 204 has no pictures; nobody knows whether work was done."""

    async def script(exchange: Exchange) -> None:
        if exchange.json.get("seed"):
            await exchange.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            await exchange.answer(b"")

    async with behind(tmp_path, redis_url, script, budgets=[budget()]) as here:
        answers = [await here.post(seed=one) for one in (0, 1)]

        assert [one.status_code for one in answers] == [502, 502]
        assert {one.json()["error"]["code"] for one in answers} == {"upstream_error"}
        assert await here.budgets() == (2, 0)


async def test_a_redirect_takes_the_credential_nowhere(tmp_path: Path, redis_url: str) -> None:
    """46."""

    async def elsewhere(exchange: Exchange) -> None:
        await exchange.answer(images())

    async with behind(tmp_path, redis_url, elsewhere) as other:
        target = other.service.base_url + "/images/generations"

        async def script(exchange: Exchange) -> None:
            await exchange.answer(b"", status="307 Temporary Redirect", location=target)

        (tmp_path / "two").mkdir()
        async with behind(tmp_path / "two", redis_url, script) as here:
            answer = await here.post()

        assert answer.status_code == 502
        assert target not in answer.text
        assert other.service.exchanges == []


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        ("500 Oops", ("application/json", b'{"detail": "GPU on fire"}'), "GPU on fire"),
        ("422 Bad", ("application/json", b'{"detail": [{"loc": ["n"]}]}'), "The image service refused"),
        ("500 Oops", ("text/plain", b"Internal Server Error"), "The image service refused"),
        ("400 Bad", ("application/json", b'{"error": "no such sampler"}'), "no such sampler"),
        ("502 Bad", ("text/html", b"<html>nginx</html>"), "answered 502"),
        ("400 Bad", ("application/json", b'{"error": {"message": "SECRET at BASE"}}'), "*** at ***"),
    ],
)
async def test_an_error_of_any_shape_is_told_in_openais(
    tmp_path: Path, redis_url: str, status: str, answer: tuple[str, bytes], message: str
) -> None:
    """67, 71 and 72: the status is kept, the words are where clients look, and nothing of ours is in them."""

    async def script(exchange: Exchange) -> None:
        base = dict(exchange.headers)["host"].partition(":")[0].encode()
        kind, body = answer
        sent = body.replace(b"SECRET", SECRET.encode()).replace(b"BASE", base)
        await exchange.answer(sent, status=status, content_type=kind)

    async with behind(tmp_path, redis_url, script) as here:
        client = await here.gateway.openai(here.key)
        with pytest.raises(openai.APIStatusError) as failure:
            await client.images.generate(**ASK)

        assert failure.value.status_code == int(status[:3])
        assert message in str(failure.value)
        assert str(failure.value.request_id).startswith("req_")
        assert SECRET not in str(failure.value)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        b"SSH-2.0-x\r\n",
        b"",
    ],
)
async def test_a_service_that_speaks_no_http_is_a_502_without_our_secrets(
    tmp_path: Path, redis_url: str, nonsense: bytes
) -> None:
    """72: no trace, no address, no key."""

    async def script(exchange: Exchange) -> None:
        await exchange.write(nonsense)
        exchange.writer.close()

    async with behind(tmp_path, redis_url, script, budgets=[budget()]) as here:
        answer = await here.post()

        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
        assert answer.headers["x-should-retry"] == "false"
        for ours in (SECRET, "127.0.0.1", "Traceback"):
            assert ours not in answer.text
        assert await here.budgets() == (1, 0)


async def test_a_wish_to_wait_is_passed_on_and_costs_nothing(tmp_path: Path, redis_url: str) -> None:
    """66: and a prompt that the service refuses by its policy is released with the service's own code."""
    refusal = {"message": "Your prompt was blocked.", "type": "image_generation_user_error", "param": None,
               "code": "moderation_blocked"}  # fmt: skip

    async def script(exchange: Exchange) -> None:
        if exchange.json["prompt"] == "bad":
            await exchange.answer(json.dumps({"error": refusal}).encode(), status="400 Bad Request")
        else:
            await exchange.answer(b"{}", status="429 Too Many Requests", retry_after="17")

    async with behind(tmp_path, redis_url, script, budgets=[budget()]) as here:
        blocked = await here.post(prompt="bad")
        busy = await here.post()

        assert (blocked.status_code, blocked.json()["error"]) == (400, blocked.json()["error"] | refusal)
        assert busy.status_code == 429
        # Spread a little, so that not everybody comes back at once.
        assert 13 <= int(busy.headers["retry-after"]) <= 21
        assert await here.budgets() == (0, 0)
        record = await recorded(here.client, blocked.headers["x-request-id"])
        assert (record["outcome"], record["charge"]["images"]) == ("rejected", 0)


async def test_of_the_services_headers_only_harmless_ones_come_back(tmp_path: Path, redis_url: str) -> None:
    """31, 89 and 91: figures yes; cookies, names of servers, rules for browsers and accounts no."""
    kept = {"openai-processing-ms": "12", "x-ratelimit-remaining-images": "4", "x-ms-region": "UK South"}
    dropped = {
        "set-cookie": "__cf_bm=1", "alt-svc": "h3", "server": "vllm", "x-powered-by": "x",
        "x-litellm-model-api-base": "http://10.0.0.1", "access-control-allow-origin": "*",
        "openai-organization": "us", "strict-transport-security": "max-age=1",
        "keep-alive": "timeout=9", "cf-ray": "y", "x-request-id": "theirs-1",
    }  # fmt: skip

    async def script(exchange: Exchange) -> None:
        await exchange.answer(images(), **kept, **dropped)

    async with behind(tmp_path, redis_url, script) as here:
        first, second = await here.post(), await here.post()

        assert first.content == images()
        assert {name: first.headers.get(name) for name in kept} == kept
        assert not {name for name in dropped if name != "x-request-id"} & set(first.headers)
        assert first.headers["ecogate-upstream-request-id"] == "theirs-1"
        assert first.headers["x-request-id"].startswith("req_")
        assert second.status_code == 200
        assert all("cookie" not in dict(one.headers) for one in here.service.exchanges)


async def test_a_connection_is_kept_after_an_error_and_dropped_after_a_cut(
    tmp_path: Path, redis_url: str
) -> None:
    """99: one connection for good and bad answers; a stream that its client left takes its own along."""

    async def script(exchange: Exchange) -> None:
        if exchange.json.get("stream"):
            await exchange.begin_stream()
            await exchange.chunk(PARTIAL)
            assert await exchange.left()
        elif exchange.json["prompt"] == "bad":
            await exchange.answer(b'{"error": {"message": "no"}}', status="400 Bad Request")
        else:
            await exchange.answer(images())

    async with behind(tmp_path, redis_url, script, budgets=[budget()]) as here:
        for prompt in ("good", "bad", "good"):
            await here.post(prompt=prompt)
        assert here.service.connections == 1
        async with here.client.stream("POST", GENERATIONS, json={**ASK, "stream": True}) as answer:
            await anext(answer.aiter_raw())
        async with asyncio.timeout(10):
            while (await here.budgets())[1]:
                await asyncio.sleep(0.02)

        assert (await here.post()).status_code == 200
        assert here.service.connections == 2


async def test_paths_that_are_not_metered_are_404_and_others_405_with_what_they_allow(
    tmp_path: Path, redis_url: str
) -> None:
    """75, 78 to 81: batches, files and videos included; HEAD has headers only."""
    unmetered = ["/v1/files", "/v1/uploads", "/v1/batches", "/v1/videos", "/v1/embeddings",
                 "/v1/organization/usage", "/v1/content_provenance_checks", "/v1"]  # fmt: skip
    batch = {"endpoint": "/v1/images/generations", "input_file_id": "f", "completion_window": "24h"}
    async with behind(tmp_path, redis_url, give_images) as here:
        answers = [await here.client.post(path, json=batch) for path in unmetered]
        wrong = await here.client.get(GENERATIONS)
        heads = [await here.client.head(path) for path in ("/v1/models", "/healthz")]
        files = {"image": ("a.png", picture(), "image/png")}
        variation = await here.client.post("/v1/images/variations", data={"model": MODEL}, files=files)

        assert {one.status_code for one in answers} == {404}
        codes = {path: one.json()["error"]["code"] for path, one in zip(unmetered, answers, strict=True)}
        left_out_knowingly = {"/v1/files", "/v1/uploads", "/v1/batches", "/v1/videos"}
        assert {path for path, code in codes.items() if code == "not_offered"} == left_out_knowingly
        assert {code for path, code in codes.items() if path not in left_out_knowingly} == {"unknown_url"}
        assert (wrong.status_code, set(wrong.headers["allow"].split(", "))) == (405, {"OPTIONS", "POST"})
        assert wrong.json()["error"]["code"] == "method_not_allowed"
        assert [(one.status_code, one.content) for one in heads] == [(200, b"")] * 2
        assert all(int(one.headers["content-length"]) > 0 for one in heads)
        assert variation.json()["error"]["code"] == "unsupported_route"
        assert here.service.exchanges == []


async def test_a_stream_in_flight_ends_whole_when_the_gateway_is_told_to_stop(
    tmp_path: Path, redis_url: str
) -> None:
    """96: the client gets every event, newcomers are turned away, the process ends with 0."""
    async with (
        serving(StandInSettings(zone="SE")) as service,
        gateway_process(
            tmp_path, {"SE": service.base_url}, budgets=[], ECOGATE_REDIS_URL=redis_url
        ) as gateway,
        gateway.client() as client,
    ):
        slow = {**ASK, "stream": True, "partial_images": 1, "standin_fault": "stream_stall:1"}
        async with client.stream("POST", GENERATIONS, json=slow) as answer:
            pieces = answer.aiter_text()
            text = await anext(pieces)
            gateway.send(signal.SIGTERM)
            await asyncio.sleep(0.3)
            with pytest.raises(httpx.TransportError):
                async with gateway.client() as newcomer:
                    await newcomer.get("/v1/models")
            text += "".join([piece async for piece in pieces])

        assert text.count("event: ") == 2
        assert "image_generation.completed" in text
        assert await gateway.ended() == 0


async def test_forty_megabytes_arrive_whole(tmp_path: Path, redis_url: str) -> None:
    """32 and 33: the usage behind the picture is read; `benchmarks/large_answers.py` measures the memory."""
    big = b'{"created":1,"data":[{"b64_json":"' + b64().encode() + b"A" * 40_000_000
    body = big + b'"}],"usage":{"output_tokens":11}}'

    async def script(exchange: Exchange) -> None:
        await exchange.answer(body)

    async with behind(tmp_path, redis_url, script) as here:
        answer = await here.post()

        assert answer.content == body
        record = await recorded(here.client, answer.headers["x-request-id"])
        assert (record["usage"], record["size"]) == ({"output_tokens": 11}, "64x64")


async def test_a_completed_picture_is_delivered_though_the_connection_breaks_behind_it(
    tmp_path: Path, redis_url: str
) -> None:
    """54: what was paid for and arrived is not taken away."""

    async def script(exchange: Exchange) -> None:
        await exchange.begin_stream()
        await exchange.chunk(COMPLETED)
        await asyncio.sleep(0.1)
        exchange.writer.close()

    async with behind(tmp_path, redis_url, script, budgets=[budget()]) as here:
        answer = await here.post(stream=True)

        assert answer.content == COMPLETED
        assert await here.budgets() == (1, 0)
