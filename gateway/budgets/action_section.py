"""The form of `on_exceed` in a policy file: what is tried, in which order, when a budget has no room.

Refuses to know whether a model or a deployment of that name exists.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from gateway.documents import ONCE, SOMETHING, Section, distinct, unsupported, written, wrong
from gateway.yaml_tree import shown

Action = Literal["downgrade", "reroute", "deny"]
_SIZE = re.compile(r"[1-9][0-9]{1,3}x[1-9][0-9]{1,3}")


def _size(text: str | None) -> str | None:
    if text is not None and not _SIZE.fullmatch(text):
        raise wrong(f"must be WIDTHxHEIGHT in pixels (got {shown(text)})")
    return text


class RungSection(Section):
    """What one step down a ladder changes."""

    model_config = ConfigDict(json_schema_extra=SOMETHING)

    quality: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    size: Annotated[str | None, AfterValidator(_size), written(_SIZE)] = None
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    n: Annotated[int, Field(ge=1, le=10)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=256)] | None = None


def _some_change(rung: RungSection) -> RungSection:
    if not rung.model_fields_set:
        raise wrong("must hold at least one of quality, size, steps, n, model")
    return rung


Ladder = Annotated[
    list[Annotated[RungSection, AfterValidator(_some_change)]], Field(min_length=1, max_length=8)
]
Elsewhere = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=63)]],
    Field(min_length=1, max_length=8, json_schema_extra=ONCE),
    AfterValidator(distinct),
]


class _LadderForm(Section):
    downgrade: Ladder


class _ElsewhereForm(Section):
    reroute: Elsewhere


ActionForm = Literal["deny"] | _LadderForm | _ElsewhereForm
"""An action as it is written, for editors."""


class ActionSection(Section):
    """One thing to do when a budget has no room: a ladder of lighter forms, other deployments, or `deny`."""

    deny: Literal[True] | None = None
    downgrade: Ladder | None = None
    reroute: Elsewhere | None = None

    @property
    def name(self) -> Action:
        return "downgrade" if self.downgrade else "reroute" if self.reroute else "deny"


def _action(value: object) -> object:
    if value == "deny":
        return {"deny": True}
    if isinstance(value, dict) and [*value] in (["downgrade"], ["reroute"]):
        return value
    raise wrong(
        "must be deny, downgrade: with a list of changes, or reroute: with a list of deployments"
        f" (got {shown(value)})"
    )


def _denies_at_last(actions: list[ActionSection]) -> list[ActionSection]:
    names = [action.name for action in actions]
    if names[-1:] != ["deny"]:
        raise wrong("must end with deny: it is what is left when nothing else fits")
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        hint = "" if twice == "deny" else ": one list of them holds all that is to be tried"
        raise wrong(f"names {twice} twice{hint}")
    return actions


Actions = Annotated[
    list[
        Annotated[
            ActionSection,
            BeforeValidator(_action, json_schema_input_type=ActionForm),
            unsupported("warn", "defer"),
        ]
    ],
    Field(min_length=1),
    AfterValidator(_denies_at_last),
]


def deny() -> list[ActionSection]:
    return [ActionSection(deny=True)]
