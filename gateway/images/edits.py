"""Requests that start from pictures: edits as a form or as JSON, and variations.

Knows which parts are pictures to start from (they are priced), and which are masks. Refuses to look into the
pictures.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.images.request import UNPRICED_IN_GENERATIONS, ImageRequest, named, understood
from gateway.images.strict_json import read_object
from gateway.images.values import STEP_NAMES, refused, typed

if TYPE_CHECKING:
    from gateway.images.form import Form
    from gateway.images.request import Route

MAX_INPUT_IMAGES = 16
OVERLAYS = frozenset({"mask", "markup", "mask_image"})
PICTURES_IN_JSON = frozenset({"image", "images", "mask"})
UNPRICED_IN_EDITS = UNPRICED_IN_GENERATIONS - {"strength"} - PICTURES_IN_JSON
WHOLE_NAMES = frozenset(
    {
        "n", "width", "height", "partial_images", "output_compression", "frame_count", "frame_duration_ms",
        "seed", *STEP_NAMES,
    }
)  # fmt: skip
REAL_NAMES = frozenset({"guidance_scale", "true_cfg_scale", "strength"})
LEAST_EDGE_PX = 256


def read_edit_form(form: Form, *, model: str | None = None) -> ImageRequest:
    """A whole form of `POST /v1/images/edits`. Raises `InvalidRequest`."""
    return _from_form(form, "images.edit", model)


def read_variation_form(form: Form) -> ImageRequest:
    """A whole form of `POST /v1/images/variations`. Raises `InvalidRequest`."""
    return _from_form(form, "images.variation", None)


def read_edit(body: bytes, *, model: str | None = None) -> ImageRequest:
    """A JSON body of `POST /v1/images/edits`. Raises `InvalidRequest`."""
    fields = named(read_object(body), model)
    images = fields.get("images")
    if images is None:
        images = [fields["image"]] if fields.get("image") is not None else []
    elif fields.get("image") is not None:
        raise refused("'image' and 'images' exclude each other.", "image")
    if not isinstance(images, list) or not images:
        raise refused("'images' must be a list of pictures.", "images", "missing_required_parameter")
    if len(images) > MAX_INPUT_IMAGES:
        raise refused(f"'images' may hold at most {MAX_INPUT_IMAGES} pictures.", "images")
    for image in images:
        _require_reference(image, "images")
    if fields.get("mask") is not None:
        _require_reference(fields["mask"], "mask")
    return understood(fields, "images.edit", UNPRICED_IN_EDITS, input_images=len(images))


def least_of(form: Form, route: Route, *, model: str | None = None) -> ImageRequest | None:
    """The least work that a form can ask for, by the fields that came first; `None` without a model.

    Raises `InvalidRequest` when these fields are wrong already.
    """
    fields = named(_typed(form), model)
    if "model" not in fields:
        return None
    least = {"n": 1, "quality": "low", "prompt": "-"}
    request = understood(least | fields, route, UNPRICED_IN_EDITS, input_images=1, form=form)
    if request.size is None and "size" not in fields:
        request = replace(request, width=LEAST_EDGE_PX, height=LEAST_EDGE_PX)
    return replace(request, steps=request.steps or 1)


def _from_form(form: Form, route: Route, model: str | None) -> ImageRequest:
    pictures = [name for name, _ in form.files if name.partition("[")[0] not in OVERLAYS]
    if not pictures:
        raise refused("'image' is required.", "image", "missing_required_parameter")
    if len(pictures) > MAX_INPUT_IMAGES:
        raise refused(f"A form may carry at most {MAX_INPUT_IMAGES} images.", "image")
    return understood(
        named(_typed(form), model), route, UNPRICED_IN_EDITS, input_images=len(pictures), form=form
    )


def _typed(form: Form) -> dict[str, Any]:
    for name in form.fields:
        if name.partition("[")[0] in OVERLAYS | PICTURES_IN_JSON:
            raise refused(f"'{name}' must be a file.", name, "invalid_type")
    return typed(form.fields, whole_names=WHOLE_NAMES, real_names=REAL_NAMES)


def _require_reference(image: object, param: str) -> None:
    """`{"file_id": ...}`, `{"image_url": ...}` or what other services take in their place: a URL."""
    if isinstance(image, str) and image:
        return
    if isinstance(image, dict):
        given = [image[name] for name in ("file_id", "image_url", "url") if image.get(name) is not None]
        if len(given) == 1 and isinstance(given[0], str) and given[0]:
            return
    raise refused("A picture must have either a 'file_id' or an 'image_url'.", param)
