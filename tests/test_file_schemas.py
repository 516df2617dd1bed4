"""The JSON Schemas that we publish: as the readers read, true to examples and to the gallery of mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from jsonschema import Draft202012Validator

from gateway.file_schemas import Kind, as_text, schema_of
from gateway.yaml_tree import read_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
KINDS: tuple[Kind, ...] = get_args(Kind)
PUBLISHED = {kind: ROOT / "docs" / "schemas" / f"{kind}.schema.json" for kind in KINDS}
EXAMPLES: dict[Kind, list[Path]] = {
    "policies": [
        *(ROOT / "policies").glob("*.yaml"),
        *(ROOT / "docs" / "policies").glob("*.yaml"),
        *(ROOT / "gateway" / "demo" / "files" / "policies").glob("*.yaml"),
    ],
    "deployments": [
        ROOT / "deploy" / "deployments.example.yaml",
        ROOT / "gateway" / "demo" / "files" / "deployments.yaml",
    ],
}
GOOD = [(kind, path) for kind in KINDS for path in sorted((ROOT / "tests" / kind / "good").glob("*.yaml"))]
BAD = [(kind, path) for kind in KINDS for path in sorted((ROOT / "tests" / kind / "bad").glob("*.yaml"))]
ONLY_CHECK_SEES: dict[Kind, set[str]] = {
    # What is no matter of one value's form: other values, other files, calendars, what can be counted.
    "policies": {
        *("emergency-lacks-a-dimension", "emergency-missing", "emergency-too-little-to-share"),
        *("emergency-with-deny",),
        *("alerts-webhook-credentials", "alerts-webhook-fragment", "alerts-webhook-http"),
        *("alerts-webhook-port", "alerts-webhook-twice", "limit-images-too-many", "limit-too-fine"),
        *("emergency-lacks-a-dimension", "emergency-missing", "emergency-too-little-to-share"),
        "emergency-with-deny",
        *("limit-too-large", "name-twice", "on-exceed-after-deny", "on-exceed-downgrade"),
        *("on-exceed-two-ladders", "on-exceed-twice", "reference-outside-a-secret"),
        *("timezone-offset", "timezone-unknown"),
        *("window-every-duration", "window-rolling-dates", "window-rolling-too-long"),
        *("window-rolling-week-start", "window-rolling-word"),
        *("window-every-missing", "window-fixed", "window-fixed-date", "window-fixed-every"),
        *("window-fixed-order", "window-from", "window-week-start", "window-year-start"),
        "window-year-start-day",
    },
    "deployments": {
        *("base-url-credentials", "base-url-fragment", "base-url-port", "base-url-query"),
        *("hardware-gpu-without-factors", "id-twice", "location-zone-without-factors", "model-twice"),
        *("routing-ejection-times", "routing-residency-twice", "routing-weights-unused"),
        *(
            "routing-ambiguous",
            "routing-weights-zero",
            "signals-area-missing",
            "signals-area-of-many",
            "signals-key-missing",
        ),
    },
}


def content(path: Path) -> Any:
    """What the file says, as the reader sees it; None when it is no proper YAML."""
    tree, problems = read_tree(str(path), path.read_bytes())
    return None if tree is None or problems else tree.plain()


def valid(kind: Kind, path: Path) -> bool:
    return bool(Draft202012Validator(schema_of(kind)).is_valid(content(path)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_published_is_what_the_reader_takes(kind: Kind) -> None:
    assert PUBLISHED[kind].read_text() == as_text(kind), (
        f"run: ecogate schema {kind} --output {PUBLISHED[kind]}"
    )
    Draft202012Validator.check_schema(schema_of(kind))


@pytest.mark.parametrize(
    ("kind", "path"),
    [*GOOD, *((kind, path) for kind, paths in EXAMPLES.items() for path in paths)],
    ids=lambda one: one.stem if isinstance(one, Path) else one,
)
def test_what_the_reader_takes_is_valid(kind: Kind, path: Path) -> None:
    errors = [error.json_path for error in Draft202012Validator(schema_of(kind)).iter_errors(content(path))]

    assert errors == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_refuses_every_mistake_that_is_one_of_form(kind: Kind) -> None:
    readable = [path for of, path in BAD if of == kind and content(path) is not None]

    assert {path.stem for path in readable if valid(kind, path)} == ONLY_CHECK_SEES[kind]


def keys(kind: Kind) -> Iterator[str]:
    schema = schema_of(kind)
    for section in (schema, *schema["$defs"].values()):
        yield from section.get("properties", {})


@pytest.mark.parametrize("kind", KINDS)
def test_the_gallery_has_a_mistake_at_every_key(kind: Kind) -> None:
    told: set[str] = set()
    for path in (path for of, path in BAD if of == kind):
        expected = path.read_text().splitlines()[0].split(" ", 3)[-1]
        place, _, message = expected.partition(": ")
        told |= {re.sub(r"(\[\d+\])+$", "", part) for part in place.split(".")}
        told |= set(re.findall(r"'(\w+)' is missing", f"{message} {place}"))

    assert set(keys(kind)) - told == set()


@pytest.mark.parametrize(
    ("kind", "path"), [(k, p) for k, ps in EXAMPLES.items() for p in ps if "demo" not in str(p)]
)
def test_editors_find_the_schema_of_each_example(kind: Kind, path: Path) -> None:
    first = path.read_text().splitlines()[0]
    relative = first.removeprefix("# yaml-language-server: $schema=")

    assert relative != first
    assert (path.parent / relative).resolve() == PUBLISHED[kind]
    assert json.loads((path.parent / relative).read_text())["title"].startswith("ecogate")
