"""What routing saves on public hourly traces, on a part to develop on and a part that is kept apart.

    python benchmarks/routing_traces.py --traces DIR [--part development|holdout] [--sets 100] [--ages 1,6]

DIR holds CSV files `zone,time,gco2_per_kwh`. Zones are split by a hash of their name. The development part
has the zones of one half up to 2022; the hold-out part has those of the other half, after 2022 where there is
such a year, and 2022 else. Each set is 2 to 8 zones over 1 to 56 days with some trouble (`TROUBLES`), drawn
from a seed, so that anyone with the same files gets the same sets.
"""

from __future__ import annotations

import argparse
import hashlib
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from gateway.footprint.factors import load_factors
from gateway.routing.readings import SECONDS_PER_HOUR
from gateway.routing.signal_file import Trace, read_signals
from gateway.simulation.choice import Outage
from gateway.simulation.options import options_for
from gateway.simulation.simulate import World, simulated
from gateway.simulation.traces import Arrival
from gateway.upstreams.deployments import Deployment, Hardware, Location
from gateway.upstreams.rules import Rules

FACTORS = load_factors()
MODEL = "black-forest-labs/FLUX.1-dev"
LAST_DEVELOPMENT_YEAR = 2022
HOURS_PER_DAY = 24
YEAR_H = 365 * HOURS_PER_DAY
HISTORY_H = 60 * HOURS_PER_DAY
DAYS = (1, 3, 7, 28, 56)
TROUBLES = (
    "none",
    "near-equal zones",
    "no history",
    "history of another season",
    "history of other zones",
    "missing hours",
    "a zone stops",
    "constant zones",
    "outage",
)
GOAL = 0.97

Hours = dict[int, float]


@dataclass(frozen=True, slots=True)
class Case:
    """One set: what happened, what was known before, and what went wrong."""

    trouble: str
    days: int
    trace: Trace
    history: Trace | None
    outage: Outage | None
    arrivals: list[Arrival]


def is_development(zone: str) -> bool:
    return hashlib.sha256(zone.encode()).digest()[0] % 2 == 0


def pools(directory: Path, part: str) -> list[dict[str, Hours]]:
    """Zones that can be compared: those of several years, and those of one."""
    zones: dict[str, Hours] = defaultdict(dict)
    for file in sorted(directory.glob("*.csv")):
        for zone, hours in read_signals(file).carbon.items():
            if is_development(zone) == (part == "development"):
                zones[zone].update(hours)
    many: dict[str, Hours] = {}
    one: dict[str, Hours] = {}
    for zone, hours in zones.items():
        (many if len(hours) > YEAR_H + HISTORY_H else one)[zone] = hours
    return [pool for pool in (many, one) if len(pool) > 1]


def case(number: int, groups: list[dict[str, Hours]], part: str) -> Case:
    """The set with this number; always the same one."""
    draw = random.Random(f"{part} {number}")  # noqa: S311
    pool = groups[number % len(groups)]
    trouble = TROUBLES[number // len(groups) % len(TROUBLES)]
    days = draw.choice(DAYS)
    start, end = _stretch(draw, pool, days, part)
    covered = [zone for zone in sorted(pool) if _covers(pool[zone], start - HISTORY_H, end)]
    count = min(draw.randint(2, 8), len(covered))
    if trouble == "near-equal zones":
        means = {zone: fmean(pool[zone].get(hour, 0) for hour in range(start, end)) for zone in covered}
        middle = means[draw.choice(covered)]
        names = sorted(covered, key=lambda zone: abs(means[zone] - middle))[:count]
    else:
        names = draw.sample(covered, count)
    carbon = {
        zone: {hour: pool[zone][hour] for hour in range(start, end) if hour in pool[zone]} for zone in names
    }
    before = start
    if trouble == "history of another season":
        before = (
            start - YEAR_H // 2 if _covers(pool[names[0]], start - YEAR_H // 2 - HISTORY_H, start) else start
        )
    sources = dict(zip(names, draw.sample(names, count), strict=True))
    history = {
        zone: {
            hour: value
            for hour, value in pool[sources[zone] if trouble == "history of other zones" else zone].items()
            if before - HISTORY_H <= hour < before
        }
        for zone in names
    }
    _spoil(draw, trouble, carbon, start, end)
    outage = None
    if trouble == "outage":
        first = draw.randrange(start, end)
        outage = Outage(first * SECONDS_PER_HOUR, (first + draw.randint(1, 240)) * SECONDS_PER_HOUR)
    peak = draw.randrange(HOURS_PER_DAY)
    arrivals = [
        Arrival(hour * SECONDS_PER_HOUR + draw.uniform(0, 3599), 1 + 2 * (abs(hour % 24 - peak) < 6))
        for hour in range(start, end)
    ]
    known = None if trouble == "no history" or draw.random() < 0.1 else Trace(carbon=history)
    return Case(trouble, days, Trace(carbon=carbon), known, outage, arrivals)


def _stretch(draw: random.Random, pool: dict[str, Hours], days: int, part: str) -> tuple[int, int]:
    hours = pool[draw.choice(sorted(pool))]
    boundary = int(datetime(LAST_DEVELOPMENT_YEAR + 1, 1, 1, tzinfo=UTC).timestamp() // SECONDS_PER_HOUR)
    low, high = min(hours) + HISTORY_H, max(hours) + 1
    if part == "development":
        high = min(high, boundary)
    elif high > boundary + HISTORY_H:
        low = max(low, boundary)
    start = draw.randrange(low, high - days * HOURS_PER_DAY)
    return start, start + days * HOURS_PER_DAY


def _covers(hours: Hours, start: int, end: int) -> bool:
    return sum(hour in hours for hour in range(start, end)) > 0.9 * (end - start)


def _spoil(draw: random.Random, trouble: str, carbon: dict[str, Hours], start: int, end: int) -> None:
    if trouble == "missing hours":
        for hours in carbon.values():
            for hour in [hour for hour in hours if draw.random() < 0.1]:
                del hours[hour]
    if trouble == "a zone stops":
        hours = carbon[draw.choice(sorted(carbon))]
        last = draw.randrange(start + 1, end)
        for hour in [hour for hour in hours if hour >= last]:
            del hours[hour]
    if trouble == "constant zones":
        for zone in draw.sample(sorted(carbon), len(carbon) // 2):
            carbon[zone] = dict.fromkeys(carbon[zone], round(fmean(carbon[zone].values())))


def figures(one: Case, age_h: float, min_gain: float) -> tuple[float | None, float, float, float]:
    """Share of the optimum's saving, cost against the fixed choice, policy and optimum switches per day."""
    deployments = [
        Deployment(
            zone.lower(),
            ("m",),
            "http://127.0.0.1/v1",
            upstream_model=MODEL,
            location=Location(provider="self", zone=zone, pin="region"),
            hardware=Hardware(gpu="H100", pue=1.1),
        )
        for zone in one.trace.carbon
    ]
    rules = Rules(min_gain=min_gain)
    options = options_for("-", deployments, "m", one.trace, rules=rules, factors=FACTORS)
    result = simulated(
        World("m", rules, options, one.trace, one.history, one.arrivals), age_h=age_h, outage=one.outage
    )
    saved = result.saving("policy", "fixed")
    switches = result.strategies["policy"].switches / one.days
    return (
        result.share_of_optimum(),
        -(saved or 0.0),
        switches,
        result.strategies["optimum"].switches / one.days,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, required=True)
    parser.add_argument("--part", choices=["development", "holdout"], default="development")
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first set")
    parser.add_argument("--ages", default="1,3,6,12,24,48")
    parser.add_argument("--min-gain", type=float, default=0.05)
    parser.add_argument("--rows", action="store_true", help="every set, not only the sums")
    asked = parser.parse_args()
    groups = pools(asked.traces, asked.part)
    cases = [case(number, groups, asked.part) for number in range(asked.first, asked.first + asked.sets)]
    print(f"{asked.part}: {asked.sets} sets from {[len(pool) for pool in groups]} zones")
    print(f"{'age h':>5} {'share of optimum':>32} {'against fixed':>22} {'switches/day':>14}")
    for age in (float(text) for text in asked.ages.split(",")):
        found = [
            (number, one, *figures(one, age, asked.min_gain)) for number, one in enumerate(cases, asked.first)
        ]
        if asked.rows:
            for number, one, share, extra, switches, _ in found:
                shown = "-" if share is None else f"{share:.4f}"
                print(
                    f"  set {number:3} {one.trouble:26} {len(one.trace.carbon)} zones {one.days:2} d "
                    f"history {'yes' if one.history else 'no ':3} share {shown} {extra:+.4%} {switches:.2f}/d"
                )
        shares = [share for _, _, share, _, _, _ in found if share is not None]
        extras = [extra for _, _, _, extra, _, _ in found]
        per_day = [switches for _, _, _, _, switches, _ in found]
        low = sum(share < GOAL for share in shares)
        print(
            f"{age:5g} {fmean(shares):8.2%} min {min(shares):7.2%} {low:3} below {GOAL:.0%}"
            f" {fmean(extras):+8.2%} worst {max(extras):+.2%} {fmean(per_day):6.2f} most {max(per_day):.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
