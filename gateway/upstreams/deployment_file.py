"""The form of deployments.yaml, and the deployments that it declares.

Credentials come from the environment by reference only. What the language has and this version does not do is
refused by name. Which zones and GPUs have factors is asked of the caller, so that this module knows none.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from gateway.documents import Document, Secret, Section, absolute_url, in_order, read_document, written, wrong
from gateway.errors import ConfigError, Problem
from gateway.upstreams.deployments import (
    MAX_IMAGES_PER_RESPONSE,
    MAX_TEXT_TOKENS,
    Defaults,
    Deployment,
    DeploymentSet,
    DialectName,
    Hardware,
    Location,
    Pin,
)
from gateway.upstreams.routing_section import RoutingSection, as_tuple, each_once
from gateway.upstreams.rules import Rules, SignalKind, Signals, SignalSource, SourceName
from gateway.yaml_tree import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

OPENAI_BASE_URL = "https://api.openai.com/v1"
OPENAI_IMAGE_MODELS = (
    "gpt-image-1-mini",
    "gpt-image-1.5",
    "gpt-image-2",
    "gpt-image-2-2026-04-21",
    "gpt-image-2.5-sunburst",
    "gpt-image-2.5-sunburst-2026-09-08",
    "gpt-image-2.5-flare",
    "gpt-image-2.5-flare-2026-09-08",
    "gpt-image-2.6-sunburst",
    "gpt-image-2.6-flare",
    "chatgpt-image-latest",
)

KEYED_SOURCES = frozenset({"eia", "electricity-maps", "entsoe", "watttime"})
NAMED_AREA_SOURCES = frozenset({"carbon-aware-sdk", "watttime"})

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MODEL = re.compile(r"[!-~]{1,200}")
_API_VERSION = re.compile(r"[0-9A-Za-z.-]{1,40}")
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_BASE_URL = re.compile(r"https?://[!-~]+")
_ZONE = re.compile(r"[A-Z]{2,3}(-[A-Z0-9]{1,8}){0,3}")
_SIZE = re.compile(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}")


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise wrong(f"must have at most 63 letters, digits, '.', '_' and '-' (got {shown(text)})")
    return text


def _model_name(text: str) -> str:
    if not _MODEL.fullmatch(text):
        raise wrong(f"must have at most 200 visible ASCII characters and no space (got {shown(text)})")
    return text


def _names(value: object) -> object:
    if not isinstance(value, list):
        return (value,)
    if not value:
        raise wrong("must not be empty")
    return tuple(value)


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise wrong("names a model twice")
    return names


def _base_url(text: str) -> str:
    """An absolute http(s) URL without credentials; messages never show the URL, which may hold some."""
    absolute_url(text, example="https://images.example/v1", instead="use api_key")
    if "?" in text or "#" in text:
        raise wrong("must not have a query or a fragment")
    return text.rstrip("/")


def _zone(text: str) -> str:
    if not _ZONE.fullmatch(text):
        raise wrong(f"must be an electricity zone such as FR or US-MIDA-PJM (got {shown(text)})")
    return text


def _api_version(text: str) -> str:
    if not _API_VERSION.fullmatch(text):
        raise wrong(f"must be a version such as 2025-04-01-preview (got {shown(text)})")
    return text


def _parameter(text: str) -> str:
    if not _PARAMETER.fullmatch(text):
        raise wrong(f"must be the name of a parameter, such as style (got {shown(text)})")
    return text


def _size(text: str) -> str:
    if not _SIZE.fullmatch(text):
        raise wrong(f"must be <width>x<height> in pixels, such as 1024x1024 (got {shown(text)})")
    return text


Word = Annotated[str, Field(min_length=1, max_length=100)]
ModelName = Annotated[str, AfterValidator(_model_name), written(_MODEL)]
BaseUrl = Annotated[str, AfterValidator(_base_url), written(_BASE_URL)]


class LocationSection(Section):
    """Where it runs."""

    provider: Word | None = None
    region: Word | None = None
    zone: Annotated[str, AfterValidator(_zone), written(_ZONE)] | None = None
    pin: Pin = "unknown"


class HardwareSection(Section):
    """On what it runs."""

    gpu: Word | None = None
    num_gpus: Annotated[int, Field(ge=1, le=1024)] | None = None
    precision: Word | None = None
    batch: Annotated[int, Field(ge=1, le=1024)] | None = None
    pue: Annotated[float, Field(ge=1, le=5)] | None = None
    wue_l_per_kwh: Annotated[float, Field(ge=0, le=50)] | None = None


class DefaultsSection(Section):
    """What the server does when a request leaves a value open."""

    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    size: Annotated[str, AfterValidator(_size), written(_SIZE)] | None = None
    quality: Word | None = None


class PriceSection(Section):
    """What it costs its operator."""

    usd_per_image: Annotated[float, Field(ge=0, le=10_000)] | None = None


class CapacitySection(Section):
    """How much work it takes at once."""

    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = None


class DeploymentSection(Section):
    """One entry of `deployments:`."""

    later: ClassVar[frozenset[str]] = frozenset({"timeouts"})

    id: Annotated[str, AfterValidator(_id), written(_ID)]
    model: Annotated[
        tuple[ModelName, ...],
        BeforeValidator(
            _names, json_schema_input_type=ModelName | Annotated[list[ModelName], Field(min_length=1)]
        ),
        AfterValidator(_distinct),
    ]
    base_url: BaseUrl
    api_key: Secret | None = None
    upstream_model: ModelName | None = None
    dialect: DialectName = "openai"
    api_version: Annotated[str, AfterValidator(_api_version), written(_API_VERSION)] | None = None
    drop_params: Annotated[
        tuple[Annotated[str, AfterValidator(_parameter), written(_PARAMETER)], ...], BeforeValidator(as_tuple)
    ] = ()
    location: LocationSection = LocationSection()
    hardware: HardwareSection = HardwareSection()
    defaults: DefaultsSection = DefaultsSection()
    capacity: CapacitySection = CapacitySection()
    price: PriceSection = PriceSection()
    on_disconnect: Literal["abort", "finish"] = "abort"
    unknown_params: Literal["forward", "drop", "refuse"] = "forward"
    image_model: ModelName | None = None
    image_deployment: ModelName | None = None
    max_images_per_response: Annotated[int, Field(ge=1, le=100)] = MAX_IMAGES_PER_RESPONSE
    max_text_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = MAX_TEXT_TOKENS
    text: Literal["refuse", "allow"] = "refuse"


class SourceSection(Section):
    """One entry of `signals.sources:`."""

    provider: SourceName
    zones: Annotated[
        tuple[Annotated[str, AfterValidator(_zone), written(_ZONE)], ...],
        BeforeValidator(as_tuple),
        AfterValidator(each_once),
    ] = ()
    area: Word | None = None
    key: Secret | None = None
    base_url: BaseUrl | None = None


class SignalsSection(Section):
    """Where readings of the grid come from."""

    later: ClassVar[frozenset[str]] = frozenset({"stale", "hydro_ewif_l_per_kwh"})

    kind: SignalKind = "average-lifecycle"
    sources: Annotated[tuple[SourceSection, ...], BeforeValidator(as_tuple)] = ()
    history: Word | None = None


class DeploymentFile(Section):
    """The whole file."""

    later: ClassVar[frozenset[str]] = frozenset({"unknown_model"})

    deployments: Annotated[list[DeploymentSection], Field(min_length=1)]
    routing: RoutingSection = RoutingSection()
    signals: SignalsSection = SignalsSection()


def load_deployments(
    path: Path,
    *,
    environ: Mapping[str, str] | None,
    known_zone: Callable[[str], bool] | None = None,
    known_gpu: Callable[[str], bool] | None = None,
) -> DeploymentSet:
    """The deployments of a file. Raises ConfigError with every mistake.

    `environ` resolves credentials; with None they are empty and the result can be checked but not used.
    `known_zone` and `known_gpu` tell whether factors exist for a name; without them every name passes.
    """
    document = read_document(path, DeploymentFile, environ=environ)
    problems = _repeated_ids(document)
    for index, section in enumerate(document.content.deployments):
        zone, gpu = section.location.zone, section.hardware.gpu
        if zone is not None and known_zone is not None and not known_zone(zone):
            message = f"there are no factors for zone {shown(zone)}"
            problems.append(document.problem(("deployments", index, "location", "zone"), message))
        if gpu is not None and known_gpu is not None and not known_gpu(gpu):
            message = f"there are no factors for GPU {shown(gpu)}"
            problems.append(document.problem(("deployments", index, "hardware", "gpu"), message))
    for location, message in document.content.routing.contradictions():
        problems.append(document.problem(("routing", *location), message))
    problems += _source_problems(document)
    if problems:
        raise ConfigError(in_order(problems))
    return DeploymentSet(
        deployments=tuple(_deployment(section) for section in document.content.deployments),
        rules=document.content.routing.rules(),
        version=f"sha256:{document.digest}",
        signals=_signals(document.content.signals, path.parent),
    )


def openai_deployments(api_key: SecretStr) -> DeploymentSet:
    """What a gateway without a deployments file offers: the live image models of OpenAI."""
    deployment = Deployment(
        id="openai-direct",
        models=OPENAI_IMAGE_MODELS,
        base_url=OPENAI_BASE_URL,
        api_key=api_key,
        location=Location(provider="openai"),
    )
    digest = hashlib.sha256("\n".join((OPENAI_BASE_URL, *OPENAI_IMAGE_MODELS)).encode()).hexdigest()
    return DeploymentSet(deployments=(deployment,), rules=Rules(), version=f"sha256:{digest}")


def _repeated_ids(document: Document[DeploymentFile]) -> list[Problem]:
    first: dict[str, int] = {}
    problems = []
    for index, section in enumerate(document.content.deployments):
        location = ("deployments", index, "id")
        if section.id in first:
            message = f"'{section.id}' is already the id of the deployment on line {first[section.id]}"
            problems.append(document.problem(location, message))
        else:
            first[section.id] = document.line_of(location)
    return problems


def _source_problems(document: Document[DeploymentFile]) -> list[Problem]:
    problems = []
    for index, source in enumerate(document.content.signals.sources):
        location = ("signals", "sources", index)
        if source.provider in KEYED_SOURCES and source.key is None:
            problems.append(document.problem(location, f"{source.provider} needs a 'key'"))
        if source.provider in NAMED_AREA_SOURCES and source.area is None:
            message = f"{source.provider} needs an 'area': its own name of the zone"
            problems.append(document.problem(location, message))
        if source.area is not None and len(source.zones) != 1:
            problems.append(document.problem((*location, "area"), "is the name of one zone: list just one"))
    return problems


def _signals(section: SignalsSection, directory: Path) -> Signals:
    return Signals(
        kind=section.kind,
        sources=tuple(SignalSource(**dict(source)) for source in section.sources),
        history=directory / section.history if section.history is not None else None,
    )


def _deployment(section: DeploymentSection) -> Deployment:
    return Deployment(
        id=section.id,
        models=section.model,
        base_url=section.base_url,
        api_key=section.api_key,
        upstream_model=section.upstream_model,
        dialect=section.dialect,
        api_version=section.api_version,
        drop_params=frozenset(section.drop_params),
        location=Location(**dict(section.location)),
        hardware=Hardware(**dict(section.hardware)),
        defaults=Defaults(**dict(section.defaults)),
        concurrency=section.capacity.concurrency,
        usd_per_image=section.price.usd_per_image,
        on_disconnect=section.on_disconnect,
        unknown_params=section.unknown_params,
        image_model=section.image_model,
        image_deployment=section.image_deployment,
        max_images_per_response=section.max_images_per_response,
        max_text_tokens=section.max_text_tokens,
        text=section.text,
    )
