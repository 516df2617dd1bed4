"""What a conversation takes at a deployment, before and after."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from gateway.conversations.chat import read_chat
from gateway.conversations.responses import read_response
from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork, Site
from gateway.footprint.text import UNPRICED_TEXT
from gateway.images.answer import Delivered, Picture
from gateway.images.request import ImageRequest, read_generation
from gateway.lifecycle.pricing import TOOL_MODEL, asked_footprint, delivered_footprint, drawing_model
from gateway.upstreams.deployments import MAX_TEXT_TOKENS, Deployment, Location

FACTORS = load_factors()
PLACE = Site(zone="SE")
NOTHING = Delivered(0, None, None, None, None, None)
TEXT_WH, WH_PER_TEXT_TOKEN = 0.079, 1.136e-3


def deployment(**fields: Any) -> Deployment:
    return Deployment("d", ("gpt-4o", "gpt-5"), "http://d/v1", location=Location(zone="SE"), **fields)


def response(tool: dict[str, Any] | None = None, **fields: Any) -> ImageRequest:
    drawing = {"type": "image_generation", "size": "1024x1024", "quality": "low", **(tool or {})}
    return read_response(
        json.dumps({"model": "gpt-4o", "input": "a cat", "tools": [drawing], **fields}).encode()
    )


def wh(footprint: object) -> float:
    return footprint.energy_wh.central  # type: ignore[attr-defined, no-any-return]


def came(request: ImageRequest, delivered: Delivered, **fields: Any) -> Any:
    return delivered_footprint(request, deployment(**fields), delivered, PLACE, FACTORS)


def alone(model: str = "gpt-image-1.5", **fields: Any) -> float:
    return wh(estimate(ImageWork(model, **fields), PLACE, FACTORS))


@pytest.mark.parametrize(
    ("request_", "fields", "model"),
    [
        (response(), {}, TOOL_MODEL),
        (response(), {"image_model": "gpt-image-2"}, "gpt-image-2"),
        (response({"model": "gpt-image-1-mini"}), {"image_model": "gpt-image-2"}, "gpt-image-1-mini"),
        (read_chat(b'{"model":"gpt-4o","messages":[{}],"modalities":["image"]}'), {}, "gpt-4o"),
        (
            read_chat(b'{"model":"gpt-4o","messages":[{}],"modalities":["image"]}'),
            {"upstream_model": "google/painter"},
            "google/painter",
        ),
        (read_generation(b'{"model":"gpt-4o","prompt":"x"}'), {"image_model": "gpt-image-2"}, "gpt-4o"),
    ],
)
def test_what_draws_is_who_was_asked_or_what_is_declared(
    request_: ImageRequest, fields: dict[str, Any], model: str
) -> None:
    assert drawing_model(request_, deployment(**fields)) == model


def test_images_and_the_most_text_are_held() -> None:
    held = asked_footprint(
        response(max_output_tokens=100, max_tool_calls=2),
        deployment(image_model="gpt-image-1.5"),
        PLACE,
        FACTORS,
    )
    unbounded = asked_footprint(response(), deployment(image_model="gpt-image-1.5"), PLACE, FACTORS)

    drawn = alone(n=2, width=1024, height=1024, quality="low")
    assert wh(held) == pytest.approx(drawn + TEXT_WH + 100 * WH_PER_TEXT_TOKEN)
    assert wh(unbounded) == pytest.approx(2 * drawn + TEXT_WH + MAX_TEXT_TOKENS * WH_PER_TEXT_TOKEN)
    assert (held.images, unbounded.images) == (2, 4)


@pytest.mark.parametrize(("bound", "tokens"), [({"max_tokens": 10}, 10), ({}, MAX_TEXT_TOKENS)])
def test_every_choice_of_a_chat_may_be_as_long(bound: dict[str, int], tokens: int) -> None:
    body = {"model": "gpt-4o", "messages": [{}], "n": 3, **bound}

    held = asked_footprint(read_chat(json.dumps(body).encode()), deployment(), PLACE, FACTORS)

    assert wh(held) == pytest.approx(TEXT_WH + 3 * tokens * WH_PER_TEXT_TOKEN)
    assert held.images == 0


def test_pictures_of_different_kinds_are_each_priced_by_their_own() -> None:
    pictures = (Picture(1024, 1024, "low"), Picture(1536, 1024, "high"), Picture(1024, 1024, "low"))
    delivered = Delivered(3, 1536, 1024, None, None, None, pictures=pictures, text_tokens=0)

    footprint = came(response(), delivered, image_model="gpt-image-1.5")

    low = alone(n=2, width=1024, height=1024, quality="low")
    high = alone(width=1536, height=1024, quality="high")
    assert wh(footprint) == pytest.approx(low + high + TEXT_WH)
    assert footprint.images == 3


def test_tokens_of_a_call_that_failed_are_charged_without_an_image() -> None:
    delivered = Delivered(0, None, None, None, 500, None, text_tokens=10)

    footprint = came(response(), delivered, image_model="gpt-image-1.5")

    assert wh(footprint) == pytest.approx(500 * 1.1e-3 + TEXT_WH + 10 * WH_PER_TEXT_TOKEN)
    assert footprint.images == 0


def test_the_model_that_drew_prices_what_nobody_named() -> None:
    delivered = Delivered(1, 1024, 1024, "low", None, None, image_model="gpt-image-1-mini", text_tokens=0)

    assert wh(came(response(), delivered)) == pytest.approx(
        alone("gpt-image-1-mini", width=1024, height=1024, quality="low") + TEXT_WH
    )
    named = came(response({"model": "gpt-image-1.5"}), delivered)
    assert wh(named) > wh(came(response(), delivered))


def test_text_of_an_unknown_length_counts_as_the_most() -> None:
    delivered = Delivered(1, 1024, 1024, "low", 272, None)

    footprint = came(response(max_output_tokens=200), delivered, image_model="gpt-image-1.5")

    assert wh(footprint) == pytest.approx(272 * 1.1e-3 + TEXT_WH + 200 * WH_PER_TEXT_TOKEN)


@pytest.mark.parametrize(("tokens", "warned"), [(7, True), (None, True), (0, False)])
def test_text_without_a_factor_is_told_where_there_is_any(tokens: int | None, warned: bool) -> None:
    delivered = Delivered(1, 1024, 1024, "low", 272, None, text_tokens=tokens)

    footprint = came(response(model="gpt-5"), delivered, image_model="gpt-image-1.5")

    assert (UNPRICED_TEXT in footprint.warnings) is warned
    assert wh(footprint) == pytest.approx(272 * 1.1e-3)


def test_nothing_that_could_be_priced_is_no_footprint() -> None:
    assert came(response(model="gpt-5"), NOTHING) is None
    assert came(read_generation(b'{"model":"gpt-4o","prompt":"x"}'), NOTHING) is None
    assert wh(came(response(), NOTHING)) > 0


def test_text_alone_has_no_price_in_money_unless_all_is_free() -> None:
    assert deployment(usd_per_image=0.04).price_usd(0) is None
    assert deployment(usd_per_image=0.04).price_usd(2) == Fraction("0.08")
    assert deployment(usd_per_image=0.0).price_usd(0) == 0
