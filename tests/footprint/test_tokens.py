from __future__ import annotations

import pytest

from gateway.footprint.factors import load_factors
from gateway.footprint.tokens import counts_size, image_tokens, largest_quality, parse_size

# read from OpenAI's calculator and guide
GPT_IMAGE_1 = {"low": (272, 408, 400), "medium": (1056, 1584, 1568), "high": (4160, 6240, 6208)}
GPT_IMAGE_2 = {
    "1024x1024": (196, 1756, 7024),
    "1536x1024": (158, 1372, 5488),
    "1024x1536": (158, 1372, 5488),
    "2048x2048": (397, 3568, 14272),
    "3840x2160": (371, 3336, 13342),
}
GPT_IMAGE_2_5 = {
    "1024x1024": (196, 439, 1756, 3122, 7024),
    "1536x1024": (158, 343, 1372, 2459, 5488),
    "2048x2048": (397, 892, 3568, 6343, 14272),
    "3840x2160": (371, 865, 3336, 5930, 13342),
}


def tokens(rule: str, size: str, quality: str | None) -> int:
    return image_tokens(load_factors().token_rules[rule], *parse_size(size), quality)


@pytest.mark.parametrize("quality", GPT_IMAGE_1)
def test_gpt_image_1_follows_the_published_table(quality: str) -> None:
    sizes = ("1024x1024", "1024x1536", "1536x1024")

    assert tuple(tokens("gpt-image-1", size, quality) for size in sizes) == GPT_IMAGE_1[quality]


@pytest.mark.parametrize("size", GPT_IMAGE_2)
def test_gpt_image_2_follows_the_calculator(size: str) -> None:
    assert tuple(tokens("gpt-image-2", size, q) for q in ("low", "medium", "high")) == GPT_IMAGE_2[size]


@pytest.mark.parametrize("size", GPT_IMAGE_2_5)
def test_gpt_image_2_5_follows_the_calculator(size: str) -> None:
    rising = ("low", "medium", "high", "xhigh", "max")

    assert tuple(tokens("gpt-image-2.5", size, quality) for quality in rising) == GPT_IMAGE_2_5[size]


def test_a_size_outside_the_table_costs_the_next_larger_one() -> None:
    assert tokens("gpt-image-1", "512x512", "low") == 272
    assert tokens("gpt-image-1", "1200x1024", "low") == 408
    assert tokens("gpt-image-1", "3072x1536", "low") == 408 * 3


def test_the_largest_size_of_a_rule_has_the_most_tokens_of_all_legal_sizes() -> None:
    edges = range(256, 3841, 64)
    for name in ("gpt-image-2", "gpt-image-2.5"):
        rule = load_factors().token_rules[name]
        quality = largest_quality(rule)
        legal = [
            (w, h)
            for w in edges
            for h in edges
            if 655_360 <= w * h <= 8_294_400 and max(w, h) <= 3 * min(w, h)
        ]
        assert tokens(name, rule.largest_size, quality) >= max(
            image_tokens(rule, w, h, quality) for w, h in legal
        )


def test_a_flat_rule_grows_beyond_the_size_it_knows() -> None:
    assert tokens("gemini-2.5-flash-image", "512x512", None) == 1290
    assert tokens("gemini-2.5-flash-image", "2048x1024", None) == 2 * 1290


@pytest.mark.parametrize(
    ("rule", "counts"),
    [
        ("gemini-3.1-flash-image", (747, 1120, 1120, 1680, 2520)),
        ("gemini-3-pro-image", (1120, 1120, 1120, 1120, 2000)),
    ],
)
def test_gemini_counts_by_class_of_size(rule: str, counts: tuple[int, ...]) -> None:
    """512, 1K, 1K at 16:9, 2K and 4K, as Google documents and prices them."""
    sizes = ("512x512", "1024x1024", "1376x768", "2048x2048", "4096x4096")

    assert tuple(tokens(rule, size, None) for size in sizes) == counts


def test_a_size_between_two_classes_costs_the_larger_one() -> None:
    assert tokens("gemini-3.1-flash-image", "1500x1500", None) == 1680
    assert tokens("gemini-3.1-flash-image", "8192x8192", None) > 2520


@pytest.mark.parametrize(
    ("rule", "size", "counted"),
    [
        ("gpt-image-1", "1024x1536", True),
        ("gpt-image-1", "1024x1025", False),
        ("gpt-image-2", "1040x1024", True),
        ("gemini-2.5-flash-image", "2048x2048", False),
        ("gemini-3-pro-image", "4096x4096", True),
        ("gemini-3-pro-image", "8192x4096", False),
    ],
)
def test_a_rule_knows_which_sizes_it_counts(rule: str, size: str, counted: bool) -> None:
    assert counts_size(load_factors().token_rules[rule], *parse_size(size)) is counted


def test_a_rule_with_qualities_needs_one() -> None:
    with pytest.raises(ValueError, match="needs a quality"):
        tokens("gpt-image-2", "1024x1024", None)
