from typing import Any

import pytest

from gateway.demo.answers import BadRequest, images_answer, read_job


def test_what_a_body_leaves_open_has_a_default() -> None:
    job = read_job({"prompt": "a red fox", "size": "auto", "quality": "auto"})

    assert (job.n, job.size, job.quality) == (1, "1024x1024", "medium")
    assert (job.response_format, job.output_format, job.steps) == ("b64_json", "png", None)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "n": 11}, "n"),
        ({"prompt": "x", "n": 0}, "n"),
        ({"prompt": "x", "n": True}, "n"),
        ({"prompt": "x", "size": "big"}, "size"),
        ({"prompt": "x", "size": "0x16"}, "size"),
        ({"prompt": "x", "size": "9999x9999"}, "size"),
        ({"prompt": "x", "response_format": "fax"}, "response_format"),
        ({"prompt": "x", "output_format": ["png"]}, "output_format"),
    ],
)
def test_a_body_that_no_service_would_take_is_refused_by_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_job(body)

    assert param == refused.value.param


def test_tokens_grow_with_the_images_and_their_pixels() -> None:
    job = read_job({"prompt": "a red fox", "quality": "high", "size": "1024x2048"})

    answer = images_answer(job, [{}, {}], created=1, usage="tokens")

    assert answer["usage"]["output_tokens"] == 2 * 2 * 4160
    assert answer["usage"]["total_tokens"] == (
        answer["usage"]["input_tokens"] + answer["usage"]["output_tokens"]
    )


def test_a_service_without_token_billing_says_nothing_about_tokens() -> None:
    assert "usage" not in images_answer(read_job({"prompt": "x"}), [], created=1, usage="none")
