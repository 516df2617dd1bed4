"""The block of arguments inside a prompt: one meaning, priced where it is read."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.images.request import ImageRequest, read_generation
from gateway.upstreams.deployments import Deployment
from gateway.upstreams.dialects.registry import dialect_of

HERE = Deployment("d", ("m",), "http://d/v1", dialect="sdcpp")
ELSEWHERE = Deployment("e", ("m",), "http://e/v1", dialect="openai")
OPENED, CLOSED = "<sd_cpp_extra_args>", "</sd_cpp_extra_args>"


def asked(prompt: str, **fields: Any) -> ImageRequest:
    return read_generation(json.dumps({"model": "m", "prompt": prompt, **fields}).encode())


def block(arguments: dict[str, Any]) -> str:
    return f"{OPENED}{json.dumps(arguments)}{CLOSED}"


def as_the_server_reads(prompt: str) -> dict[str, Any]:
    """The first block, as its regular expression finds it."""
    found = re.search(f"{OPENED}(.*?){CLOSED}", prompt)
    read: dict[str, Any] = json.loads(found[1]) if found else {}
    return read


def sent(request: ImageRequest) -> str:
    prompt: str = dialect_of(HERE).fields(request, HERE)[0]["prompt"]
    return prompt


def test_steps_and_guidance_in_the_prompt_are_heard_here_and_words_elsewhere() -> None:
    arguments = {"seed": 3, "sample_params": {"sample_steps": 28, "guidance": {"txt_cfg": 7.0}}}
    request = asked(f"a {block(arguments)} cat")

    heard = dialect_of(HERE).heard(request, HERE)
    assert (heard.steps, heard.guidance_passes) == (28, 2)
    assert sent(request) == f"a cat {OPENED}{sent(request).partition(OPENED)[2]}"
    assert as_the_server_reads(sent(request)) == arguments
    there = dialect_of(ELSEWHERE)
    assert (there.heard(request, ELSEWHERE).steps, there.fields(request, ELSEWHERE)[0]["prompt"]) == (
        None,
        request.fields["prompt"],
    )


def test_what_stands_beside_a_block_joins_it_and_may_not_contradict_it() -> None:
    steps = block({"sample_params": {"sample_steps": 28}})

    joined = as_the_server_reads(sent(asked(f"a cat {steps}", steps=28, seed=7)))
    assert joined == {"seed": 7, "sample_params": {"sample_steps": 28}}
    for fields in ({"steps": 27}, {"num_inference_steps": 1}):
        with pytest.raises(InvalidRequest):
            dialect_of(HERE).heard(asked(f"a cat {steps}", **fields), HERE)


@pytest.mark.parametrize(
    "prompt",
    [
        f"a {OPENED}", f"a {CLOSED}", f"a {OPENED}{{}}", f"{CLOSED}{{}}{OPENED}", f"{OPENED}{CLOSED}",
        f"a {block({})} {block({})}", f"{OPENED}{block({})}", "<SD_CPP_EXTRA_ARGS>{}</SD_CPP_EXTRA_ARGS>",
        f'{OPENED}{{"seed": 1, "seed": 2}}{CLOSED}', f'{OPENED}{{"seed": NaN}}{CLOSED}',
        f"{OPENED}[]{CLOSED}",
        block({"batch_count": 4}), block({"width": 4096}), block({"n": 9}), block({"steps": 9}),
        block({"sample_params": {"sample_steps": 0}}), block({"sample_params": {"sample_steps": 9.5}}),
        block({"sample_params": {"steps": 9}}), block({"sample_params": {"sample_method": "heun"}}),
        block({"sample_params": 9}), block({"sample_params": {"guidance": {"img_cfg": 4}}}),
        block({"sample_params": {"guidance": {"txt_cfg": "4"}}}), block({"hires": {"enabled": True}}),
    ],
)  # fmt: skip
def test_a_block_that_cannot_be_priced_is_refused(prompt: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        dialect_of(HERE).heard(asked(prompt), HERE)

    assert error.value.status == 400


PIECES = st.sampled_from(
    [OPENED, CLOSED, block({"sample_params": {"sample_steps": 9}}), block({"seed": 1}), "a cat", " ", "\n",
     "{}", OPENED.upper(), "<sd_cpp_", "extra_args>"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=5).map("".join), st.none() | PIECES, st.none() | st.integers(1, 50))
@example("a cat", f"{CLOSED}{block({'sample_params': {'sample_steps': 99}})}", 1)
def test_the_server_reads_the_steps_that_were_priced(
    prompt: str, negative: str | None, steps: int | None
) -> None:
    try:
        request = asked(prompt, negative_prompt=negative, steps=steps)
        heard = dialect_of(HERE).heard(request, HERE)
    except InvalidRequest:
        return

    written = sent(request)
    read = as_the_server_reads(written)
    assert read.get("sample_params", {}).get("sample_steps") == heard.steps
    assert read.get("negative_prompt") == negative
    assert written.count(OPENED) == written.count(CLOSED) <= 1
