"""A chart of a simulation as SVG: grams of CO2e per day under each strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.simulation.replay import STRATEGIES

if TYPE_CHECKING:
    from gateway.simulation.simulate import Result

WIDTH, HEIGHT = 900, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 40
COLOURS = {"even": "#8a8a8a", "fixed": "#c77d11", "policy": "#1b7f4b", "optimum": "#2458a6"}
TICKS = 4


def svg(result: Result) -> str:
    """The chart as the text of an SVG file."""
    days = sorted({day for one in result.strategies.values() for day in one.daily_gco2})
    top = max(max(one.daily_gco2.values(), default=0.0) for one in result.strategies.values()) or 1.0
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    span = max(1, days[-1] - days[0]) if days else 1

    def spot(day: int, grams: float) -> str:
        return f"{LEFT + width * (day - days[0]) / span:.1f},{TOP + height * (1 - grams / top):.1f}"

    images = result.strategies["policy"].images
    title = f"gCO2e per day, {images} images, objective {result.objective}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{title}</text>',
    ]
    for tick in range(TICKS + 1):
        y = TOP + height * (1 - tick / TICKS)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * tick / TICKS:.4g}</text>'
        )
    for place, name in enumerate(STRATEGIES):
        daily = result.strategies[name].daily_gco2
        line = " ".join(spot(day, daily.get(day, 0.0)) for day in days)
        x = LEFT + place * 110
        parts.append(
            f'<polyline fill="none" stroke="{COLOURS[name]}" stroke-width="1.5" points="{line}"/>'
            f'<rect x="{x}" y="30" width="12" height="12" fill="{COLOURS[name]}"/>'
            f'<text x="{x + 16}" y="40">{name}</text>'
        )
    parts.append(
        f'<text x="{LEFT}" y="{HEIGHT - 12}">day 1</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 12}" text-anchor="end">day {span + 1}</text></svg>'
    )
    return "\n".join(parts) + "\n"
