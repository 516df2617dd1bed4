"""Policies: what is allowed, read from the folder that the owners of budgets keep.

A folder is read as a whole or not at all: one mistake in one file refuses them all, with every mistake of
every file. Knows what a budget is. Refuses to know requests (`matching`), time (`windows`) and amounts used
(`ledger`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from gateway.budgets.limits_section import limits_of, unlimited_of
from gateway.budgets.policy_file import ANYTHING, PolicyFile
from gateway.budgets.window_section import window_of
from gateway.documents import Document, closest, in_order, read_document
from gateway.errors import ConfigError, Problem
from gateway.yaml_tree import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from pydantic import SecretStr

    from gateway.budgets.action_section import Action
    from gateway.budgets.amounts import Bound, Dimension
    from gateway.budgets.policy_file import BudgetSection, Mode
    from gateway.budgets.raises import Raised
    from gateway.budgets.windows import Window

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where alerts go, and with what they are signed. The paths of such URLs often are secrets too."""

    url: str = field(repr=False)
    secret: SecretStr

    @property
    def host(self) -> str:
        """What may be logged of it."""
        return urlsplit(self.url).hostname or ""

    @property
    def digest(self) -> str:
        """What the queue of alerts knows of it."""
        return hashlib.blake2b(self.url.encode(), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Emergency:
    """What may pass in one window while the store is down: `limits` for all `processes` together."""

    limits: Mapping[Dimension, int]
    processes: int

    def shares(self) -> dict[Dimension, int]:
        """What one process may pass, rounded down."""
        return {dimension: limit // self.processes for dimension, limit in self.limits.items()}


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits in a window, for the requests that match, one counter per distinct value of `per`.

    `match` maps an attribute to the values that it may have (`*` is any); an empty one matches every request.
    `limits` are ledger integers; a dimension without one is not limited, and shown
    where it is declared `unlimited`. `warn_at` are percentages of limits.
    `downgrade` are the changes by which a request may be made lighter, each on top of those before, and
    `reroute` the deployments that may take it instead. `alerts` are told when a percentage is reached, and of
    the first refusal of a window. `emergency` is there where `on_store_down` is `allow`.
    """

    name: str
    file: str
    line: int
    match: Mapping[str, tuple[str, ...]]
    per: tuple[str, ...]
    limits: Mapping[Dimension, int]
    window: Window
    timezone: str
    bound: Bound
    mode: Mode
    on_exceed: tuple[Action, ...]
    on_store_down: Literal["deny", "allow"]
    warn_at: tuple[int, ...] = ()
    unlimited: tuple[Dimension, ...] = ()
    downgrade: tuple[Mapping[str, str | int], ...] = ()
    reroute: tuple[str, ...] = ()
    alerts: tuple[Webhook, ...] = ()
    emergency: Emergency | None = None


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Every budget of a folder, in the order of files; `version` is a digest of the files' contents.

    `number` is what the budget store calls this version: the higher, the later written; 0 until it is known.
    `raised` are the raises in force, by org and counter; they come from the budget store, not from files.
    """

    budgets: tuple[Budget, ...]
    version: str
    number: int = field(default=0, compare=False)
    raised: Raised = field(default_factory=dict)

    @property
    def by_deployment(self) -> bool:
        """Whether it matters to some budget at which deployment a request is made."""
        return self._tells_apart("deployment")

    @property
    def by_model(self) -> bool:
        """Whether it matters to some budget which model a request names."""
        return self._tells_apart("model")

    def _tells_apart(self, attribute: str) -> bool:
        return any(attribute in (*budget.match, *budget.per) for budget in self.budgets)


def load_policies(
    directory: Path,
    *,
    environ: Mapping[str, str] | None = None,
    deployments: Collection[str] | None = None,
) -> PolicySet:
    """All policies of a folder; none when it holds no policy file. Raises ConfigError with every mistake.

    `environ` resolves the secrets of webhooks; with None they are empty, and nothing can be signed.
    `deployments` are the ids that policies may name; with None every name passes.
    """
    documents, problems = [], []
    files = _policy_files(directory)
    for path in files:
        try:
            documents.append(read_document(path, PolicyFile, environ=environ))
        except ConfigError as error:
            problems += error.problems
    problems += _repeated_names(documents)
    if deployments is not None:
        problems += _unknown_deployments(documents, deployments)
    if problems:
        raise ConfigError(in_order(problems))
    return PolicySet(
        budgets=tuple(budget for document in documents for budget in _budgets(document)),
        version=_version([document.digest for document in documents]),
    )


def no_policies() -> PolicySet:
    """The policies of a gateway without a policies folder: everything is counted, nothing is refused."""
    return PolicySet(budgets=(), version=_version([]))


def _policy_files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        reason = "is not a folder" if directory.exists() else "does not exist"
        raise ConfigError([Problem(str(directory), 1, 1, reason)])
    # Editors leave hidden copies, and mounted config maps keep older versions in hidden folders.
    visible = sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    for folder in visible:
        if folder.is_dir() and any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*")):
            message = "folders inside a policies folder are not read: move the files up"
            raise ConfigError([Problem(str(folder), 1, 1, message)])
    return [path for path in visible if path.suffix.lower() in SUFFIXES and not path.is_dir()]


def _repeated_names(documents: Sequence[Document[PolicyFile]]) -> list[Problem]:
    first: dict[str, tuple[str, int]] = {}
    problems = []
    for document in documents:
        for index, section in enumerate(document.content.budgets):
            location = ("budgets", index, "name")
            file, line = first.setdefault(section.name, (document.file, document.line_of(location)))
            if (file, line) != (document.file, document.line_of(location)):
                place = f"on line {line}" if file == document.file else f"at {file}:{line}"
                message = f"'{section.name}' is already the name of the budget {place}"
                problems.append(document.problem(location, message))
    return problems


def _unknown_deployments(
    documents: Sequence[Document[PolicyFile]], deployments: Collection[str]
) -> list[Problem]:
    return [
        document.problem(
            ("budgets", number, *place),
            f"{shown(name)} is not the id of a deployment{closest(name, [*deployments])}",
        )
        for document in documents
        for number, section in enumerate(document.content.budgets)
        for place, name in _named_deployments(section)
        if name not in deployments
    ]


def _named_deployments(section: BudgetSection) -> list[tuple[tuple[str | int, ...], str]]:
    """The ids that a budget names, each with its place in the budget."""
    matched = [
        (("match", "deployment", entry), name)
        for entry, name in enumerate(section.match.get("deployment", ()))
        if name != ANYTHING
    ]
    rerouted = [
        (("on_exceed", place, "reroute", entry), name)
        for place, action in enumerate(section.on_exceed)
        for entry, name in enumerate(action.reroute or ())
    ]
    return [*matched, *rerouted]


def _budgets(document: Document[PolicyFile]) -> list[Budget]:
    return [
        _budget(section, document, document.line_of(("budgets", index)))
        for index, section in enumerate(document.content.budgets)
    ]


def _budget(section: BudgetSection, document: Document[PolicyFile], line: int) -> Budget:
    zone = section.timezone or document.content.timezone
    return Budget(
        name=section.name,
        file=document.file,
        line=line,
        match=section.match,
        per=tuple(section.per),
        limits=limits_of(section.limits),
        unlimited=unlimited_of(section.limits),
        window=window_of(section.window, zone),
        timezone=zone,
        bound=section.bound,
        mode=section.mode,
        on_exceed=tuple(action.name for action in section.on_exceed),
        on_store_down=section.on_store_down,
        warn_at=tuple(sorted(section.warn_at)),
        downgrade=tuple(
            rung.model_dump(exclude_none=True)
            for action in section.on_exceed
            for rung in action.downgrade or ()
        ),
        reroute=tuple(name for action in section.on_exceed for name in action.reroute or ()),
        alerts=tuple(Webhook(alert.webhook, alert.secret) for alert in section.alerts),
        emergency=None
        if section.emergency is None
        else Emergency(limits_of(section.emergency.limits), section.emergency.processes),
    )


def _version(digests: list[str]) -> str:
    return "sha256:" + hashlib.sha256("\n".join(digests).encode()).hexdigest()
