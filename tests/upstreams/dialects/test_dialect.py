"""What each kind of image server is sent for the same request."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from gateway.conversations.chat import read_chat
from gateway.conversations.responses import read_response
from gateway.images.edits import read_edit
from gateway.images.request import ImageRequest, read_generation
from gateway.images.values import STEP_NAMES
from gateway.upstreams.deployments import Deployment
from gateway.upstreams.dialects.registry import DIALECTS, dialect_of

ASKED: dict[str, Any] = {
    "model": "alias", "prompt": "a cat", "n": 2, "size": "512x768", "steps": 9, "seed": 7,
    "negative_prompt": "dogs", "response_format": "b64_json", "style": "vivid", "quality": "hd",
}  # fmt: skip
STEPS = {"steps": "num_inference_steps"}


def request(**fields: Any) -> ImageRequest:
    return read_generation(json.dumps(ASKED | fields).encode())


def sent(
    dialect: str, asked: ImageRequest | None = None, **deployment: Any
) -> tuple[dict[str, Any], list[str]]:
    where = Deployment("d", ("alias",), "http://d/v1", dialect=dialect, **deployment)  # type: ignore[arg-type]
    body, left_out = dialect_of(where).body(asked or request(), where)
    assert isinstance(body.content, bytes)
    return json.loads(body.content), left_out


@pytest.mark.parametrize(
    ("dialect", "body", "left_out"),
    [
        ("openai", ASKED, []),
        (
            "azure",
            {name: value for name, value in ASKED.items() if name not in ("response_format", "style")}
            | {"quality": "high"},
            ["response_format", "style"],
        ),
        (
            "vllm-omni",
            {
                STEPS.get(name, name): value
                for name, value in ASKED.items()
                if name not in ("model", "style", "quality")
            },
            ["style", "quality"],
        ),
        (
            "sglang",
            {
                STEPS.get(name, name): value
                for name, value in ASKED.items()
                if name not in ("style", "quality")
            },
            ["style", "quality"],
        ),
        (
            "sdcpp",
            {
                "prompt": "a cat <sd_cpp_extra_args>"
                '{"seed": 7, "negative_prompt": "dogs", "sample_params": {"sample_steps": 9}}'
                "</sd_cpp_extra_args>",
                "n": 2,
                "size": "512x768",
            },
            ["response_format", "style", "quality"],
        ),
        (
            "localai",
            {
                "model": "alias", "prompt": "a cat|dogs", "n": 2, "size": "512x768", "step": 9, "seed": 7,
                "response_format": "b64_json", "quality": "hd",
            },
            ["style"],
        ),
        (
            "xinference",
            {
                "model": "alias", "prompt": "a cat", "n": 2, "size": "512x768", "response_format": "b64_json",
                "kwargs": '{"num_inference_steps": 9, "seed": 7, "negative_prompt": "dogs"}',
            },
            ["style", "quality"],
        ),
        (
            "together",
            {
                "model": "alias", "prompt": "a cat", "n": 2, "steps": 9, "seed": 7, "negative_prompt": "dogs",
                "response_format": "base64", "width": 512, "height": 768,
            },
            ["style", "quality"],
        ),
        (
            "xai",
            {name: value for name, value in ASKED.items() if name not in ("size", "style")},
            ["size", "style"],
        ),
    ],
)  # fmt: skip
def test_a_generation_in_every_dialect(dialect: str, body: dict[str, Any], left_out: list[str]) -> None:
    assert sent(dialect) == (body, left_out)


def test_every_dialect_is_in_the_table() -> None:
    cases = test_a_generation_in_every_dialect.pytestmark[0].args[1]
    assert {case[0] for case in cases} == set(DIALECTS) - {"openrouter"}


CONVERSATIONS = {
    "chat": read_chat(b'{"model":"alias","messages":[{"role":"user"}],"modalities":["image"],"x":null}'),
    "responses": read_response(b'{"model":"alias","input":"x","tools":[{"type":"image_generation"}]}'),
}


@pytest.mark.parametrize(("route", "takers"), [("chat", {"openrouter"}), ("responses", {"openai", "azure"})])
def test_a_conversation_goes_as_it_is_to_servers_that_know_it(route: str, takers: set[str]) -> None:
    asked = CONVERSATIONS[route]

    assert {name for name, dialect in DIALECTS.items() if dialect.offers(asked)} == takers
    for name in takers:
        assert sent(name, asked) == (asked.fields, [])
        assert sent(name, asked, upstream_model="other") == ({**asked.fields, "model": "other"}, [])
    assert not DIALECTS["openrouter"].offers(request())


@pytest.mark.parametrize("model", ["gpt-image-2", "chatgpt-image-latest"])
def test_a_gpt_image_model_is_spared_what_it_refuses(model: str) -> None:
    body, left_out = sent("openai", upstream_model=model)

    assert (body["model"], body["quality"]) == (model, "high")
    assert left_out == ["response_format", "style"]


def test_the_models_name_is_the_only_thing_that_differs_for_an_alias() -> None:
    body, _ = sent("openai", upstream_model="black-forest-labs/FLUX.1-dev")

    assert list(body.items()) == list((ASKED | {"model": "black-forest-labs/FLUX.1-dev"}).items())


def test_a_deployment_may_drop_more() -> None:
    body, left_out = sent("openai", drop_params=frozenset({"seed", "style"}))

    assert {"seed", "style"}.isdisjoint(body)
    assert left_out == ["seed", "style"]


def test_a_server_of_one_model_hears_its_own_name_for_it() -> None:
    assert sent("vllm-omni", upstream_model="Qwen/Qwen-Image")[0]["model"] == "Qwen/Qwen-Image"


def test_size_is_made_of_width_and_height_where_a_server_knows_no_others() -> None:
    asked = read_generation(b'{"model":"alias","prompt":"a","width":512,"height":768}')

    assert sent("sdcpp", asked)[0]["size"] == "512x768"
    assert sent("localai", asked)[0]["size"] == "512x768"
    assert sent("xinference", asked) == ({"model": "alias", "prompt": "a", "size": "512*768"}, [])


NESTED = {"model": "alias", "prompt": "a cat"}
INSIDE = {"num_inference_steps": 4, "guidance_scale": 5, "seed": 7}


def heard(dialect: str, fields: dict[str, Any], **deployment: Any) -> ImageRequest:
    where = Deployment("d", ("alias",), "http://d/v1", dialect=dialect, **deployment)  # type: ignore[arg-type]
    return dialect_of(where).heard(read_generation(json.dumps(NESTED | fields).encode()), where)


@pytest.mark.parametrize(
    ("reader", "carrier", "body"),
    [
        ("xinference", {"kwargs": json.dumps(INSIDE)}, NESTED | {"kwargs": json.dumps(INSIDE)}),
        ("vllm-omni", {"extra_params": INSIDE}, {"prompt": "a cat"} | INSIDE),
        ("sglang", {"diffusers_kwargs": INSIDE}, NESTED | INSIDE),
    ],
)
def test_what_is_inside_a_parameter_is_heard_by_the_server_that_reads_it(
    reader: str, carrier: dict[str, Any], body: dict[str, Any]
) -> None:
    asked = read_generation(json.dumps(NESTED | carrier).encode())

    assert sent(reader, asked) == (body, [])
    assert heard(reader, carrier).steps == 4
    for other in set(DIALECTS) - {reader, "openrouter"}:
        _, left_out = sent(other, asked)
        assert left_out == list(carrier)
        assert heard(other, carrier).steps is None
    assert heard(reader, carrier, drop_params=frozenset(carrier)).steps is None


@pytest.mark.parametrize("dialect", ["vllm-omni", "sglang"])
@pytest.mark.parametrize("spelled", STEP_NAMES)
def test_servers_on_diffusers_hear_steps_by_the_name_that_they_read(dialect: str, spelled: str) -> None:
    asked = {**NESTED, spelled: 4}
    for fields in (asked, asked | dict.fromkeys(sorted({*STEP_NAMES} - {spelled}))):
        body, left_out = sent(dialect, read_generation(json.dumps(fields).encode()))

        assert (body["num_inference_steps"], left_out) == (4, [])
        assert {"steps", "step"}.isdisjoint(body)


def test_a_parameter_dropped_beside_is_not_heard_because_another_is_inside() -> None:
    fields = {"kwargs": '{"seed": 1}', "steps": 2}

    assert heard("xinference", fields).steps == 2
    assert heard("xinference", fields, drop_params=frozenset({"steps"})).steps is None


def test_what_is_still_said_in_another_place_is_heard() -> None:
    twice = {"kwargs": '{"steps": 4}', "steps": 4}

    assert heard("xinference", twice, drop_params=frozenset({"steps"})).steps == 4
    nothing = {"num_inference_steps": None, "steps": 4}
    assert heard("openai", nothing, drop_params=frozenset({"steps"})).steps is None


def test_what_is_beside_kwargs_joins_it() -> None:
    asked = read_generation(json.dumps(NESTED | {"kwargs": '{"steps": 4}', "seed": 7}).encode())

    assert json.loads(sent("xinference", asked)[0]["kwargs"]) == {"num_inference_steps": 4, "seed": 7}


def test_a_class_and_a_shape_are_heard_where_they_are_read() -> None:
    shaped = {"aspect_ratio": "16:9", "resolution": "2k"}

    assert sent("xai", read_generation(json.dumps(NESTED | shaped).encode())) == (NESTED | shaped, [])
    assert heard("xai", shaped).size == "2731x1536"
    assert heard("openai", shaped).size is None
    assert heard("xai", {"size": "64x64"}).size is None


def test_edits_as_json_are_only_offered_where_they_are_understood() -> None:
    edit = read_edit(b'{"model":"m","prompt":"a","images":[{"file_id":"f"}]}')

    assert {name for name, dialect in DIALECTS.items() if dialect.offers(edit)} == {"openai", "xai"}


@pytest.mark.parametrize(
    ("cost", "usd"),
    [(0.039, "0.039"), (0, "0"), (3, "3"), (-1, None), (1e300, None), ("1", None), (None, None)],
)
def test_openrouter_says_what_an_answer_cost(cost: object, usd: str | None) -> None:
    stated = DIALECTS["openrouter"].stated_cost_usd({"cost": cost})

    assert stated == (None if usd is None else Fraction(usd))
    assert DIALECTS["openai"].stated_cost_usd({"cost": cost}) is None
