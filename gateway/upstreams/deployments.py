"""What exists to send work to: deployments, grouped by the model name that clients use.

Knows the shape of a deployment and how groups are formed. Refuses to know how requests are sent (`client`)
and which deployment is best (`routing`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from gateway.upstreams.rules import Signals

if TYPE_CHECKING:
    from pydantic import SecretStr

    from gateway.upstreams.rules import Rules

DialectName = Literal[
    "openai",
    "azure",
    "vllm-omni",
    "sglang",
    "sdcpp",
    "localai",
    "xinference",
    "together",
    "xai",
    "openrouter",
]
MAX_IMAGES_PER_RESPONSE = 4
MAX_TEXT_TOKENS = 4_096
Pin = Literal["region", "datazone", "global", "unknown"]


@dataclass(frozen=True, slots=True)
class Location:
    """Where a deployment runs. `zone` is an electricity zone (`FR`); `region` is the cloud's word."""

    provider: str | None = None
    region: str | None = None
    zone: str | None = None
    pin: Pin = "unknown"


@dataclass(frozen=True, slots=True)
class Hardware:
    """On what it runs; `None` is unknown. `wue_l_per_kwh` is per kWh of IT energy."""

    gpu: str | None = None
    num_gpus: int | None = None
    precision: str | None = None
    batch: int | None = None
    pue: float | None = None
    wue_l_per_kwh: float | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the server does when a request leaves a value open."""

    steps: int | None = None
    size: str | None = None
    quality: str | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """One callable model instance.

    `models` are the names under which clients reach it; deployments that share a name are interchangeable.
    `upstream_model` replaces the client's name on the wire, where set. `footprint_model` is the name the
    catalogue is asked for: the upstream's name if there is one, else the client's. `drop_params` are left out
    of bodies; `api_version` is Azure's; `usd_per_image` is what the operator pays, where given;
    0 says that it is free.

    The rest is for conversations. `image_model` draws where the request does not say, and is on Azure the
    deployment `image_deployment`. What a request leaves unbounded is held as `max_images_per_response` and
    `max_text_tokens`. `text` says whether requests that cannot make an image are taken, too.
    """

    id: str
    models: tuple[str, ...]
    base_url: str
    api_key: SecretStr | None = None
    upstream_model: str | None = None
    dialect: DialectName = "openai"
    api_version: str | None = None
    drop_params: frozenset[str] = frozenset()
    location: Location = field(default_factory=Location)
    hardware: Hardware = field(default_factory=Hardware)
    defaults: Defaults = field(default_factory=Defaults)
    concurrency: int | None = None
    usd_per_image: float | None = None
    on_disconnect: Literal["abort", "finish"] = "abort"
    unknown_params: Literal["forward", "drop", "refuse"] = "forward"
    image_model: str | None = None
    image_deployment: str | None = None
    max_images_per_response: int = MAX_IMAGES_PER_RESPONSE
    max_text_tokens: int = MAX_TEXT_TOKENS
    text: Literal["refuse", "allow"] = "refuse"

    def price_usd(self, images: int) -> Fraction | None:
        """What that many images cost, exactly; None where no price is given. Text alone has no price."""
        if self.usd_per_image is None or (images == 0 and self.usd_per_image > 0):
            return None
        return Fraction(str(self.usd_per_image)) * images

    def footprint_model(self, asked: str) -> str:
        return self.upstream_model or asked


@dataclass(frozen=True, slots=True)
class DeploymentSet:
    """All deployments of one configuration, in file order; `version` is a digest of what was read."""

    deployments: tuple[Deployment, ...]
    rules: Rules
    version: str
    signals: Signals = field(default_factory=Signals)

    def serving(self, model: str) -> tuple[Deployment, ...]:
        """The interchangeable deployments behind a client's model name; empty when there are none."""
        return tuple(deployment for deployment in self.deployments if model in deployment.models)

    def ids(self) -> tuple[str, ...]:
        return tuple(deployment.id for deployment in self.deployments)

    def models(self) -> tuple[str, ...]:
        """Every model name that clients may use, in file order."""
        return tuple(dict.fromkeys(model for deployment in self.deployments for model in deployment.models))
