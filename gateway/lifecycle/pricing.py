"""What a request takes at a deployment: its images and its text, as asked before and as they came after.

Pure. The images and the text of one request are priced by themselves and added. Refuses to know budgets,
routes and where a deployment runs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.footprint.estimate import estimate
from gateway.footprint.quantities import ImageWork, TextWork
from gateway.footprint.text import UNPRICED_TEXT, estimate_text, find_writer
from gateway.images.request import Text, read_size
from gateway.upstreams.dialects.registry import dialect_of

if TYPE_CHECKING:
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.quantities import Footprint, Site
    from gateway.images.answer import Delivered
    from gateway.images.request import ImageRequest
    from gateway.upstreams.deployments import Deployment

TOOL_MODEL = "gpt-image-2.6-sunburst"
"""What the image tool of the Responses API draws with when nobody says otherwise."""


def asked_footprint(
    request: ImageRequest, deployment: Deployment, place: Site, factors: FactorSet
) -> Footprint:
    """The most that a request may take: what is held for it.

    A request that cannot draw must have a text model with a factor; `make_plan` sees to that.
    """
    drawn = estimate(work(request, deployment), place, factors) if request.draws else None
    text = None
    if request.text is not None:
        written = TextWork(deployment.footprint_model(request.model), _most_tokens(request, deployment))
        text = estimate_text(written, place, factors)
    together = _together(drawn, text, unpriced=request.text is not None and text is None)
    assert together is not None, "a text without a factor is refused"  # noqa: S101
    return together


def delivered_footprint(
    request: ImageRequest, deployment: Deployment, delivered: Delivered, place: Site, factors: FactorSet
) -> Footprint | None:
    """What really came back. `None` where nothing came that could be priced."""
    drawn = _drawn(request, deployment, delivered, place, factors)
    if request.text is None:
        return drawn
    model, tokens = deployment.footprint_model(request.model), delivered.text_tokens
    written = TextWork(
        model,
        _most_tokens(request, deployment) if tokens is None else tokens,
        delivered.input_tokens,
        measured=tokens is not None,
    )
    text = estimate_text(written, place, factors)
    return _together(drawn, text, unpriced=text is None and tokens != 0)


def writes_for_a_price(request: ImageRequest, deployment: Deployment, factors: FactorSet) -> bool:
    """Whether the text of a request can be priced at a deployment."""
    return find_writer(deployment.footprint_model(request.model), factors) is not None


def work(request: ImageRequest, deployment: Deployment) -> ImageWork:
    """The work as the deployment hears of it; what it leaves open comes from the defaults there."""
    request = dialect_of(deployment).heard(request, deployment)
    width, height = request.width, request.height
    if width is None and deployment.defaults.size is not None:
        width, height = read_size(deployment.defaults.size) or (None, None)
    return ImageWork(
        model=drawing_model(request, deployment),
        n=request.most_images(deployment.max_images_per_response),
        width=width,
        height=height,
        quality=request.quality or deployment.defaults.quality,
        steps=request.steps or deployment.defaults.steps,
        guidance_passes=request.guidance_passes,
        strength=request.strength,
        partial_images=request.partial_images,
        frames=request.frames,
        input_images=request.input_images,
    )


def drawing_model(request: ImageRequest, deployment: Deployment) -> str:
    """The model that draws: in a conversation it may be another than the one that is asked."""
    if request.route == "responses":
        return request.image_model or deployment.image_model or TOOL_MODEL
    if request.route == "chat" and deployment.image_model is not None:
        return deployment.image_model
    return deployment.footprint_model(request.model)


def delivered_work(request: ImageRequest, deployment: Deployment, delivered: Delivered) -> ImageWork:
    """The work as it came back: counted images, real sizes and usage replace what was asked or assumed."""
    asked = work(request, deployment)
    named = request.image_model or deployment.image_model
    return replace(
        asked,
        model=delivered.image_model if delivered.image_model and not named else asked.model,
        n=delivered.images,
        width=delivered.width or asked.width,
        height=delivered.height or asked.height,
        quality=delivered.quality or asked.quality,
        partial_images=_each(delivered.partial_images, delivered.images, asked.partial_images),
        measured_output_tokens=delivered.output_tokens,
        measured_gpu_seconds=_gpu_seconds(deployment, delivered),
    )


def _drawn(
    request: ImageRequest, deployment: Deployment, delivered: Delivered, place: Site, factors: FactorSet
) -> Footprint | None:
    """The images by their tokens, else each kind of picture by itself."""
    done = delivered_work(request, deployment, delivered)
    if delivered.images == 0:
        if delivered.output_tokens is None:
            return None
        return replace(estimate(done, place, factors), images=0)
    kinds = Counter(delivered.pictures)
    if delivered.output_tokens is not None or len(kinds) < 1:
        return estimate(done, place, factors)
    together: Footprint | None = None
    for kind, count in kinds.items():
        alike = replace(
            done,
            n=count,
            width=kind.width or done.width,
            height=kind.height or done.height,
            quality=kind.quality or done.quality,
        )
        part = estimate(alike, place, factors)
        together = part if together is None else together.plus(part)
    return together


def _together(drawn: Footprint | None, text: Footprint | None, *, unpriced: bool) -> Footprint | None:
    """Both parts; a text that nobody can price shows in the warnings and is never all there is."""
    if drawn is None:
        return text
    if text is not None:
        return drawn.plus(text)
    return replace(drawn, warnings=(*drawn.warnings, UNPRICED_TEXT)) if unpriced else drawn


def _most_tokens(request: ImageRequest, deployment: Deployment) -> int:
    text = request.text or Text()
    return text.choices * (deployment.max_text_tokens if text.most_tokens is None else text.most_tokens)


def _each(partials: int | None, images: int, asked: int) -> int:
    """Partial images per image, as they came."""
    return asked if partials is None else -(-partials // max(1, images))


def _gpu_seconds(deployment: Deployment, delivered: Delivered) -> float | None:
    """GPU seconds of the request where its operator's hardware is declared: elsewhere it is only a claim."""
    hardware, seconds = deployment.hardware, delivered.service_seconds
    if seconds is None or hardware.gpu is None:
        return None
    return seconds * (hardware.num_gpus or 1) / (hardware.batch or 1)
