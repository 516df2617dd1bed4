"""Edits and variations through the gateway: every file arrives as it was sent, and is paid for."""

from __future__ import annotations

import gc
import hashlib
import io
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from gateway.demo.faults import parse_fault
from gateway.demo.standin import StandInSettings
from gateway.errors import InvalidRequest
from gateway.images.edits import least_of
from gateway.images.form import FormReader
from tests.lifecycle.reading import budgets_of, recorded
from tests.lifecycle.test_ladder import record_of
from tests.running import MODEL, UPSTREAM_MODEL, Gateway, budget, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

EDITS = "/v1/images/edits"


def png(colour: str, side: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    return buffer.getvalue()


RED, BLUE, MASK = png("red"), png("blue"), png("white")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    zones = {"SE": StandInSettings(zone="SE", usage="tokens")}
    async with gateway_running(tmp_path, redis_url, budgets=[budget()], zones=zones) as running:
        yield running


async def test_files_arrive_as_the_stock_client_sent_them(gateway: Gateway) -> None:
    key = await gateway.key()
    client, http = await gateway.openai(key), await gateway.http(key)

    answer = await client.images.with_raw_response.edit(
        model=MODEL,
        image=[("one.png", RED, "image/png"), ('t"wo é.png', BLUE, "image/png")],
        mask=("mask.png", MASK, "image/png"),
        prompt="a cat with a hat ü😀",
        n=2,
        size="64x64",
    )

    assert len(answer.parse().data or []) == 2
    (received,) = gateway.standins["SE"].standin.generations
    assert received.path == EDITS
    assert [(one.name, one.filename, one.content_type, one.sha256) for one in received.files] == [
        ("image[]", "one.png", "image/png", digest(RED)),
        ("image[]", 't"wo é.png', "image/png", digest(BLUE)),
        ("mask", "mask.png", "image/png", digest(MASK)),
    ]
    assert received.json == {
        "model": UPSTREAM_MODEL, "prompt": "a cat with a hat ü😀", "n": 2, "size": "64x64",
    }  # fmt: skip
    record = await recorded(http, answer.headers["x-request-id"])
    assert (record["route"], record["images"], record["basis"]) == ("images.edit", 2, "settled")
    assert (await budgets_of(http))["images"]["used"] == 2


async def test_fields_before_between_and_after_files_are_read(gateway: Gateway) -> None:
    client = await gateway.member()
    order: list[tuple[str, Any]] = [
        ("n", (None, "1")),
        ("image", ("a.png", RED)),
        ("prompt", (None, "a cat", "text/plain; charset=utf-8")),
        ("markup", ("m.png", MASK, "image/png")),
        ("size", (None, "64x64")),
        ("future[part]", (None, "kept")),
        ("model", (None, MODEL)),
    ]

    answer = await client.post(EDITS, files=order)

    assert answer.status_code == 200, answer.text
    (received,) = gateway.standins["SE"].standin.generations
    assert [one.name for one in received.files] == ["image", "markup"]
    assert received.json is not None
    assert received.json["future[part]"] == "kept"
    assert received.headers["content-type"] != answer.request.headers["content-type"]


async def test_more_input_images_cost_more(gateway: Gateway) -> None:
    client = await gateway.member()
    energies = []
    for count in (1, 4):
        files = [("image[]", ("a.png", RED, "image/png"))] * count
        answer = await client.post(EDITS, files=files, data={"model": MODEL, "prompt": "x", "size": "64x64"})
        energies.append(float(answer.headers["ecogate-energy-wh"]))

    assert energies[1] > energies[0]


async def test_an_edit_streams(gateway: Gateway) -> None:
    client = await gateway.openai()

    stream = await client.images.edit(
        model=MODEL, image=RED, prompt="x", size="64x64", stream=True, partial_images=1
    )

    assert [event.type async for event in stream] == ["image_edit.partial_image", "image_edit.completed"]


async def test_an_edit_as_json_goes_on_as_json(gateway: Gateway) -> None:
    client = await gateway.member()
    images = [{"file_id": "file-1"}, {"image_url": "data:image/png;base64,AAAA"}]

    answer = await client.post(EDITS, json={"model": MODEL, "prompt": "x", "images": images, "size": "64x64"})

    assert answer.status_code == 200, answer.text
    (received,) = gateway.standins["SE"].standin.generations
    assert received.headers["content-type"] == "application/json"
    assert (received.json or {})["images"] == images


async def test_what_the_first_fields_make_hopeless_is_refused_before_the_files(
    tmp_path: Path, redis_url: str
) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits={"images": 1})]) as gateway:
        client = await gateway.member()
        sent = 0

        def body() -> Iterator[bytes]:
            nonlocal sent
            for name, value in (("model", MODEL), ("n", "2"), ("prompt", "x")):
                yield f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
            for _ in range(400):
                sent += 1
                yield b"x" * 100_000
            yield b"\r\n--b--\r\n"

        async def slowly() -> AsyncIterator[bytes]:
            for piece in body():
                yield piece

        answer = await client.post(
            EDITS, content=slowly(), headers={"content-type": "multipart/form-data; boundary=b"}
        )
        record = await record_of(gateway, answer)

    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "eco_request_too_large")
    assert gateway.generations() == []
    assert (record["decision"], record["route"], record["images_requested"]) == ("deny", "images.edit", 2)
    assert record["policies"][0]["verdict"] == "deny"


async def test_a_variation_is_only_taken_where_it_is_offered(tmp_path: Path, redis_url: str) -> None:
    files = {"image": ("a.png", RED, "image/png")}
    for dialect, status in (("openai", 400), ("xinference", 200)):
        async with gateway_running(tmp_path, redis_url, deployment={"dialect": dialect}) as gateway:
            client = await gateway.member()
            answer = await client.post(
                "/v1/images/variations", files=files, data={"model": MODEL, "size": "64x64"}
            )
            assert answer.status_code == status, answer.text


async def test_a_form_goes_whole_to_the_next_zone_when_the_first_did_not_start(
    tmp_path: Path, redis_url: str
) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        client = await gateway.member()
        gateway.standins["SE"].standin.faults_to_come.append(parse_fault("overload"))

        answer = await client.post(
            EDITS,
            files={"image": ("a.png", RED, "image/png")},
            data={"model": MODEL, "prompt": "x", "size": "64x64"},
        )

        assert answer.headers["ecogate-zone"] == "PL"
        (received,) = gateway.standins["PL"].standin.generations
        assert received.files[0].sha256 == digest(RED)


def part(name: str, value: bytes, *, headers: bytes = b"", filename: bytes | None = None) -> bytes:
    disposition = b'Content-Disposition: form-data; name="' + name.encode() + b'"'
    if filename is not None:
        disposition += b"; " + filename
    return b"--b\r\n" + disposition + b"\r\n" + headers + b"\r\n" + value + b"\r\n"


GOOD = part("model", MODEL.encode()) + part("prompt", b"x") + part("image", RED, filename=b'filename="a.png"')
END = b"--b--\r\n"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (GOOD + part("n", b"1") + part("n", b"9") + END, "invalid_form"),
        (GOOD + part("n", b"1.5") + END, "invalid_type"),
        (GOOD + part("n", b"11") + END, "invalid_value"),
        (GOOD + part("n", b"1", filename=b'filename="n"') + part("n", b"9") + END, "invalid_form"),
        (part("model", MODEL.encode()) + part("prompt", b"x") + END, "missing_required_parameter"),
        (GOOD + part("image", b"text") + END, "invalid_form"),
        (GOOD + part("mask", b"text") + END, "invalid_type"),
        (GOOD + part("x", b"1", headers=b"Content-Transfer-Encoding: base64\r\n") + END, "invalid_form"),
        (GOOD + part("x", b"1", headers=b"\nContent-Type: text/plain\r\n") + END, "invalid_form"),
        (GOOD + part("x", b"1", headers=b"X-A\t: 1\r\n") + END, "invalid_form"),
        (GOOD + part("y", RED, filename=b"filename*=UTF-8''a.png") + END, "invalid_form"),
        (b"a preamble\r\n" + GOOD + END, "invalid_form"),
        (GOOD + part("x", b"1\n--b\r\nhidden") + END, "invalid_form"),
        (GOOD + part("z", RED + b"\r--b", filename=b'filename="z"') + END, "invalid_form"),
        (GOOD + part("z", b"--b\r\nhidden", filename=b'filename="z"') + END, "invalid_form"),
        (GOOD + part("z", b"9", filename=b'filename="a"b"; name="n"') + END, "invalid_form"),
        (GOOD + part("z", b"9", filename=b'filename="afilename="x"ition') + END, "invalid_form"),
        (
            GOOD + part("x", b"1", headers=b'Content-Disposition: form-data; name="n"\r\n') + END,
            "invalid_form",
        ),
        (GOOD + part("x", b"1", headers=b"X-A: 1\rX-B: 2\r\n") + END, "invalid_form"),
        (GOOD + END + b"an epilogue", "invalid_form"),
        (GOOD + END + part("n", b"9") + END, "invalid_form"),
        (GOOD, "invalid_form"),
        (GOOD + part("p", b"\xff") + END, "invalid_form"),
        (GOOD + part("svg[model]", b"m") + END, "unsupported_parameter"),
        (GOOD + b"".join(part(f"f{one}", b"") for one in range(70)) + END, "request_too_large"),
        (
            GOOD + b"".join(part("image[]", b"", filename=b'filename="a"') for _ in range(17)) + END,
            "invalid_form",
        ),
    ],
)
async def test_a_form_with_two_meanings_has_none(gateway: Gateway, body: bytes, code: str) -> None:
    client = await gateway.member()

    answer = await client.post(
        EDITS, content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )

    assert answer.status_code in (400, 413)
    assert answer.json()["error"]["code"] == code
    assert gateway.generations() == []


@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_a_form_may_arrive_in_any_pieces(gateway: Gateway, size: int) -> None:
    client = await gateway.member()
    body = GOOD + part("size", b"64x64") + END

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    answer = await client.post(
        EDITS, content=pieces(), headers={"content-type": "multipart/form-data; boundary=b"}
    )

    assert answer.status_code == 200
    (received,) = gateway.standins["SE"].standin.generations
    assert received.files[0].sha256 == digest(RED)


def test_a_form_that_is_refused_at_its_content_type_opens_no_file() -> None:
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=" + "x" * 200):
        with pytest.raises(InvalidRequest):
            FormReader(content_type)
    gc.collect()


@pytest.mark.parametrize(
    ("first", "steps", "size"),
    [
        (b"", 1, "256x256"),
        (part("kwargs", b'{"steps": 9}'), 9, "256x256"),
        (part("resolution", b"2k"), 1, "2048x2048"),
        (part("size", b"auto"), 1, None),
    ],
)
def test_the_least_of_a_form_is_what_its_first_fields_say(first: bytes, steps: int, size: str | None) -> None:
    reader = FormReader("multipart/form-data; boundary=b")
    with closing(reader.form):
        reader.feed(part("model", b"m") + first)
        reader.feed(part("image", RED, filename=b'filename="a.png"'))
        least = least_of(reader.form, "images.edit")

        assert least is not None
        assert (least.steps, least.size) == (steps, size)
