"""What a dialect is: where a kind of image server takes which request, and how its fields are spelled.

Pure: a request and a deployment in, a body out. Whatever is left out of a body is named, so that the client
can be told. Refuses to know sockets.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gateway.images.nested import inside, unfolded
from gateway.images.request import OF_SOME
from gateway.images.values import STEP_NAMES, left_open
from gateway.upstreams.bodies import Body, form_body, json_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.images.request import ImageRequest, Route
    from gateway.upstreams.deployments import Deployment

Fields = dict[str, Any]
BY_JSON = frozenset({"images.generate", "responses", "chat"})
"""Routes whose bodies are JSON everywhere."""
TICKS_PER_USD = 10**10
MOST_USD = 10_000
"""No answer costs more; one that says so is not believed."""
UNHEARD: tuple[tuple[frozenset[str], Fields], ...] = (
    (frozenset({"size", "width", "height", "resolution"}), {"width": None, "height": None}),
    (frozenset(STEP_NAMES), {"steps": None}),
    (frozenset({"quality"}), {"quality": None}),
    (frozenset({"strength"}), {"strength": None}),
    (frozenset({"true_cfg_scale"}), {"guidance_passes": None}),
    (frozenset({"partial_images"}), {"partial_images": 0}),
    (frozenset({"output_format"}), {"frames": 1}),
    (frozenset({"max_tool_calls"}), {"calls": None}),
)
"""What a request means to a server that is sent none of these fields, though one was given."""


def nothing_more(_fields: Fields) -> Fields:
    """No meaning beyond that of the request."""
    return {}


def as_they_are(fields: Fields, _deployment: Deployment) -> Fields:
    """No translation."""
    return fields


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of image server.

    `paths` are below a deployment's base URL; a route without one is not offered. `kept`, where set, are the
    only parameters the server reads; `dropped` are those it refuses or that mean nothing to it. `translate`
    gets the fields that are left. `reads` are those of `OF_SOME` that it is sent; `hears` tells, as parts of
    a request, what fields mean to it alone. `form_routes` and `json_routes` take these kinds of bodies.
    `usd_ticks` is the member of `usage` that says what an answer cost, in 10**-10 USD, and `usd` the one that
    says it in USD.
    """

    name: str
    paths: Mapping[Route, str]
    kept: frozenset[str] | None = None
    dropped: frozenset[str] = frozenset()
    translate: Callable[[Fields, Deployment], Fields] = as_they_are
    json_edits: bool = False
    form_edits: bool = True
    key_header: str = "authorization"
    renamed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    usd_ticks: str | None = None
    usd: str | None = None
    reads: frozenset[str] = frozenset()
    hears: Callable[[Fields], Fields] = nothing_more

    def offers(self, request: ImageRequest) -> bool:
        """Whether such a server takes this kind of request in this kind of body."""
        if request.route not in self.paths:
            return False
        if request.route in BY_JSON:
            return True
        return self.form_edits if request.form is not None else self.json_edits

    def stated_cost_usd(self, usage: Mapping[str, Any]) -> Fraction | None:
        """What an answer says that it cost; None where this kind of server does not say it."""
        cost = usage.get(self.usd) if self.usd is not None else None
        if isinstance(cost, int | float) and 0 <= cost <= MOST_USD:
            return Fraction(str(cost))
        ticks = usage.get(self.usd_ticks) if self.usd_ticks is not None else None
        return Fraction(ticks, TICKS_PER_USD) if isinstance(ticks, int) and ticks >= 0 else None

    def fields(self, request: ImageRequest, deployment: Deployment) -> tuple[Fields, list[str]]:
        """The fields as they are sent, and the names of those that are left out."""
        unknown = request.unknown_fields()
        left_out = [
            name
            for name in request.fields
            if name in self.dropped
            or (name in OF_SOME and name not in self.reads)
            or name in deployment.drop_params
            or (self.kept is not None and name not in self.kept and name != "model")
            or (name in unknown and deployment.unknown_params == "drop")
        ]
        fields = {name: value for name, value in request.fields.items() if name not in left_out}
        if deployment.upstream_model is not None:
            fields["model"] = deployment.upstream_model
        translated = self.translate(fields, deployment)
        lost = [name for name in fields if name not in translated and name not in self.renamed]
        return translated, [*left_out, *(name for name in lost if name != "model")]

    def heard(self, request: ImageRequest, deployment: Deployment) -> ImageRequest:
        """The request as the server hears it, which is what it costs: it decides what it is not sent."""
        fields, left_out = self.fields(request, deployment)
        silent = unfolded({name: value for name, value in request.fields.items() if name in left_out})
        kept = unfolded({name: value for name, value in request.fields.items() if name not in left_out})
        told = {name for name, value in kept.items() if value is not None}
        heard: dict[str, Any] = {}
        for names, instead in UNHEARD:
            if not names.isdisjoint(silent) and names.isdisjoint(told):
                heard |= instead
        if isinstance(fields.get("quality"), str):
            heard["quality"] = left_open(fields["quality"])
        heard |= self.hears(kept)
        return replace(request, **heard) if heard else request

    def body(self, request: ImageRequest, deployment: Deployment) -> tuple[Body, list[str]]:
        """The body as it is sent, written anew from what was priced, and what was left out of it."""
        fields, left_out = self.fields(request, deployment)
        if request.form is not None:
            return form_body(request.form, fields), left_out
        return json_body(fields), left_out


def renamed(fields: Fields, names: Mapping[str, str]) -> Fields:
    """Fields under other names, in their order."""
    return {names.get(name, name): value for name, value in fields.items()}


DIFFUSERS_STEPS = dict.fromkeys(STEP_NAMES, "num_inference_steps")
"""The one spelling that servers on top of diffusers read; by another one they would run their default."""


def beside_others(fields: Fields, carrier: str) -> Fields:
    """Fields with those inside `carrier` beside them, for a server that reads all of them there."""
    found = {name: value for name, value in inside(fields).items() if value is not None}
    sent: Fields = {}
    for name, value in ({name: value for name, value in fields.items() if name != carrier} | found).items():
        spelled = DIFFUSERS_STEPS.get(name, name)
        if value is not None or spelled not in sent:
            sent[spelled] = value
    return sent
