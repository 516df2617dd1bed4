"""The numbers on the page that explains the method are those of the code."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest

from gateway.footprint.estimate import estimate
from gateway.footprint.factors import FactorSet, load_factors
from gateway.footprint.quantities import METHOD_RANKS, Footprint, ImageWork, Site
from tests.footprint.test_accuracy import gpu_energy, predict, rows, without_measurements_of

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = (Path(__file__).parents[2] / "docs" / "methodology.md").read_text()
ON_THE_US_GRID = Site(zone="US", gpu="H100", precision="bf16", batch=1, pue=1.15, wue_l_per_kwh=0.375)


def table(heading: str) -> list[list[str]]:
    """The cells of the rows of the table whose heading row starts so."""
    lines = PAGE.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {heading}"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def as_printed(shown: str, value: float) -> None:
    """`value` rounds to what the page shows, in the last digit that it shows."""
    decimals = len(shown.partition(".")[2])
    half_a_digit = 0.5 * 10**-decimals if decimals or not shown.endswith("0") else 5.0
    assert float(shown) == pytest.approx(value, abs=half_a_digit * 1.02), (shown, value)


def test_every_source_that_the_page_names_is_listed() -> None:
    named = {
        name.strip() for group in re.findall(r"\[([A-Z][A-Z0-9, -]+)\]", PAGE) for name in group.split(",")
    }

    assert len(named) >= 20
    assert named <= set(load_factors().sources)


def test_the_methods_are_those_of_the_code_in_order() -> None:
    assert {name.strip("`"): rank for rank, name, *_ in table("rank")} == dict(METHOD_RANKS)


def test_the_coefficients_of_the_gpus_are_those_of_the_code() -> None:
    gpus = load_factors().gpus

    for name, energy, step, power in table("GPU"):
        gpu = gpus[name]
        assert (gpu.pj_per_flop, gpu.step_j, gpu.power_w) == (float(energy), float(step), float(power))


def test_the_spread_terms_are_those_of_the_code() -> None:
    spreads = load_factors().spreads
    terms = [half for row in table("term") for half in (row[:3], row[3:])]

    assert len(terms) == 30
    for name, up, down in terms:
        term = spreads[name.strip("`")]
        assert (term.up, term.down) == (float(up), float(down) if down else None), name


@pytest.mark.parametrize("row", table("image at 1024x1024"), ids=lambda row: row[0])
def test_the_worked_examples_are_computed(row: list[str]) -> None:
    model, steps = row[0].removesuffix(" steps").split(", ")
    footprint = estimate(
        ImageWork(model, width=1024, height=1024, steps=int(steps)), ON_THE_US_GRID, load_factors()
    )
    assert footprint.carbon_embodied_g is not None
    computed = (
        footprint.energy_wh.central,
        footprint.water_onsite_ml.central,
        footprint.water_offsite_ml.central,
        footprint.carbon_use_g.central,
        footprint.carbon_embodied_g.central,
    )

    for shown, value in zip(row[1:], computed, strict=True):
        as_printed(shown, value)


def five_litres(case: str) -> Footprint:
    model, size, *words = case.replace(",", "").split()
    work = ImageWork(model, width=int(size.split("x")[0]), height=int(size.split("x")[1]))
    site = Site(gpu="H100" if "H100" in words else None, precision="bf16" if "H100" in words else None)
    if "high" in words:
        work = replace(work, quality="high")
    else:
        work, site = replace(work, steps=int(words[0])), replace(site, batch=1)
    if "zone" not in words:
        return estimate(work, replace(site, provider=words[-2], region=words[-1]), load_factors())
    zone = words[-1]
    if "H100" in words:
        site = replace(site, pue=1.15, wue_l_per_kwh=0.375)
    return estimate(work, replace(site, zone=zone), load_factors())


@pytest.mark.parametrize("row", table("case"), ids=lambda row: row[0])
def test_the_supported_range_of_water_is_computed(row: list[str]) -> None:
    footprint = five_litres(row[0])
    water = footprint.water_ml

    as_printed(row[1], footprint.it_energy_wh.central)
    for shown, value in zip(row[2:], (water.low, water.central, water.high), strict=True):
        as_printed(shown, value)


def test_five_litres_are_far_from_every_supported_case() -> None:
    central = [five_litres(row[0]).water_ml.central for row in table("case")]
    heat_kwh = 5 * 2.26 / 3.6

    assert heat_kwh == pytest.approx(3.14, abs=0.005)
    assert heat_kwh / 0.7 == pytest.approx(4.5, abs=0.05)
    assert pytest.approx(750, rel=0.01) == 5000 / (1.15 + 1.15 * 4.81)
    assert 750 / five_litres(table("case")[1][0]).it_energy_wh.central == pytest.approx(400, rel=0.05)
    assert max(central) < 5000 / 30
    assert 300 <= 5000 / median(central[1:3]) <= 700


def without_gpu(row: dict[str, str], factors: FactorSet) -> FactorSet:
    family = row["gpu"].split("-")[0]
    anchors = {name: tuple(a for a in found if a.gpu != family) for name, found in factors.anchors.items()}
    return replace(factors, anchors=anchors)


def test_the_table_of_accuracy_is_measured() -> None:
    factors = load_factors()
    formula = replace(factors, anchors={})
    validation, public = rows("validation_points.csv"), rows("measured_public.csv")
    small = [row for row in public if int(row["batch"]) <= 8]
    cases: list[tuple[list[dict[str, str]], Callable[[dict[str, str]], FactorSet]]] = [
        (validation, lambda _: factors),
        (validation, lambda _: formula),
        (public, lambda _: factors),
        (public, lambda row: without_measurements_of(row["model"], factors)),
        (small, lambda _: formula),
        (public, lambda row: without_gpu(row, factors)),
        (rows("measured_shared.csv"), lambda _: factors),
    ]
    for (points, factors_for), shown in zip(cases, table("predicted"), strict=True):
        bands = [(gpu_energy(predict(row, factors_for(row))), float(row["gpu_wh"])) for row in points]
        errors = [abs(band.central / measured - 1) for band, measured in bands]
        covered = sum(band.low <= measured <= band.high for band, measured in bands) / len(bands)
        figures = [f"{round(100 * value)} %" for value in (median(errors), max(errors), covered)]

        assert [str(len(points)), *figures] == shown[1:], shown[0]


def test_the_coverage_that_the_page_claims_is_there() -> None:
    factors = load_factors()
    regions = [key for key in factors.regions if key[0] in ("aws", "azure", "gcp") and key[1] != "*"]

    assert len(regions) > 140
    assert sum(row.ewif_l_per_kwh is not None for row in factors.grid.values() if row.iso3) == 49
    assert len(factors.architectures) == 4
