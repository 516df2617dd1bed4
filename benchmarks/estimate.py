"""How long one footprint takes. Needs no network, no store and no gateway.

.venv/bin/python benchmarks/estimate.py [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork, Site

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = 7
CALLS = 2000
DIFFUSION = ImageWork("black-forest-labs/FLUX.1-dev", width=1024, height=1024, steps=28)
TOKENS = ImageWork("gpt-image-2", width=1024, height=1024, quality="medium")
SITES = [
    Site(provider="aws", region="eu-north-1", gpu="H100", precision="bf16", batch=1),
    Site(provider="azure", region="eastus", gpu="A100", precision="bf16", batch=4),
    Site(provider="openai"),
]


def microseconds(questions: Sequence[tuple[ImageWork, Site]]) -> float:
    """The median over rounds of the mean time of one estimate, in microseconds."""
    factors = load_factors()
    means = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for work, site in questions:
            estimate(work, site, factors)
        means.append((time.perf_counter() - start) / len(questions) * 1e6)
    return median(means)


def steady() -> list[tuple[ImageWork, Site]]:
    """What a gateway sees: the same few questions, in objects made anew for every request."""
    return [
        (replace(DIFFUSION if index % 2 else TOKENS), replace(SITES[index % 3])) for index in range(CALLS)
    ]


def unseen() -> list[tuple[ImageWork, Site]]:
    """Settling: every answer has another count of tokens or of pixels; more than any cache holds."""
    works = [replace(TOKENS, measured_output_tokens=1000 + index) for index in range(CALLS)]
    works += [replace(DIFFUSION, width=512 + index) for index in range(CALLS)]
    return [(work, SITES[index % 3]) for index, work in enumerate(works)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    shown = {"steady_us": microseconds(steady()), "unseen_us": microseconds(unseen())}
    if parser.parse_args().json:
        print(json.dumps(shown))
        return
    print(f"steady state, questions seen before: {shown['steady_us']:6.1f} us per estimate")
    print(f"questions never seen before:         {shown['unseen_us']:6.1f} us per estimate")


if __name__ == "__main__":
    main()
