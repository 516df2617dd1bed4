"""What of a request reaches the service: points 1 to 30 and 85 to 92 of the conformance table."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway import __version__
from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from tests.contract.behind import ASK, SECRET, behind, give_images, images, picture
from tests.processes import gateway_process
from tests.running import ADMIN_KEY, GENERATIONS, MODEL, UPSTREAM_MODEL, budget

if TYPE_CHECKING:
    from tests.contract.scripted import Exchange

EDITS = "/v1/images/edits"


async def test_nulls_numbers_and_order_arrive_as_they_were_written(tmp_path: Path, redis_url: str) -> None:
    """2 to 4: the same names, values and order; only the model's name is the service's own."""
    body = {
        "style": None, "prompt": "a cat", "seed": 2**53 + 1, "guidance_scale": 3.5, "user": None, "n": 1,
        "model": MODEL, "extra": {"b": [1, None, "é"], "a": {}}, "size": "64x64", "negative_prompt": "",
    }  # fmt: skip
    async with behind(tmp_path, redis_url, give_images) as here:
        answer = await here.client.post(GENERATIONS, json=body)

        assert answer.status_code == 200
        [exchange] = here.service.exchanges
        assert exchange.json == body | {"model": UPSTREAM_MODEL}
        assert list(exchange.json) == list(body)
        assert ("content-length", str(len(exchange.body))) in exchange.headers


async def test_what_a_gpt_image_model_refuses_is_left_out_and_named(tmp_path: Path, redis_url: str) -> None:
    """5: some clients send parameters of older models to any name that they do not know."""
    async with behind(tmp_path, redis_url, give_images, deployment={"upstream_model": "gpt-image-2"}) as here:
        answer = await here.post(response_format="b64_json", style="vivid", quality="standard")

        assert answer.headers["ecogate-dropped-params"] == "response_format, style"
        sent = here.service.exchanges[0].json
        assert "response_format" not in sent
        assert "style" not in sent
        assert sent["quality"] == "medium"


async def test_a_request_without_a_model_is_told_so(tmp_path: Path, redis_url: str) -> None:
    """8 and 12: on every route; nothing is held, nothing is sent."""
    files = {"image": ("a.png", picture(), "image/png")}
    async with behind(tmp_path, redis_url, give_images, budgets=[budget()]) as here:
        answers = [
            await here.post(model=None),
            await here.client.post(EDITS, data={"prompt": "a cat"}, files=files),
            await here.client.post(EDITS, json={"prompt": "a cat", "images": [{"file_id": "f"}]}),
        ]

        for answer in answers:
            error = answer.json()["error"]
            assert (answer.status_code, error["param"]) == (400, "model")
            assert error["code"] == "missing_required_parameter"
        assert here.service.exchanges == []
        assert await here.budgets() == (0, 0)


async def test_a_long_prompt_of_emoji_and_an_open_size_arrive_untouched(
    tmp_path: Path, redis_url: str
) -> None:
    """9 and 13: what is left open is priced by the deployment's defaults, and stays open on the wire."""
    prompt = "🦊" * 32_000
    async with behind(tmp_path, redis_url, give_images) as here:
        answer = await here.post(prompt=prompt, size="auto")
        plain = await here.post(size="1024x1024")

        assert answer.status_code == 200
        assert here.service.exchanges[0].json["prompt"] == prompt
        assert here.service.exchanges[0].json["size"] == "auto"
        assert float(plain.headers["ecogate-energy-wh"]) == float(answer.headers["ecogate-energy-wh"])


@pytest.mark.parametrize(
    "fields",
    [
        {"aspect_ratio": "1:1", "resolution": "2k"},
        {"size": None, "aspect_ratio": "7:3", "resolution": "2k"},
        {"size": None, "resolution": "9k"},
        {"kwargs": '{"num_inference_steps": 99, "num_images_per_prompt": 8}'},
        {"kwargs": '{"num_inference_steps": 1, "num_inference_steps": 99}'},
        {"extra_params": {"num_inference_steps": 1}, "steps": 99},
        {"size": "64 x 64"},
        {"size": "-64x64"},
    ],
)
async def test_hidden_or_malformed_amounts_are_refused_and_not_sent(
    tmp_path: Path, redis_url: str, fields: dict[str, Any]
) -> None:
    """10 and 11: work that cannot be priced is not let through unpriced."""
    async with behind(tmp_path, redis_url, give_images, budgets=[budget()]) as here:
        answer = await here.post(**fields)

        assert answer.status_code == 400
        assert here.service.exchanges == []
        assert await here.budgets() == (0, 0)


BLOCK = '<sd_cpp_extra_args>{"sample_params": {"sample_steps": 56}}</sd_cpp_extra_args>'


@pytest.mark.parametrize(
    ("dialect", "fields", "sent"),
    [
        ("xinference", {"kwargs": '{"steps":56}'}, {"kwargs": '{"num_inference_steps": 56}'}),
        ("vllm-omni", {"extra_params": {"num_inference_steps": 56}}, {"num_inference_steps": 56}),
        ("sglang", {"diffusers_kwargs": {"num_inference_steps": 56}}, {"num_inference_steps": 56}),
        ("sdcpp", {"prompt": f"a {BLOCK} cat"}, {"prompt": f"a cat {BLOCK}"}),
    ],
)
async def test_steps_inside_another_parameter_are_priced_where_they_are_read(
    tmp_path: Path, redis_url: str, dialect: str, fields: dict[str, Any], sent: dict[str, Any]
) -> None:
    """11: as the same steps beside it, and as nothing where a service is not sent them or reads words."""
    async with behind(tmp_path, redis_url, give_images, deployment={"dialect": dialect}) as here:
        inside = await here.post(**fields)
        beside = await here.post(steps=56)
        by_default = await here.post()

        assert sent.items() <= here.service.exchanges[0].json.items()
        energy = [answer.headers["ecogate-energy-wh"] for answer in (inside, beside, by_default)]
        assert energy[0] == energy[1]
        assert float(energy[0]) > 1.5 * float(energy[2])
    (tmp_path / "other").mkdir()
    async with behind(tmp_path / "other", redis_url, give_images) as other:
        answer = await other.post(**fields)

        assert answer.headers["ecogate-energy-wh"] == energy[2]
        assert sent.keys() & other.service.exchanges[0].json.keys() <= {"prompt"}
        assert other.service.exchanges[0].json["prompt"] == fields.get("prompt", ASK["prompt"])


async def test_a_class_and_a_shape_are_priced_and_settled_by_the_picture(
    tmp_path: Path, redis_url: str
) -> None:
    """10: as xAI takes them."""
    shaped: dict[str, Any] = {"size": None, "aspect_ratio": "16:9", "resolution": "2k"}
    async with behind(tmp_path, redis_url, give_images, deployment={"dialect": "xai"}) as here:
        large = await here.client.post("/eco/v1/estimate", json={**ASK, **shaped})
        small = await here.client.post("/eco/v1/estimate", json={**ASK, **shaped, "resolution": "1k"})
        answer = await here.post(**shaped)
        plain = await here.post()

        assert shaped.items() - {("size", None)} <= here.service.exchanges[0].json.items()
        energy = [one.json()["hold"]["central"]["energy_wh"] for one in (large, small)]
        assert energy[0] > 3 * energy[1]
        assert answer.headers["ecogate-basis"] == "settled"
        assert answer.headers["ecogate-energy-wh"] == plain.headers["ecogate-energy-wh"]


@pytest.mark.parametrize("ending", ["", "/"])
async def test_the_query_stays_here_and_the_base_url_may_end_in_a_slash(
    tmp_path: Path, redis_url: str, ending: str
) -> None:
    """17 and 18; a doubled prefix, as one SDK makes it, is told by its path."""

    async with behind(tmp_path, redis_url, give_images) as probe:
        base_url = probe.service.base_url + ending
        deployed = {
            "id": "there",
            "base_url": base_url,
            "dialect": "azure",
            "api_version": "2025-04-01-preview",
        }
        (tmp_path / "two").mkdir()
        async with behind(tmp_path / "two", redis_url, give_images, deployment=deployed) as here:
            answer = await here.post(f"{GENERATIONS}?api-version=1&n=10&key=secret")
            plain = await probe.post(f"{GENERATIONS}?n=10&key=secret")
            doubled = await here.post("/v1/v1/images/generations")

        azure, straight = probe.service.exchanges
        assert (answer.status_code, plain.status_code) == (200, 200)
        assert azure.line == "POST /v1/images/generations?api-version=2025-04-01-preview HTTP/1.1"
        assert straight.line == "POST /v1/images/generations HTTP/1.1"
        assert doubled.status_code == 404
        assert "/v1/v1/images/generations" in doubled.json()["error"]["message"]


def part(name: str, value: bytes, *headers: str, extra: str = "") -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return (
        f'--b\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n{lines}\r\n'.encode()
        + value
        + b"\r\n"
    )


async def test_forms_of_other_clients_are_read_like_those_of_the_sdk(tmp_path: Path, redis_url: str) -> None:
    """20, 25, 26 and 28: typed text parts, names in UTF-8, files without a type, parts nobody knows."""
    one, two = picture(64), picture(32)
    form = b"".join(
        (
            part("model", MODEL.encode(), "Content-Type: text/plain; charset=utf-8"),
            part("prompt", "a größer cat".encode(), "Content-Type: text/plain; charset=utf-8"),
            part("n", b"2", "Content-Type: text/plain; charset=utf-8"),
            part("image", one, "Content-Type: image/png", extra='; filename="ein Bär.png"'),
            part("markup", two, extra='; filename="m.png"'),
            part("future", b"1"),
            part("size", b"64x64", "Content-Type: text/plain; charset=utf-8"),
            b"--b--\r\n",
        )
    )
    kind = {"content-type": "multipart/form-data; boundary=b"}
    async with behind(tmp_path, redis_url, give_two, budgets=[budget()]) as here:
        answer = await here.client.post(EDITS, content=form, headers=kind)

        assert answer.status_code == 200, answer.text
        body = here.service.exchanges[0].body
        assert b'name="image"; filename="ein B\xc3\xa4r.png"\r\nContent-Type: image/png\r\n\r\n' + one in body
        assert b'name="markup"; filename="m.png"\r\n\r\n' + two in body
        assert b'name="future"\r\n\r\n1\r\n' in body
        assert b'name="n"\r\n\r\n2\r\n' in body
        assert await here.budgets() == (2, 0)


async def give_two(exchange: Exchange) -> None:
    await exchange.answer(images(2))


async def test_a_form_cannot_ask_for_more_behind_its_files(tmp_path: Path, redis_url: str) -> None:
    """21, 23 and 27: nothing is held before the whole form is read, so a late `n` counts."""
    head = part("model", MODEL.encode()) + part("prompt", b"a cat") + part("size", b"64x64")
    file = part("image", picture(), "Content-Type: image/png", extra='; filename="a.png"')
    late = head + file + part("n", b"10") + b"--b--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=b"}
    async with behind(tmp_path, redis_url, give_images, budgets=[budget(limits={"images": 5})]) as here:
        refused = await here.client.post(EDITS, content=late, headers=kind)
        length = f"Content-Length: {len(head + file)}"
        fields = (length, "Connection: close", f"Content-Type: {kind['content-type']}")
        cut = await here.raw(here.head(*fields, path=EDITS) + head + file)

        assert refused.status_code == 402
        assert refused.json()["error"]["eco"]["requested"] == 10
        assert cut.startswith(b"HTTP/1.1 400 ")
        assert here.service.exchanges == []
        assert await here.budgets() == (0, 0)


async def test_a_form_over_the_limit_is_refused_while_nothing_of_it_was_read(
    tmp_path: Path, redis_url: str
) -> None:
    """30: by its declared length at once, by its real length when that is not declared."""
    async with behind(tmp_path, redis_url, give_images, max_form_bytes=50_000) as here:
        kind = "Content-Type: multipart/form-data; boundary=b"
        async with here.connection() as (reader, writer):
            writer.write(here.head("Content-Length: 900000000", kind, path=EDITS))
            declared = await reader.readuntil(b"\r\n\r\n") + await reader.read(500)
        piece = part("image", b"x" * 60_000, extra='; filename="a.png"')
        chunked = here.head("Transfer-Encoding: chunked", kind, "Connection: close", path=EDITS)
        undeclared = await here.raw(chunked + b"%x\r\n" % len(piece) + piece)

        for answer in (declared, undeclared):
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert b'"code":"request_too_large"' in answer


async def test_a_form_of_fifty_megabytes_passes_through_little_memory(tmp_path: Path, redis_url: str) -> None:
    """22: files go to disk and arrive as they were."""
    file = os.urandom(12_500_000)

    def resident_mb(pid: int) -> float:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

    async with (
        serving(StandInSettings(zone="SE")) as service,
        gateway_process(
            tmp_path, {"SE": service.base_url}, budgets=[], ECOGATE_REDIS_URL=redis_url
        ) as gateway,
        gateway.client() as client,
    ):
        data = {"model": MODEL, "prompt": "a cat", "size": "64x64"}
        small = await client.post(EDITS, data=data, files={"image": ("a.png", picture(), "image/png")})
        before = resident_mb(gateway.process.pid)

        files = [("image[]", (f"{number}.png", file, "image/png")) for number in range(4)]
        answer = await client.post(EDITS, data=data, files=files)

        assert (small.status_code, answer.status_code) == (200, 200)
        assert resident_mb(gateway.process.pid) - before < 25
        received = service.standin.generations[-1].files
        assert [one.sha256 for one in received] == [hashlib.sha256(file).hexdigest()] * 4


async def test_of_a_clients_headers_only_the_trace_reaches_the_service(
    tmp_path: Path, redis_url: str
) -> None:
    """85 to 88 and 90: the service sees our credential alone, and nothing about who asked."""
    hostile = {
        "X-Api-Key": "a", "X-Goog-Api-Key": "b", "Cookie": "c=d", "Proxy-Authorization": "Basic e",
        "OpenAI-Organization": "org", "OpenAI-Project": "proj", "Connection": "keep-alive, X-Named",
        "X-Named": "f", "Keep-Alive": "timeout=5", "TE": "trailers", "Trailer": "X-T",
        "X-Forwarded-For": "10.0.0.1", "Forwarded": "for=10.0.0.1", "Via": "1.1 proxy",
        "X-Real-IP": "10.0.0.1", "CF-Connecting-IP": "10.0.0.1", "X-OpenWebUI-User-Email": "ada@example.org",
        "X-Request-ID": "theirs",
        "ecogate-label-team": "design", "X-Stainless-Lang": "python", "User-Agent": "Client/1",
        "traceparent": f"00-{'1' * 32}-{'2' * 16}-01",
    }  # fmt: skip
    async with behind(tmp_path, redis_url, give_images) as here:
        answer = await here.client.post(GENERATIONS, json=ASK, headers=hostile)

        assert answer.status_code == 200
        [exchange] = here.service.exchanges
        headers = dict(exchange.headers)
        assert len(headers) == len(exchange.headers)
        assert set(headers) == {
            "host", "accept", "accept-encoding", "user-agent", "authorization", "content-type",
            "content-length", "traceparent", "connection",
        }  # fmt: skip
        assert headers["connection"] == "keep-alive"
        assert headers["authorization"] == f"Bearer {SECRET}"
        assert headers["user-agent"] == f"ecogate/{__version__}"
        assert headers["accept-encoding"] == "identity"
        assert headers["traceparent"].split("-")[1] == "1" * 32


async def test_a_name_with_a_line_break_makes_no_header(tmp_path: Path, redis_url: str) -> None:
    """92: neither in a model's name nor in that of a team."""
    async with behind(tmp_path, redis_url, give_images) as here:
        model = await here.post(model="starter\r\nx-injected: 1")
        team = await here.gateway.admin.post(
            "/eco/v1/keys", json={"org": "acme", "team": "a\r\nx-injected: 1", "role": "service"}
        )
        name = await here.client.post(GENERATIONS, json={**ASK, "na\r\nx-injected: 1": 1})

        assert (model.status_code, team.status_code, name.status_code) == (404, 400, 200)
        assert all("x-injected" not in answer.headers for answer in (model, team, name))
        assert all("x-injected" not in dict(one.headers) for one in here.service.exchanges)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  ", " Bearer", "Token", ""])
async def test_any_spelling_of_the_scheme_is_taken_or_refused_in_words(
    tmp_path: Path, redis_url: str, scheme: str
) -> None:
    """84."""
    async with behind(tmp_path, redis_url, give_images) as here:
        answer = await here.raw(
            f"GET /v1/models HTTP/1.1\r\nHost: g\r\nauthorization: {scheme} {ADMIN_KEY}\r\n"
            "Connection: close\r\n\r\n".encode()
        )

        status = int(answer[9:12])
        assert status == 200 if "bearer" in scheme.lower() else status == 401
        assert json.loads(answer.partition(b"\r\n\r\n")[2])
