"""The factor set: every published coefficient that an estimate may use, loaded once and validated.

Invariant: a `FactorSet` is whole; each reference inside it leads somewhere and each factor has source and
year. Refuses to know formulas. Operators may lay their own YAML files over the bundled ones: a later entry
with the same id replaces the earlier.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.documents import in_order
from gateway.errors import ConfigError, Problem
from gateway.footprint.factor_files import FactorRows, Origin, read_csv, read_yaml
from gateway.footprint.quantities import FactorUse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.footprint.entries import (
        Anchor,
        Constant,
        CountedFlops,
        DerivedArchitecture,
        Entry,
        Gpu,
        GridZone,
        Model,
        Region,
        Source,
        Sourced,
        SpreadTerm,
        TextModel,
        TokenRule,
    )

GRID_MAX_AGE_YEARS = 3
SHORTEST_TITLE = 8
DATA = Path(__file__).parent / "data"
BUNDLED_YAML = ("sources", "constants", "gpus", "tokens", "anchors", "models", "text")
BUNDLED_CSV = ("flops", "grid", "regions")


@dataclass(frozen=True, eq=False)
class FactorSet:
    """All factors, by id. `version` is the release date and a digest of everything that was read."""

    version: str
    sources: Mapping[str, Source]
    constants: Mapping[str, Constant]
    spreads: Mapping[str, SpreadTerm]
    gpus: Mapping[str, Gpu]
    flops: Mapping[str, CountedFlops]
    architectures: Mapping[str, DerivedArchitecture]
    anchors: Mapping[str, tuple[Anchor, ...]]
    token_rules: Mapping[str, TokenRule]
    models: Mapping[str, Model]
    text_models: Mapping[str, TextModel]
    grid: Mapping[str, GridZone]
    regions: Mapping[tuple[str, str], Region]
    origins: Mapping[tuple[str, str], Origin]

    def known_models(self) -> tuple[str, ...]:
        """Every exact model name in the catalogue, sorted."""
        return tuple(sorted({name for model in self.models.values() for name in model.names}))

    def source_title(self, source: str) -> str:
        known = self.sources.get(source)
        return known.title if known else source

    @cached_property
    def constant_uses(self) -> Mapping[str, FactorUse]:
        """Each constant as it is shown in a footprint."""
        return {
            entry.id: self.use(entry.id, entry.value, entry.unit, entry) for entry in self.constants.values()
        }

    def use(self, id_: str, value: float, unit: str, entry: Sourced, note: str | None = None) -> FactorUse:
        """A value of `entry` as it is shown in a footprint."""
        return FactorUse(id_, value, unit, self.source_title(entry.source), entry.year, note or entry.note)


def load_factors(extra: Sequence[Path] = ()) -> FactorSet:
    """The bundled factors with the operator's files laid over them. Raises ConfigError with every problem.

    The result is immutable; the bundled set is parsed once per process.
    """
    return _load(tuple(extra)) if extra else _bundled()


@lru_cache(maxsize=1)
def _bundled() -> FactorSet:
    return _load(())


def _load(extra: Sequence[Path]) -> FactorSet:
    rows = FactorRows()
    for stem in BUNDLED_YAML:
        read_yaml(DATA / f"{stem}.yaml", rows)
    for stem in BUNDLED_CSV:
        read_csv(DATA / f"{stem}.csv", stem, rows)
    for path in extra:
        read_yaml(path, rows)
    problems = [*rows.problems, *_repeated(rows), *_unnamed_sources(rows)]
    if problems:
        raise ConfigError(in_order(problems))
    digest = hashlib.sha256("".join(rows.digests).encode()).hexdigest()
    factors = _assemble(rows, f"{rows.released}-{digest[:12]}")
    if problems := dangling(factors):
        raise ConfigError(in_order(problems))
    return factors


KEYS: Mapping[str, tuple[str, ...]] = {
    "sources": ("id",),
    "constants": ("id",),
    "spreads": ("id",),
    "gpus": ("id",),
    "flops": ("id",),
    "architectures": ("id",),
    "anchors": ("architecture", "gpu", "precision", "size", "steps", "passes", "batch", "source"),
    "token_rules": ("id",),
    "models": ("id",),
    "text_models": ("id",),
    "grid": ("zone",),
    "regions": ("provider", "region"),
}
"""What makes an entry of a section the same as another: a later one replaces it."""


def _key(section: str, entry: Entry) -> tuple[Any, ...]:
    return tuple(getattr(entry, part) for part in KEYS[section])


def _repeated(rows: FactorRows) -> Iterator[Problem]:
    """Entries that stand twice in one file: one of them would be ignored."""
    for section, entries in rows.rows.items():
        first: dict[tuple[Any, ...], Origin] = {}
        for entry, origin in entries:
            key = (origin.file, *_key(section, entry))
            if key in first:
                yield origin.problem(
                    f"'{' '.join(str(part) for part in key[1:])}' already stands on line {first[key].line}"
                )
            first.setdefault(key, origin)


def _unnamed_sources(rows: FactorRows) -> Iterator[Problem]:
    """Sources that are neither listed nor a title that a reader could look up."""
    listed = {_key("sources", entry)[0] for entry, _ in rows.rows.get("sources", ())}
    for entries in rows.rows.values():
        for entry, origin in entries:
            for name in type(entry).model_fields:
                source = getattr(entry, name) if name == "source" or name.endswith("_source") else None
                if source is not None and source not in listed and len(source) < SHORTEST_TITLE:
                    yield origin.problem(
                        f"{name} '{source}' is neither listed under `sources` nor a title of "
                        f"{SHORTEST_TITLE} characters"
                    )


def _assemble(rows: FactorRows, version: str) -> FactorSet:
    origins: dict[tuple[str, str], Origin] = {}

    def by_id(section: str) -> dict[Any, Any]:
        entries: dict[Any, Any] = {}
        for entry, origin in rows.rows.get(section, ()):
            key = _key(section, entry)
            entries[key if len(key) > 1 else key[0]] = entry
            origins[section, "|".join(str(part) for part in key)] = origin
        return entries

    anchors: dict[str, list[Anchor]] = {}
    for anchor in by_id("anchors").values():
        anchors.setdefault(anchor.architecture, []).append(anchor)
    return FactorSet(
        version=version,
        sources=by_id("sources"),
        constants=by_id("constants"),
        spreads=by_id("spreads"),
        gpus=by_id("gpus"),
        flops=by_id("flops"),
        architectures=by_id("architectures"),
        anchors={key: tuple(found) for key, found in anchors.items()},
        token_rules=by_id("token_rules"),
        models=_operators_first(by_id("models"), origins),
        text_models=by_id("text_models"),
        grid=by_id("grid"),
        regions=by_id("regions"),
        origins=origins,
    )


def _operators_first(models: dict[str, Model], origins: Mapping[tuple[str, str], Origin]) -> dict[str, Model]:
    """The models in the order in which their patterns are tried: an operator's before the bundled ones."""
    bundled = str(DATA)
    return dict(sorted(models.items(), key=lambda item: origins["models", item[0]].file.startswith(bundled)))


def dangling(factors: FactorSet) -> list[Problem]:
    """References inside the set that lead nowhere."""
    problems: list[Problem] = []

    def need(section: str, key: str, what: str, name: str | None, known: Mapping[Any, Any]) -> None:
        if name is not None and name not in known:
            problems.append(factors.origins[section, key].problem(f"unknown {what} '{name}'"))

    networks = {**factors.flops, **factors.architectures}
    for model in factors.models.values():
        need("models", model.id, "architecture", model.architecture, networks)
        need("models", model.id, "token_rule", model.token_rule, factors.token_rules)
        need("models", model.id, "energy constant", model.energy, factors.constants)
    for writer in factors.text_models.values():
        need("text_models", writer.id, "energy constant", writer.energy, factors.constants)
        need("text_models", writer.id, "energy constant", writer.request_energy, factors.constants)
    for derived in factors.architectures.values():
        need("architectures", derived.id, "architecture", derived.like, factors.flops)
    for found in factors.anchors.values():
        for anchor in found:
            key = "|".join(str(part) for part in _key("anchors", anchor))
            need("anchors", key, "architecture", anchor.architecture, networks)
            need("anchors", key, "gpu", anchor.gpu, factors.gpus)
    for region in factors.regions.values():
        key = f"{region.provider}|{region.region}"
        need("regions", key, "zone", region.zone and region.zone.split("-")[0], factors.grid)
    return problems


def check_factors(factors: FactorSet, *, year: int) -> list[Problem]:
    """What a maintainer must repair, as seen in `year`: intensities that are too old without a reason."""
    return [
        factors.origins["grid", row.zone].problem(
            f"{row.zone}: carbon intensity of {row.year} is older than {GRID_MAX_AGE_YEARS} years; "
            "give a newer value or say why in `stale`"
        )
        for row in factors.grid.values()
        if year - row.year > GRID_MAX_AGE_YEARS and not row.stale
    ]


def known_models() -> tuple[str, ...]:
    """Every exact model name that the bundled catalogue knows."""
    return load_factors().known_models()
