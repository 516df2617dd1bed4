"""JSON Schemas of the files that users write, for editors: made from the models by which they are read.

A schema knows less than the reader: what depends on two values at once, or on other files, only
`ecogate check` sees. It never refuses what the reader takes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from gateway.budgets.policy_file import PolicyFile
from gateway.upstreams.deployment_file import DeploymentFile

if TYPE_CHECKING:
    from gateway.documents import Section

Kind = Literal["policies", "deployments"]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
MODELS: dict[Kind, type[Section]] = {"policies": PolicyFile, "deployments": DeploymentFile}
TITLES: dict[Kind, str] = {
    "policies": "ecogate: a file of budgets",
    "deployments": "ecogate: the deployments file",
}


def schema_of(kind: Kind) -> dict[str, Any]:
    """The schema of one kind of file."""
    made = MODELS[kind].model_json_schema(by_alias=True)
    return {"$schema": DRAFT, **_plain(made), "title": TITLES[kind]}


def as_text(kind: Kind) -> str:
    """The schema as it is published."""
    return json.dumps(schema_of(kind), indent=2) + "\n"


def _plain(node: Any) -> Any:
    """Without the titles that repeat each key, and without defaults: null is no way to write one."""
    if isinstance(node, list):
        return [_plain(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {name: _plain(value) for name, value in node.items() if name not in {"title", "default"}}
    for named in ("properties", "$defs"):
        if isinstance(node.get(named), dict):
            kept[named] = {name: _plain(value) for name, value in node[named].items()}
    return kept
