"""How long ranking takes: 20 candidates whose footprints are known, best of many rounds, in CPU time.

    python benchmarks/ranking.py

Prints microseconds per call with and without an incumbent, hard limits, ejected and late candidates. The
target is 100.
"""

from __future__ import annotations

import time
import timeit
from dataclasses import replace

from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork, Site
from gateway.routing.rank import Candidate, rank
from gateway.upstreams.deployments import Deployment
from gateway.upstreams.rules import Rules, Weights

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
            latency_p95_s=12.0,
        )
        for zone in ZONES
    ]
    troubled = [
        replace(
            one,
            left_out="ejected for 12 s more: timeout" if place % 5 == 0 else None,
            late="usually takes up to 30 s, and the client waits for 10 s" if place % 2 else None,
        )
        for place, one in enumerate(candidates)
    ]
    strict = Rules(residency=("eu",), usd_per_image=0.05, latency_p95_s=60)
    weights = Weights(carbon=1, water=0.5, price=0.1, latency=0.1)
    for label, some, rules, incumbent in (
        ("plain", candidates, Rules(), None),
        ("incumbent, residency, caps", candidates, strict, "fr"),
        ("the same, some ejected, some late", troubled, strict, "fr"),
        ("weighted", candidates, replace(strict, objective="weighted", weights=weights), "fr"),
    ):
        timer = timeit.Timer(
            lambda some=some, rules=rules, incumbent=incumbent: rank(some, rules, incumbent=incumbent),
            timer=time.process_time,
        )
        best = min(timer.repeat(repeat=400, number=20)) / 20 * 1e6
        print(f"{label:36} {best:7.1f} us for {len(candidates)} candidates")


if __name__ == "__main__":
    main()
