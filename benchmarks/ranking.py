"""How long ranking takes: 20 candidates whose footprints are known, best of many rounds.

    python benchmarks/ranking.py

Prints microseconds per call with and without an incumbent and residency rules. The target is 100.
"""

from __future__ import annotations

import timeit
from dataclasses import replace

from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork, Site
from gateway.routing.rank import Candidate, rank
from gateway.upstreams.deployments import Deployment
from gateway.upstreams.rules import Rules

ZONES = (
    "SE FR NO FI CH AT DK BE ES PT GB IE NL DE IT CZ US JP AU PL".split()  # noqa: SIM905
)


def main() -> None:
    factors = load_factors()
    work = ImageWork("black-forest-labs/FLUX.1-dev", width=1024, height=1024, steps=28)
    candidates = [
        Candidate(
            Deployment(zone.lower(), ("m",), "http://127.0.0.1/v1"),
            estimate(work, Site(zone=zone, gpu="H100"), factors),
            free=0.5,
            places=frozenset({zone.lower(), "eu"}),
            usd=0.04,
        )
        for zone in ZONES
    ]
    strict = Rules(residency=("eu",), usd_per_image=0.05)
    for label, rules, incumbent in (
        ("plain", Rules(), None),
        ("incumbent, residency and price cap", strict, "fr"),
        ("weighted", replace(strict, objective="weighted"), "fr"),
    ):
        timer = timeit.Timer(
            lambda rules=rules, incumbent=incumbent: rank(candidates, rules, incumbent=incumbent)
        )
        best = min(timer.repeat(repeat=20, number=200)) / 200 * 1e6
        print(f"{label:36} {best:7.1f} us for {len(candidates)} candidates")


if __name__ == "__main__":
    main()
