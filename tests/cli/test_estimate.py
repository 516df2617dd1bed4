"""`ecogate estimate` as people and scripts run it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork, Site

if TYPE_CHECKING:
    from pathlib import Path

FLUX = ["--model", "black-forest-labs/FLUX.1-dev", "--size", "1024x1024", "--steps", "50", "--gpu", "H100"]


def run(*options: str, stdin: str | None = None) -> Any:
    return CliRunner().invoke(app, ["estimate", *options], input=stdin)


def shown(*options: str) -> dict[str, Any]:
    result = run(*options, "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def lines(stdin: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
    result = run("--jsonl", *options, stdin=stdin)
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


def test_json_has_the_gpu_energy_of_one_image_beside_the_footprint_of_all() -> None:
    one, four = shown(*FLUX, "--batch", "1"), shown(*FLUX, "--batch", "1", "--n", "4")

    assert one["gpu_energy_wh"]["central"] == pytest.approx(2.20794)
    assert four["gpu_energy_wh"] == pytest.approx(one["gpu_energy_wh"])
    assert four["energy_wh"]["central"] == pytest.approx(4 * one["energy_wh"]["central"])
    assert four["parts"]["gpu_energy_wh"]["central"] == pytest.approx(4 * 2.20794)


def test_json_explains_every_step_with_numbers_factors_and_sources() -> None:
    answer = shown(*FLUX, "--region", "eu-north-1")
    sources = {factor["id"]: factor["source"] for factor in answer["factors"]}

    assert [step["name"] for step in answer["steps"]][:2] == ["anchor", "it_energy"]
    for step in answer["steps"]:
        assert step["inputs"]
        assert all(sources[factor] for factor in step["factors"])


def test_json_is_the_footprint_of_the_library() -> None:
    work = ImageWork("sdxl", n=2, width=1024, height=768, steps=28)
    site = Site(zone="FR", gpu="H100", precision="bf16")
    expected = estimate(work, site, load_factors()).as_json(explain=True)
    answer = shown(
        *("--model", "sdxl", "--size", "1024x768", "--steps", "28", "--n", "2"),
        *("--gpu", "H100", "--precision", "bf16", "--zone", "FR"),
    )

    assert json.loads(json.dumps(expected)).items() <= answer.items()


def test_an_unknown_model_is_estimated_with_a_warning() -> None:
    assert "unknown_model:" in run("--model", "nobody/knows-this").stdout


def test_every_option_reaches_the_estimate() -> None:
    plain = shown("--model", "sdxl", "--size", "1024x1024")

    for option, value in {
        "--steps": "99", "--n": "2", "--cfg": "1", "--gpu": "A100", "--num-gpus": "4", "--precision": "fp32",
        "--batch": "32", "--zone": "FR", "--pue": "2", "--wue": "5", "--frames": "3", "--strength": "0.3",
        "--input-images": "2", "--partial-images": "3", "--carbon-intensity": "7", "--region": "us-east-1",
        "--provider": "gcp", "--gpu-seconds": "5", "--node-wh": "9", "--market-intensity": "0",
    }.items():  # fmt: skip
        changed = shown("--model", "sdxl", "--size", "1024x1024", option, value)
        assert changed != plain, option
    assert shown("--model", "gpt-image-2", "--quality", "low") != shown("--model", "gpt-image-2")
    counted = shown("--model", "gpt-image-2", "--output-tokens", "7")
    assert counted["energy_wh"]["central"] == pytest.approx(0.0077)


def test_a_region_is_found_without_its_provider() -> None:
    answer = shown(*FLUX, "--region", "swedencentral")

    assert answer["zone"] == "SE"
    assert "pue.azure.swedencentral" in [factor["id"] for factor in answer["factors"]]


def test_people_read_a_table_with_bands_and_assumptions() -> None:
    result = run("--model", "sdxl", "--n", "2")

    assert result.exit_code == 0
    assert "2 image(s) of sdxl" in result.stdout
    assert " to " in result.stdout
    assert "GPU not given" in result.stdout


@pytest.mark.parametrize(
    "options",
    [
        (),
        *(("--model", "sdxl", "--size", size) for size in ("big", "10x", "0x0")),
        ("--model", "m", "--n", "0"),
    ],
)
def test_a_mistake_on_the_command_line_is_a_usage_error(options: tuple[str, ...]) -> None:
    assert run(*options).exit_code == 2


def test_each_line_of_a_file_has_one_result_in_order() -> None:
    asked = [
        {"model": "sdxl", "size": "1024x1024", "steps": 25, "cfg": 2, "gpu": "H100", "batch": 1},
        {"id": "second", "model": "gpt-image-2", "quality": "low", "n": 2, "region": None},
    ]  # fmt: skip
    code, results = lines("\n".join(json.dumps(line) for line in asked))

    assert code == 0
    assert [result["line"] for result in results] == [1, 2]
    assert results[0]["gpu_energy_wh"]["central"] == pytest.approx(0.269267)
    assert (results[1]["id"], results[1]["images"]) == ("second", 2)


def test_a_bad_line_has_an_error_with_its_number_and_stops_nothing() -> None:
    stdin = '{"model": "sdxl"}\n\nnot json\n{"model": "sdxl", "stepz": 2}\n[1]\n{"model": "sdxl"}\n'
    code, results = lines(stdin)

    assert code == 1
    assert [(result["line"], "error" in result) for result in results] == [
        (1, False), (3, True), (4, True), (5, True), (6, False)
    ]  # fmt: skip
    assert "line 4" in results[2]["error"]["message"]
    assert "did you mean 'steps'" in results[2]["error"]["message"]


def test_an_answer_line_equals_the_answer_to_the_same_options() -> None:
    _, [line] = lines('{"model": "sdxl", "zone": "FR", "gpu": "A100", "steps": 30}')
    alone = shown("--model", "sdxl", "--zone", "FR", "--gpu", "A100", "--steps", "30")

    assert {key: value for key, value in line.items() if key != "line"} == alone


def test_an_operators_factors_are_used(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "grid:\n  - {zone: FR, country: France, gco2e_per_kwh: 300, source: our utility, year: 2026}\n"
    )

    own, bundled = (shown(*FLUX, "--zone", "FR", *extra) for extra in (("--factors", str(file)), ()))
    assert own["parts"]["carbon_use_g"]["central"] > 5 * bundled["parts"]["carbon_use_g"]["central"]
    assert own["factor_set"] != bundled["factor_set"]


def test_mistakes_in_an_operators_factors_are_told_with_their_place(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("grid:\n  - {zone: FR}\n")
    result = run(*FLUX, "--factors", str(file))

    assert result.exit_code == 2
    assert f"{file}:2:5" in result.stderr
