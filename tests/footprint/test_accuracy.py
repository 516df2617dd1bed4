"""How far the estimates are from published measurements. Each row of the CSV files names its source."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from gateway.footprint.catalogue import find_model
from gateway.footprint.estimate import estimate
from gateway.footprint.factors import FactorSet, load_factors
from gateway.footprint.quantities import Footprint, ImageWork, Range, Site

HERE = Path(__file__).parent
ERROR_WITH_ANCHOR = 0.05
ERROR_OF_FORMULA = 0.20


def rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(newline="") as file:
        return list(csv.DictReader(file))


def predict(row: dict[str, str], factors: FactorSet) -> Footprint:
    width, height = row["size"].split("x")
    work = ImageWork(
        row["model"],
        width=int(width),
        height=int(height),
        steps=int(row["steps"]),
        guidance_passes=int(row["passes"]),
    )
    site = Site(
        gpu=row["gpu"],
        precision=row["precision"],
        batch=int(row["batch"]),
        num_gpus=int(row.get("num_gpus", "1")),
    )
    return estimate(work, site, factors)


def gpu_energy(footprint: Footprint) -> Range:
    assert footprint.gpu_energy_wh is not None
    return footprint.gpu_energy_wh


def without_measurements_of(model: str, factors: FactorSet) -> FactorSet:
    architecture = find_model(model, factors).model.architecture
    return replace(factors, anchors={k: v for k, v in factors.anchors.items() if k != architecture})


@pytest.mark.parametrize("row", rows("validation_points.csv"), ids=lambda row: row["id"])
def test_a_validation_point_is_met_with_its_anchor(row: dict[str, str]) -> None:
    footprint = predict(row, load_factors())

    assert footprint.method == "anchor"
    assert gpu_energy(footprint).central == pytest.approx(float(row["gpu_wh"]), rel=ERROR_WITH_ANCHOR)


@pytest.mark.parametrize("row", rows("validation_points.csv"), ids=lambda row: row["id"])
def test_a_validation_point_is_met_by_the_formula_alone(row: dict[str, str]) -> None:
    footprint = predict(row, replace(load_factors(), anchors={}))

    assert footprint.method == "flops"
    assert gpu_energy(footprint).central == pytest.approx(float(row["gpu_wh"]), rel=ERROR_OF_FORMULA)


def test_a_model_left_out_is_predicted_from_its_work() -> None:
    factors, errors, covered = load_factors(), [], []
    for row in rows("measured_public.csv"):
        energy = gpu_energy(predict(row, without_measurements_of(row["model"], factors)))
        measured = float(row["gpu_wh"])
        errors.append(abs(energy.central / measured - 1))
        covered.append(energy.low <= measured <= energy.high)

    assert len(errors) >= 60
    assert median(errors) <= 0.10
    assert max(errors) <= 0.40
    assert sum(covered) / len(covered) >= 0.90


def test_a_network_without_any_calibration_is_predicted_from_its_work() -> None:
    """The formula alone, on every measurement of batches of one to eight."""
    formula, errors, covered = replace(load_factors(), anchors={}), [], []
    for row in rows("measured_public.csv"):
        if int(row["batch"]) > 8:
            continue
        energy, measured = gpu_energy(predict(row, formula)), float(row["gpu_wh"])
        errors.append(abs(energy.central / measured - 1))
        covered.append(energy.low <= measured <= energy.high)

    assert median(errors) <= 0.10
    assert max(errors) <= 0.40
    assert sum(covered) / len(covered) >= 0.90


def test_one_image_over_several_gpus_is_within_its_band() -> None:
    factors, errors, covered = load_factors(), [], []
    for row in rows("measured_shared.csv"):
        energy, measured = gpu_energy(predict(row, factors)), float(row["gpu_wh"])
        errors.append(abs(energy.central / measured - 1))
        covered.append(energy.low <= measured <= energy.high)

    assert len(errors) >= 30
    assert median(errors) <= 0.15
    assert sum(covered) / len(covered) >= 0.90


def test_every_public_measurement_lies_in_the_band_of_its_estimate() -> None:
    factors, covered, errors = load_factors(), [], []
    for row in rows("measured_public.csv"):
        energy = gpu_energy(predict(row, factors))
        covered.append(energy.low <= float(row["gpu_wh"]) <= energy.high)
        errors.append(abs(energy.central / float(row["gpu_wh"]) - 1))

    assert sum(covered) / len(covered) >= 0.95
    assert median(errors) <= ERROR_WITH_ANCHOR


def test_a_gpu_left_out_is_predicted_from_the_other_gpus() -> None:
    """The same network measured elsewhere calibrates the formula."""
    factors, errors = load_factors(), []
    for row in rows("measured_public.csv"):
        family = row["gpu"].split("-")[0]
        anchors = {k: tuple(a for a in v if a.gpu != family) for k, v in factors.anchors.items()}
        energy = gpu_energy(predict(row, replace(factors, anchors=anchors)))
        errors.append(abs(energy.central / float(row["gpu_wh"]) - 1))

    assert median(errors) <= 0.10
    assert max(errors) <= 0.40


def test_measured_rows_name_their_source() -> None:
    names = ("measured_public.csv", "measured_shared.csv", "validation_points.csv")

    assert all(row["source"] for name in names for row in rows(name))
