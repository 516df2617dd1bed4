from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.footprint.entries import Constant, GridZone
from gateway.footprint.factor_files import FactorRows, factor_paths, read_csv, read_yaml

if TYPE_CHECKING:
    from pathlib import Path


def test_an_entry_knows_its_file_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "released: '2026-01-01'\nconstants:\n\n"
        "  - {id: a, value: 1, unit: g, source: our meter, year: 2026}\n"
    )
    rows = FactorRows()
    read_yaml(file, rows)

    [(entry, origin)] = rows.rows["constants"]
    assert isinstance(entry, Constant)
    assert (entry.value, rows.released, len(rows.digests)) == (1.0, "2026-01-01", 1)
    assert (origin.file, origin.line, origin.column) == (str(file), 4, 5)
    assert str(origin.problem("odd")) == f"{file}:4:5: odd"


def test_a_file_with_mistakes_adds_nothing_but_its_problems(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("constants: [{id: a}]\ncolours: 1\n")
    rows = FactorRows()
    read_yaml(file, rows)

    assert rows.rows == {}
    assert {problem.line for problem in rows.problems} == {1, 2}


def test_an_empty_cell_of_a_table_is_an_absent_value(tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    file.write_text(
        "zone,country,gco2e_per_kwh,year,source,stale\nAA,Aland,12.5,2024,EMBER,\nBB,Bland,,2024,EMBER,\n"
    )
    rows = FactorRows()
    read_csv(file, "grid", rows)

    [(entry, origin)] = rows.rows["grid"]
    assert isinstance(entry, GridZone)
    assert (entry.gco2e_per_kwh, entry.stale, origin.line) == (12.5, None, 2)
    assert [(problem.line, "gco2e_per_kwh" in problem.message) for problem in rows.problems] == [(3, True)]


def test_a_folder_names_its_yaml_files_in_order(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", "notes.txt"):
        (tmp_path / name).touch()

    assert factor_paths(tmp_path) == (tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert factor_paths(tmp_path / "b.yaml") == (tmp_path / "b.yaml",)
    assert factor_paths(None) == ()
