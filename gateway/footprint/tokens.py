"""How many output tokens one generated image has, by the rule of its model family.

Knows the four kinds of rule. Refuses to know energy. Counts exclude partial images.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.footprint.entries import TokenRule


def parse_size(size: str) -> tuple[int, int]:
    """`1024x1536` as (width, height) in pixels."""
    width, _, height = size.partition("x")
    return int(width), int(height)


def image_tokens(rule: TokenRule, width: int, height: int, quality: str | None) -> int:
    """Output tokens of one image. `quality` must be one of the rule's, or None for a rule without any."""
    if rule.kind == "flat":
        return _flat(rule, width * height)
    if rule.kind == "tiers":
        return _tiered(rule, width * height)
    if quality is None:
        msg = f"{rule.id} needs a quality"
        raise ValueError(msg)
    if rule.kind == "grid":
        return grid_tokens(rule.cells[quality], width, height)
    return _table(rule, width, height, quality)


def largest_quality(rule: TokenRule) -> str | None:
    """The quality with the most tokens; None where the family has none."""
    return rule.qualities[-1] if rule.qualities else None


@lru_cache(maxsize=1024)
def grid_tokens(cells: int, width: int, height: int) -> int:
    """OpenAI's calculator for gpt-image-2 and later; `cells` are those along the long edge.

    Python's `round` is half-even, as in the calculator.
    """
    short = max(1, round(cells * min(width, height) / max(width, height)))
    return ceil(cells * short * (2_000_000 + width * height) / 4_000_000)


def _flat(rule: TokenRule, pixels: int) -> int:
    tokens, counted = rule.tokens or 1, rule.pixels or 1
    return tokens if pixels <= counted else ceil(tokens * pixels / counted)


def _tiered(rule: TokenRule, pixels: int) -> int:
    """The count of the smallest class that holds the picture, and by pixels beyond the largest."""
    largest = rule.tiers[-1]
    fitting = next((tier.tokens for tier in rule.tiers if pixels <= tier.pixels), None)
    return fitting if fitting is not None else ceil(largest.tokens * pixels / largest.pixels)


def counts_size(rule: TokenRule, width: int, height: int) -> bool:
    """Whether the rule itself has a count for this size, rather than one stretched to it."""
    if rule.kind == "table":
        return any(f"{width}x{height}" in counts for counts in rule.table.values())
    limit = rule.pixels if rule.kind == "flat" else rule.tiers[-1].pixels if rule.tiers else None
    return limit is None or width * height <= limit


def _table(rule: TokenRule, width: int, height: int, quality: str) -> int:
    """The published count; for other sizes that of the next larger one, and by pixels beyond the largest."""
    counts = rule.table[quality]
    if (exact := counts.get(f"{width}x{height}")) is not None:
        return exact
    pixels = width * height
    by_pixels: dict[int, int] = {}
    for size, count in counts.items():
        edge, other = parse_size(size)
        by_pixels[edge * other] = max(count, by_pixels.get(edge * other, 0))
    for counted in sorted(by_pixels):
        if pixels <= counted:
            return by_pixels[counted]
    largest = max(by_pixels)
    return ceil(by_pixels[largest] * pixels / largest)
