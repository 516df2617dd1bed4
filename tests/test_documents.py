"""Documents: models, secrets and messages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import pytest
from pydantic import Field

from gateway.documents import Document, Secret, Section, load_document, read_document, unsupported
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


class Inner(Section):
    later: ClassVar[frozenset[str]] = frozenset({"someday"})

    secret: Secret | None = None
    colour: Annotated[Literal["red", "green"], unsupported("blue")] = "red"


class Outer(Section):
    name: str
    count: Annotated[int, Field(ge=1, le=9)] = 1
    inner: Inner | None = None
    inners: list[Inner] = Field(default_factory=list)
    named: dict[str, Inner] = Field(default_factory=dict)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "f.yaml"
    path.write_text(text)
    return path


def problems_of(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_document(path, Outer, environ=environ)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def test_a_correct_file_becomes_its_model(tmp_path: Path) -> None:
    path = written(tmp_path, "name: NO\ninner: {colour: green}\nnamed: {a: {}}\n")

    content = load_document(path, Outer, environ={})

    assert content == Outer(name="NO", inner=Inner(colour="green"), named={"a": Inner()})


def test_every_mistake_is_reported_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "nam: x\ncount: 12\ninner:\n  color: red\n  someday: 1\n"
        "inners:\n  - {colour: blue}\n  - {colour: 3}\ncount: 1\n",
    )

    assert problems_of(path) == [
        "1:1: 'nam' is not a known key: did you mean 'name'?",
        "1:1: 'name' is missing",
        "2:8: count: must be at most 9 (got 12)",
        "4:3: inner: 'color' is not a known key: did you mean 'colour'?",
        "5:3: inner: 'someday' is not supported by this version",
        "7:14: inners[0].colour: 'blue' is not supported by this version",
        "8:14: inners[1].colour: must be one of red, green (got 3)",
        "9:1: 'count' is already set on line 2",
    ]


def test_a_value_that_cannot_be_read_is_reported_once(tmp_path: Path) -> None:
    path = written(tmp_path, "name: *x\ncount: 1e999\n")

    assert problems_of(path) == [
        "1:7: aliases are not allowed (*x): write the value out",
        "2:8: 1e999 is too large for a number",
    ]


@pytest.mark.parametrize(
    "location", ["inner: {secret: ${KEY}}", "inners: [{secret: '${KEY}'}]", "named: {a: {secret: ${KEY}}}"]
)
def test_a_reference_in_a_secret_is_resolved(tmp_path: Path, location: str) -> None:
    path = written(tmp_path, f"name: x\n{location}\n".replace(": ${KEY}", ": '${KEY}'"))

    content = load_document(path, Outer, environ={"KEY": "sesame"})

    inner = content.inner or [*content.inners, *content.named.values()][0]
    assert inner.secret is not None
    assert inner.secret.get_secret_value() == "sesame"
    assert "sesame" not in repr(content)


@pytest.mark.parametrize(
    ("environ", "state"),
    [
        ({}, "is not set"),
        ({"KEY": ""}, "is empty"),
        ({"KEY": "sesame\n"}, "holds spaces, line breaks or characters beyond ASCII"),
        ({"KEY": "sésame"}, "holds spaces, line breaks or characters beyond ASCII"),
    ],
)
def test_a_secret_that_cannot_be_used_is_named_but_not_shown(
    tmp_path: Path, environ: dict[str, str], state: str
) -> None:
    path = written(tmp_path, "name: x\ninner:\n  secret: ${KEY}\n")

    assert problems_of(path, environ) == [f"3:11: inner.secret: the environment variable KEY {state}"]


def test_without_an_environment_references_are_checked_for_form_only(tmp_path: Path) -> None:
    content = load_document(written(tmp_path, "name: x\ninner:\n  secret: ${KEY}\n"), Outer, environ=None)

    assert content.inner is not None
    assert content.inner.secret is not None
    assert content.inner.secret.get_secret_value() == ""


@pytest.mark.parametrize(
    "secret", ["sesame", "a${KEY}", "${KEY}a", "${}", "$KEY", "${KEY", "123456", "[sesame]", "{sesame: 1}"]
)
def test_a_secret_in_clear_is_refused_and_not_repeated(tmp_path: Path, secret: str) -> None:
    path = written(tmp_path, f"name: x\ninner:\n  secret: {secret}\n")

    (problem,) = problems_of(path, {"KEY": "k"})

    assert problem == (
        "3:11: inner.secret: must be a reference to an environment variable, such as ${NAME}:"
        " never write a secret here"
    )


def test_a_reference_outside_a_secret_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "name: a ${KEY} b\nnamed: {'${KEY}': {}}\n")

    assert problems_of(path, {"KEY": "k"}) == ["1:7: name: ${NAME} references are only for secrets"]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "absent.yaml") == ["1:1: does not exist"]
    assert problems_of(tmp_path) == ["1:1: is not a file"]
    os.mkfifo(tmp_path / "pipe")
    assert problems_of(tmp_path / "pipe") == ["1:1: is not a file"]


def test_thousands_of_mistakes_are_reported_quickly(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\n" + "".join(f"coount{i}: 1\n" for i in range(4900)))

    assert len(problems_of(path)) == 4900


def test_a_document_knows_places_and_a_digest_of_its_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\ninners:\n  - {}\n  - colour: red\n")

    document: Document[Outer] = read_document(path, Outer, environ={})

    assert document.line_of(("inners", 1, "colour")) == 4
    assert str(document.problem(("inners", 1, "colour"), "no")) == f"{path}:4:13: inners[1].colour: no"
    assert str(document.problem(("inners", 1, "absent"), "no")) == f"{path}:4:5: inners[1]: no"
    path.write_text("name: y\n")
    assert read_document(path, Outer, environ={}).digest != document.digest
