"""Text is priced by a published figure or not at all."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork, Range, Site, TextWork
from gateway.footprint.text import estimate_text, find_writer

if TYPE_CHECKING:
    from pathlib import Path

FACTORS = load_factors()
US = Site(zone="US")
PUBLISHED_WH = ((100, 300, 0.42), (1000, 1000, 1.215))


@pytest.mark.parametrize(("tokens_in", "tokens_out", "wh"), PUBLISHED_WH)
def test_the_published_points_come_out(tokens_in: int, tokens_out: int, wh: float) -> None:
    found = estimate_text(TextWork("gpt-4o", tokens_out, tokens_in, measured=True), US, FACTORS)

    assert found is not None
    assert found.energy_wh.central == pytest.approx(wh, rel=0.005)
    assert found.images == 0


@pytest.mark.parametrize("name", ["gpt-4o", "openai/gpt-4o", "GPT-4o-2024-08-06", "chatgpt-4o-latest"])
def test_a_model_is_found_by_any_spelling_of_its_name(name: str) -> None:
    writer = find_writer(name, FACTORS)

    assert writer is not None
    assert writer.per_token.id == "text.gpt-4o"


@pytest.mark.parametrize(
    "name", ["gpt-5", "gpt-4o-mini", "my-gpt-4o", "flux.1-dev", "dall-e-3", "unknown", ""]
)
def test_a_model_without_a_published_figure_has_none(name: str) -> None:
    assert find_writer(name, FACTORS) is None
    assert estimate_text(TextWork(name, 100), US, FACTORS) is None


def test_a_model_that_draws_by_tokens_writes_with_the_same() -> None:
    writer = find_writer("google/gemini-2.5-flash-image", FACTORS)

    assert writer is not None
    assert writer.per_token.id == "token.large"


def test_a_text_model_of_the_operators_is_found(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    mine = "{id: mine, names: [my-model], energy: text.mine, source: measured by us, year: 2026}"
    constant = "{id: text.mine, value: 0.5, unit: mWh, source: measured by us, year: 2026}"
    file.write_text(f"constants: [{constant}]\ntext_models: [{mine}]\n")

    found = estimate_text(TextWork("my-model", 2000, 10), US, load_factors([file]))

    assert found is not None
    assert found.energy_wh.central == pytest.approx(1.0)
    file.write_text(f"text_models: [{mine}]\n")
    with pytest.raises(ConfigError, match=r"unknown energy constant 'text\.mine'"):
        load_factors([file])


def test_long_and_unknown_inputs_widen_the_bounds() -> None:
    bounds = []
    for tokens_in in (1000, 1001, None):
        found = estimate_text(TextWork("gpt-4o", 300, tokens_in), US, FACTORS)
        assert found is not None
        bounds.append(found.energy_wh.high / found.energy_wh.central)

    assert bounds[0] < bounds[1] == bounds[2]


@given(st.integers(0, 10**6), st.integers(1, 10), st.sampled_from(["FR", "US", None]))
def test_images_and_text_add_up(tokens: int, images: int, zone: str | None) -> None:
    drawn = estimate(ImageWork("gpt-image-2", n=images, width=512, height=512), Site(zone=zone), FACTORS)
    text = estimate_text(TextWork("gpt-4o", tokens, 10, measured=True), Site(zone=zone), FACTORS)
    assert text is not None

    both = drawn.plus(text)

    assert both.images == images
    for one in fields(drawn):
        parts = [getattr(footprint, one.name) for footprint in (drawn, text, both)]
        if isinstance(parts[0], Range):
            assert parts[2].low <= parts[2].central <= parts[2].high
            assert math.isclose(parts[2].central, parts[0].central + parts[1].central)
    assert {use.id for use in both.factors} >= {"text.gpt-4o", "token.large"}
    assert [step.name for step in both.steps if step.name.startswith("text_")]


def test_a_text_has_no_energy_per_image() -> None:
    text = estimate_text(TextWork("gpt-4o", 10), US, FACTORS)

    assert text is not None
    assert text.gpu_energy_wh_per_image is None
