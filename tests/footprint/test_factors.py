from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.errors import ConfigError
from gateway.footprint.catalogue import find_model
from gateway.footprint.estimate import estimate
from gateway.footprint.factors import DATA, check_factors, known_models, load_factors
from gateway.footprint.quantities import ImageWork, Site

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.footprint.entries import Sourced
    from gateway.footprint.factors import FactorSet

THIS_YEAR = 2026
CONSTANT = "constants:\n  - {{id: a, unit: g, {}}}\n"
TWICE = "constants:\n" + 2 * "  - {id: a, unit: g, value: 1, source: our meter, year: 2026}\n"
MODEL = """models:
  - {{id: x, kind: diffusion, names: [x], architecture: nope, passes: 1, largest_size: {size},
      source: our measurements, year: 2026}}
"""


def sourced(factors: FactorSet) -> list[Sourced]:
    sections = (
        factors.constants, factors.spreads, factors.gpus, factors.flops, factors.architectures,
        factors.token_rules, factors.models, factors.grid,
    )  # fmt: skip
    entries: list[Sourced] = [entry for section in sections for entry in section.values()]
    return entries + [anchor for found in factors.anchors.values() for anchor in found]


def test_every_bundled_factor_names_a_listed_source_and_a_year() -> None:
    factors = load_factors()
    named = {entry.source for entry in sourced(factors)}
    named |= {row.ewif_source for row in factors.grid.values() if row.ewif_source}
    named |= {gpu.embodied_source for gpu in factors.gpus.values() if gpu.embodied_source}
    named |= {source for row in factors.regions.values() for source in (row.pue_source, row.wue_source)}

    assert len(sourced(factors)) > 350
    assert named <= set(factors.sources)
    assert all(2010 <= entry.year <= THIS_YEAR for entry in sourced(factors))


def test_every_listed_source_is_used() -> None:
    factors = load_factors()
    text = "".join(file.read_text() for file in DATA.iterdir())

    for source in factors.sources:
        assert text.count(source) > 1, source


def test_no_bundled_grid_intensity_is_too_old_without_a_reason() -> None:
    assert check_factors(load_factors(), year=THIS_YEAR) == []


def test_an_old_intensity_without_a_reason_is_a_problem() -> None:
    factors = load_factors()
    old = factors.grid["FR"].model_copy(update={"year": THIS_YEAR - 4})
    problems = check_factors(replace(factors, grid={**factors.grid, "FR": old}), year=THIS_YEAR)

    assert [problem.message.split(":")[0] for problem in problems] == ["FR"]
    assert problems[0].file.endswith("grid.csv")
    assert problems[0].line > 1


def test_the_factor_set_has_one_version() -> None:
    assert load_factors() is load_factors()
    assert load_factors().version.startswith("2026-11-23-")


def test_known_models_are_listed() -> None:
    assert {"gpt-image-2", "flux.1-dev", "sdxl"} <= set(known_models())


def write(folder: Path, text: str) -> list[Path]:
    file = folder / "mine.yaml"
    file.write_text(text)
    return [file]


def test_an_operators_file_lies_over_the_bundled_factors(tmp_path: Path) -> None:
    own = load_factors(
        write(
            tmp_path,
            """
models:
  - {id: house-model, kind: diffusion, architecture: flux.1, names: [house], patterns: ["cat-*"],
     size: 768x768, largest_size: 1024x1024, steps: 12, passes: 1, source: our measurements, year: 2026}
grid:
  - {zone: FR, country: France, gco2e_per_kwh: 30, source: our utility, year: 2026}
""",
        )
    )

    assert own.version != load_factors().version
    assert find_model("house", own).model.steps == 12
    assert find_model("cat-flux", own).model.id == "house-model"
    assert find_model("flux.1-dev", own).model.id == "flux.1-dev"
    used = estimate(ImageWork("house"), Site(zone="FR"), own).factors
    assert ("grid.FR.gco2e", 30.0, "our utility") in [(use.id, use.value, use.source) for use in used]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (CONSTANT.format("value: 1, year: 2026"), 2, "'source' is missing"),
        (CONSTANT.format("value: 1, source: our meter"), 2, "'year' is missing"),
        (CONSTANT.format("value: 1, source: me, year: 2026"), 2, "nor a title of 8 characters"),
        (CONSTANT.format("value: 0, source: our meter, year: 2026"), 2, "must be more than 0"),
        (CONSTANT.format("value: .inf, source: our meter, year: 2026"), 2, "must be a number"),
        (CONSTANT.format('value: "1", source: our meter, year: 2026'), 2, "must be a number"),
        (CONSTANT.format("value: 1, value: 2, source: our meter, year: 2026"), 2, "already set on line 2"),
        ("constants: &all []\ngpus: *all\n", 1, "anchors are not allowed"),
        ("colours: []\n", 1, "'colours' is not a known key"),
        ("constants: [\n", 1, "not valid YAML"),
        (MODEL.format(size="8x8"), 2, "largest_size"),
        (MODEL.format(size="64x64"), 2, "unknown architecture 'nope'"),
        (TWICE, 3, "'a' already stands on line 2"),
    ],
)
def test_a_mistake_is_refused_with_its_place(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_factors(write(tmp_path, text))

    problem = caught.value.problems[0]
    assert problem.file == str(tmp_path / "mine.yaml")
    assert message in problem.message
    assert problem.line in {line, line + 1}


def test_all_mistakes_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    bad = write(tmp_path, "constants:\n  - {id: a}\n  - {id: b}\n")
    with pytest.raises(ConfigError) as caught:
        load_factors([tmp_path / "absent.yaml", *bad])

    assert len(caught.value.problems) == 9
    assert "does not exist" in caught.value.problems[0].message


def test_no_data_of_electricity_maps_is_bundled() -> None:
    text = "".join(file.read_text() for file in DATA.iterdir())

    assert "Electricity Maps" not in text
    assert "ODbL" not in text
