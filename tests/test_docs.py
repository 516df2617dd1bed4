"""The reference names everything that a user can set, type or receive, and nothing that does not exist."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.main

from gateway.api.auth import CREDENTIAL_HEADERS
from gateway.api.options import ALLOW_DOWNGRADE, DEADLINE, IDEMPOTENCY_KEY, INCLUDE
from gateway.api.responses import HEADERS
from gateway.cli import app
from gateway.identity.subject import Role
from gateway.lifecycle.story import UNENFORCED
from gateway.settings import Settings, variable

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE = Path("docs/reference.md").read_text()
README = Path("README.md").read_text()
CODES_OF_THE_DEMO = "demo"


def listed(heading: str) -> set[str]:
    """The first column of the table below a heading: every name in backticks."""
    section = re.split(r"(?m)^## ", REFERENCE.split(f"\n## {heading}\n", 1)[1], maxsplit=1)[0]
    cells = re.findall(r"(?m)^\| (.*?) \|", section)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def codes_in(tree: ast.AST) -> Iterator[ast.AST]:
    """The expressions that become an error's `code`."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="code", value=value):
                yield value
            case ast.AnnAssign(target=ast.Name(id="code"), value=ast.Constant() as value):
                yield value
            case ast.Assign(targets=[ast.Name(id="code" | "CODES" | "Code")], value=value):
                yield value
            case ast.Call(func=ast.Name(id="_bad" | "refused"), args=[_, _, value]):
                yield value
            case ast.FunctionDef(name="_bad" | "refused", args=arguments):
                yield from arguments.defaults


def texts(node: ast.AST) -> Iterator[str]:
    """The strings of an expression, but for those that a call or a condition works with."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.BoolOp):
        return
    elif isinstance(node, ast.Call):
        yield from (text for argument in node.args[1:] for text in texts(argument))
    else:
        yield from (text for child in ast.iter_child_nodes(node) for text in texts(child))


def error_codes() -> set[str]:
    paths = [path for path in Path("gateway").rglob("*.py") if CODES_OF_THE_DEMO not in path.parts]
    return {
        text for path in paths for value in codes_in(ast.parse(path.read_text())) for text in texts(value)
    }


def verbs(command: Any, name: str = "ecogate") -> Iterator[str]:
    for verb, below in getattr(command, "commands", {}).items():
        if getattr(below, "commands", None):
            yield from verbs(below, f"{name} {verb}")
        else:
            yield f"{name} {verb}"


def test_every_setting_is_listed() -> None:
    assert listed("Settings") == {variable(name) for name in Settings.model_fields}


def test_every_command_is_listed() -> None:
    assert listed("Commands") == set(verbs(typer.main.get_command(app)))


def test_every_header_of_answers_is_listed() -> None:
    assert listed("Response headers") >= {"x-request-id", "retry-after", "x-should-retry", *HEADERS}
    assert set(re.findall(r"ecogate-[a-z-]+[a-z]", README)) <= set(HEADERS)


def test_every_header_of_requests_is_listed() -> None:
    ours = {INCLUDE, DEADLINE, ALLOW_DOWNGRADE, IDEMPOTENCY_KEY}
    assert listed("Request headers") >= {*ours, *(name.decode() for name in CREDENTIAL_HEADERS)}


def test_every_error_code_is_listed() -> None:
    assert listed("Error codes") == error_codes()


def test_every_decision_and_role_is_listed() -> None:
    assert listed("Decisions") == {"allow", "warn", "downgrade", "reroute", UNENFORCED, "deny"}
    assert listed("Roles") == set(Role)


def test_the_python_of_the_readme_compiles() -> None:
    examples = re.findall(r"(?ms)^```python\n(.*?)^```", README)

    assert examples
    for example in examples:
        compile(example, "README.md", "exec")


def test_every_command_line_of_the_readme_has_options_that_exist() -> None:
    command = typer.main.get_command(app)
    lines = re.findall(
        r"(?m)^\.venv/bin/ecogate (.*?)(?: &)?$", "\n".join(re.findall(r"(?ms)^```sh\n(.*?)^```", README))
    )

    assert lines
    for line in lines:
        below: Any = command
        for word in line.split():
            if word.startswith("--"):
                assert word in {option for one in below.params for option in one.opts}, line
            elif getattr(below, "commands", None):
                below = below.commands[word]


def test_the_files_that_the_reference_names_exist() -> None:
    for path in re.findall(r"\]\((?:\.\./)?([^)#:]+)\)", REFERENCE):
        assert Path(path).exists() or Path("docs", path).exists()


POINT = re.compile(r"^\| (\d+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def test_every_point_of_the_conformance_table_has_a_test_that_exists_or_says_that_it_does_not_hold() -> None:
    points = POINT.findall(Path("docs/conformance.md").read_text())

    assert [int(number) for number, _, _ in points] == list(range(1, 101))
    for number, tests, result in points:
        named = re.findall(r"`([^`]+\.py)::(\w+)`", tests)
        assert named or result.startswith("does not hold"), f"point {number}"
        for file, test in named:
            assert f"def {test}(" in Path(file).read_text(), f"point {number}: {test}"


def test_the_lock_of_the_node_clients_names_no_place_to_load_from() -> None:
    lock = json.loads(Path("tests/contract/node/package-lock.json").read_text())

    packages = [package for name, package in lock["packages"].items() if name]
    assert all("resolved" not in package and package["integrity"] for package in packages)
