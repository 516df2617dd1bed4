"""Policies: a folder of files, read as a whole."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.budgets.amounts import MAX_STORED, Dimension
from gateway.budgets.policy import Budget, load_policies, no_policies
from gateway.budgets.windows import Window, fixed_bucket
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "tests" / "policies"
GOOD = sorted((GALLERY / "good").glob("*.yaml"))
BAD = sorted((GALLERY / "bad").glob("*.yaml"))

ONE = """budgets:
  - name: {name}
    limits: {{images: 1}}
    window: {{kind: calendar, every: day}}
"""


def only(path: Path, folder: Path) -> Path:
    """A folder that holds nothing but this file."""
    (folder / path.name).write_bytes(path.read_bytes())
    return folder


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_policies(folder)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_the_gallery_is_not_empty() -> None:
    assert len(GOOD) > 5
    assert len(BAD) > 70


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_each_mistake_is_refused_with_its_place_and_its_sentence(path: Path, tmp_path: Path) -> None:
    expected = path.read_text().splitlines()[0].removeprefix("# expect: ")

    assert problems_of(only(path, tmp_path)) == [f"{path.name}:{expected}"]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_each_good_file_is_read(path: Path, tmp_path: Path) -> None:
    assert load_policies(only(path, tmp_path)).version.startswith("sha256:")


def test_a_full_budget_has_everything_that_its_file_says(tmp_path: Path) -> None:
    (budget,) = load_policies(only(GALLERY / "good" / "full.yaml", tmp_path)).budgets

    assert budget == Budget(
        name="marketing-month",
        file=str(tmp_path / "full.yaml"),
        line=3,
        match={
            "org": ("acme",),
            "team": ("marketing", "brand"),
            "user": ("*",),
            "key": ("k1",),
            "label.cost-center": ("42",),
            "model": ("gpt-image-2",),
            "route": ("images.generate", "images.edit", "images.variation", "responses", "chat"),
        },
        per=("org", "team", "user", "key", "model", "label.cost-center"),
        limits={
            Dimension.ENERGY: 8_000_000_000,
            Dimension.WATER: 20_000_000,
            Dimension.CARBON: 5_000_000_000,
            Dimension.IMAGES: 4000,
        },
        window=Window(kind="calendar", every="month"),
        timezone="America/New_York",
        bound="high",
        mode="enforce",
        on_exceed=("deny",),
        on_store_down="deny",
    )


def test_a_short_budget_has_the_defaults(tmp_path: Path) -> None:
    (budget,) = load_policies(only(GALLERY / "good" / "minimal.yaml", tmp_path)).budgets

    assert (budget.match, budget.per, budget.timezone, budget.bound) == ({}, (), "UTC", "central")
    assert (budget.mode, budget.on_exceed, budget.on_store_down) == ("enforce", ("deny",), "deny")
    assert budget.limits == {Dimension.IMAGES: 0}


def test_units_become_exact_ledger_integers(tmp_path: Path) -> None:
    budgets = load_policies(only(GALLERY / "good" / "units.yaml", tmp_path)).budgets

    def vector(limits: Mapping[Dimension, int]) -> list[int | None]:
        return [limits.get(dimension) for dimension in Dimension]

    assert [vector(budget.limits) for budget in budgets] == [
        [1, 1, 1, None, 1],
        [2_500_000_000, 250_000, 1_500_000, None, 50_000_000],
        [3_000_000_000_000, 4_000_000_000, MAX_STORED, MAX_STORED, MAX_STORED],
        [None, None, None, None, 1_000_000],
        [0, 0, 0, 0, 0],
    ]
    assert [budget.unlimited for budget in budgets[3:]] == [(Dimension.ENERGY, Dimension.IMAGES), ()]


def test_windows_say_where_they_start(tmp_path: Path) -> None:
    budgets = load_policies(only(GALLERY / "good" / "windows.yaml", tmp_path)).budgets

    first, end = datetime(2026, 12, 1), datetime(2026, 12, 24, 18)  # noqa: DTZ001
    assert [budget.window for budget in budgets] == [
        Window("calendar", "week", week_start=6),
        Window("calendar", "year", year_start=(4, 6)),
        Window("calendar", "quarter", year_start=(10, 1)),
        Window("rolling", "24h"),
        Window("fixed", fixed=fixed_bucket(first, end, "Europe/London")),
    ]


def test_plain_scalars_are_those_of_json(tmp_path: Path) -> None:
    (budget,) = load_policies(only(GALLERY / "good" / "plain-scalars-are-json.yaml", tmp_path)).budgets

    assert budget.name == "no"
    assert budget.match["team"] == ("NO", "yes", "12:30", "010", "0x10", "1_000", ".5", "~", "1")


def test_a_folder_is_merged_in_the_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text(ONE.format(name="second"))
    (tmp_path / "a.yaml").write_text(ONE.format(name="first"))
    (tmp_path / "c.YAML").write_text(ONE.format(name="third"))
    (tmp_path / ".hidden.yaml").write_text("nonsense")
    (tmp_path / "README.md").write_text("nonsense")
    (tmp_path / "empty").mkdir()

    assert [budget.name for budget in load_policies(tmp_path).budgets] == ["first", "second", "third"]


def test_an_empty_folder_has_no_budgets(tmp_path: Path) -> None:
    assert load_policies(tmp_path) == no_policies()
    assert no_policies().budgets == ()


def test_the_version_follows_the_contents(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(ONE.format(name="first"))
    version = load_policies(tmp_path).version

    path.rename(tmp_path / "b.yaml")
    assert load_policies(tmp_path).version == version
    (tmp_path / "b.yaml").write_text(ONE.format(name="other"))
    assert load_policies(tmp_path).version != version


def test_the_problems_of_all_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ONE.format(name="UPPER"))
    (tmp_path / "b.yaml").write_text("budgets: [")
    (tmp_path / "c.yaml").write_text(ONE.format(name="fine"))
    (tmp_path / "d.yaml").write_text(ONE.format(name="fine"))

    problems = problems_of(tmp_path)

    assert [problem.split(": ")[0] for problem in problems] == ["a.yaml:2:11", "b.yaml:2:1", "d.yaml:2:11"]
    assert problems[2].endswith("'fine' is already the name of the budget at c.yaml:2")


def test_a_folder_that_is_absent_a_file_or_nested_is_refused(tmp_path: Path) -> None:
    nested = tmp_path / "nested"
    (nested / "teams").mkdir(parents=True)
    (nested / "teams" / "a.yaml").write_text(ONE.format(name="a"))

    absent, file = tmp_path / "absent", nested / "teams" / "a.yaml"
    assert problems_of(absent) == [f"{absent}:1:1: does not exist"]
    assert problems_of(file) == [f"{file}:1:1: is not a folder"]
    assert problems_of(nested) == [
        "teams:1:1: folders inside a policies folder are not read: move the files up"
    ]


def test_the_policies_that_we_ship_are_good() -> None:
    names = [budget.name for budget in load_policies(ROOT / "policies").budgets]

    assert names == ["team-month", "user-day"]


def test_the_example_and_the_message_in_the_readme_are_true(tmp_path: Path) -> None:
    readme = (ROOT / "policies" / "README.md").read_text()
    example, mistaken = tmp_path / "example", tmp_path / "mistaken"
    example.mkdir()
    mistaken.mkdir()
    (example / "example.yaml").write_text(readme.split("```yaml\n")[1].split("```")[0])
    teams = (ROOT / "policies" / "teams.yaml").read_text()
    (mistaken / "teams.yaml").write_text(teams.replace("every: month", "every: wek"))

    assert [budget.name for budget in load_policies(example).budgets] == ["marketing-month"]
    assert f"policies/{problems_of(mistaken)[0]}" in readme


def test_actions_keep_the_order_of_their_file_and_secrets_come_from_the_environment(tmp_path: Path) -> None:
    folder = only(GALLERY / "good" / "actions.yaml", tmp_path)
    (budget,) = load_policies(folder, environ={"HOOK_SECRET": "a-secret-of-some-length"}).budgets

    assert budget.on_exceed == ("reroute", "downgrade", "deny")
    assert budget.reroute == ("flux-eco", "flux-tiny")
    assert budget.downgrade[1:3] == ({"size": "512x512", "n": 1}, {"steps": 8})
    assert [hook.host for hook in budget.alerts] == ["hooks.example", "127.0.0.1"]
    assert {hook.secret.get_secret_value() for hook in budget.alerts} == {"a-secret-of-some-length"}
    assert "a-secret" not in repr(budget)


@pytest.mark.parametrize(
    ("environ", "mistake"),
    [
        ({}, "the environment variable HOOK_SECRET is not set"),
        ({"HOOK_SECRET": ""}, "the environment variable HOOK_SECRET is empty"),
        (
            {"HOOK_SECRET": "whsec_short"},
            "must be whsec_ followed by 24 to 64 bytes in base64, or another text",
        ),
    ],
)
def test_a_webhook_without_a_usable_secret_is_a_mistake_at_start(
    tmp_path: Path, environ: dict[str, str], mistake: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_policies(only(GALLERY / "good" / "actions.yaml", tmp_path), environ=environ)

    assert [problem.message for problem in caught.value.problems] == [
        f"budgets[0].alerts[{number}].secret: {mistake}" for number in (0, 1)
    ]
