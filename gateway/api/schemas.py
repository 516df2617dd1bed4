"""Bodies that no type of ours describes: what handlers read by hand, pass on untouched, or build as JSON.

Knows names, types and units as the published description shows them; tests hold real answers against it.
"""

from __future__ import annotations

from typing import Any

from litestar.openapi.spec import OpenAPIFormat, OpenAPIType, Schema

from gateway.images.request import MAX_IMAGES, MAX_PARTIAL_IMAGES, MAX_PROMPT_CHARACTERS, MAX_STEPS


def _of(kind: OpenAPIType, description: str, **limits: Any) -> Schema:
    return Schema(type=kind, description=description, **limits)


def _text(description: str, **limits: Any) -> Schema:
    return _of(OpenAPIType.STRING, description, **limits)


def _count(description: str, **limits: Any) -> Schema:
    return _of(OpenAPIType.INTEGER, description, **limits)


def _number(description: str) -> Schema:
    return _of(OpenAPIType.NUMBER, description, minimum=0)


def _list(items: Schema, description: str) -> Schema:
    return _of(OpenAPIType.ARRAY, description, items=items)


def _object(description: str, optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """An object with these properties; those that are not `optional` are always there."""
    required = [name for name in properties if name not in optional]
    return _of(OpenAPIType.OBJECT, description, properties=properties, required=required)


def _nullable_text(description: str) -> Schema:
    return Schema(type=[OpenAPIType.STRING, OpenAPIType.NULL], description=description)


def _nullable_number(description: str) -> Schema:
    return Schema(type=[OpenAPIType.NUMBER, OpenAPIType.NULL], description=description)


def _range(description: str) -> Schema:
    return _object(
        description, low=_number("Lower bound"), central=_number("Estimate"), high=_number("Upper bound")
    )


def _amounts(description: str) -> Schema:
    return _object(
        description,
        ("cost_usd",),
        energy_wh=_number("Wh"),
        water_ml=_number("mL"),
        carbon_g=_number("gCO2e"),
        images=_count("How many", minimum=0),
        cost_usd=_number("USD; absent where the cost is not known"),
    )


GENERATION = Schema(
    type=OpenAPIType.OBJECT,
    description="A body of the OpenAI Images API. Fields that are not listed here are forwarded.",
    required=["model", "prompt"],
    properties={
        "model": _text("A name from `GET /v1/models`"),
        "prompt": _text("What to draw", max_length=MAX_PROMPT_CHARACTERS),
        "n": _count("How many images", minimum=1, maximum=MAX_IMAGES, default=1),
        "size": _text("`auto` or WIDTHxHEIGHT in pixels"),
        "aspect_ratio": _text("A shape like `16:9`, where the service takes no pixels"),
        "resolution": _text("A class like `1k` or `2k`, in place of `size`"),
        "quality": _text("`auto`, `low`, `medium`, `high` or what the model knows"),
        "num_inference_steps": _count("Denoising steps, also `steps`", minimum=1, maximum=MAX_STEPS),
        "partial_images": _count("Partial images", minimum=0, maximum=MAX_PARTIAL_IMAGES),
        "response_format": _text("`b64_json` or `url`, where the service knows it"),
        "output_format": _text("`png`, `jpeg`, `webp` or `gif`"),
        "stream": _of(OpenAPIType.BOOLEAN, "Answer with server-sent events", default=False),
    },
    additional_properties=True,
)

GENERATION_EXAMPLE = {"model": "flux", "prompt": "a red fox in the snow", "n": 1, "size": "1024x1024"}

_PICTURE = Schema(
    type=OpenAPIType.OBJECT,
    description="A picture, as `file_id` or as `image_url` (also a data URL)",
    properties={"file_id": _text("Id of a file at the service"), "image_url": _text("URL of a picture")},
)
_FILES = Schema(
    type=OpenAPIType.ARRAY,
    description="1 to 16 pictures; one may also be called `image`",
    items=Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY),
)
_FILE = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY, description="A picture")
EDIT = Schema(
    type=OpenAPIType.OBJECT,
    description="An edit that refers to its pictures; the other fields are those of a generation.",
    required=["model", "prompt", "images"],
    properties={
        **(GENERATION.properties or {}),
        "images": Schema(type=OpenAPIType.ARRAY, items=_PICTURE, min_items=1, max_items=16),
        "mask": _PICTURE,
    },
    additional_properties=True,
)
EDIT_FORM = Schema(
    type=OpenAPIType.OBJECT,
    description="An edit with its pictures as files; the other fields are those of a generation, as text.",
    required=["model", "prompt", "image[]"],
    properties={**(GENERATION.properties or {}), "image[]": _FILES, "mask": _FILE},
    additional_properties=True,
)
VARIATION_FORM = Schema(
    type=OpenAPIType.OBJECT,
    description="A picture to vary.",
    required=["model", "image"],
    properties={
        "model": _text("A name from `GET /v1/models`"),
        "image": _FILE,
        "n": _count("How many images", minimum=1, maximum=MAX_IMAGES, default=1),
        "size": _text("`auto` or WIDTHxHEIGHT in pixels"),
    },
)

RESPONSE = Schema(
    type=OpenAPIType.OBJECT,
    description="A body of the Responses API whose tool `image_generation` may make images. Without it only"
    " deployments with `text: allow` take it. Hosted tools of other kinds, stored prompts and `background`"
    " are refused, because nobody could meter them.",
    required=["model", "input"],
    properties={
        "model": _text("The text model: a name from `GET /v1/models`"),
        "input": Schema(description="A string, or a list of messages and items"),
        "tools": _list(_of(OpenAPIType.OBJECT, "A tool with its `type`"), "What the text model may use"),
        "max_tool_calls": _count("The most images, where the tool makes one per call", minimum=1),
        "max_output_tokens": _count("The most text", minimum=1),
        "stream": _of(OpenAPIType.BOOLEAN, "Answer with server-sent events", default=False),
    },
    additional_properties=True,
)
RESPONSE_EXAMPLE = {
    "model": "gpt-4o",
    "input": "Draw a red fox in the snow",
    "tools": [{"type": "image_generation", "size": "1024x1024", "quality": "medium"}],
    "max_tool_calls": 1,
}
CHAT = Schema(
    type=OpenAPIType.OBJECT,
    description="A body of the chat completions API whose `modalities` hold `image`. Without it only"
    " deployments with `text: allow` take it.",
    required=["model", "messages"],
    properties={
        "model": _text("A name from `GET /v1/models`"),
        "messages": _list(_of(OpenAPIType.OBJECT, "A message"), "The conversation"),
        "modalities": _list(_text("`text` or `image`"), "What may come back"),
        "image_config": _of(OpenAPIType.OBJECT, "`aspect_ratio` (16:9) and `image_size` (1K, 2K, 4K)"),
        "n": _count("How many choices", minimum=1, maximum=MAX_IMAGES, default=1),
        "max_completion_tokens": _count("The most text of a choice, also `max_tokens`", minimum=1),
        "stream": _of(OpenAPIType.BOOLEAN, "Answer with server-sent events", default=False),
    },
    additional_properties=True,
)
CHAT_EXAMPLE = {
    "model": "gemini-2.5-flash-image",
    "messages": [{"role": "user", "content": "Draw a red fox in the snow"}],
    "modalities": ["image", "text"],
}
CONVERSATION_ANSWER = _of(
    OpenAPIType.OBJECT,
    "The service's answer, byte for byte but for `ecogate` (with `ecogate-include: footprint`)",
    additional_properties=True,
)

IMAGES = _object(
    "The image service's answer, byte for byte but for `ecogate`; the usual fields.",
    ("created", "usage", "ecogate"),
    created=_count("Seconds since 1970"),
    data=_list(
        _object(
            "One image, inline or by URL",
            ("b64_json", "url", "revised_prompt"),
            b64_json=_text("The encoded picture in base64"),
            url=_text("Where the picture can be fetched"),
            revised_prompt=_text("The prompt that was drawn, where the model rewrote it"),
        ),
        "The images",
    ),
    usage=_of(OpenAPIType.OBJECT, "Tokens, where the service counts them"),
    ecogate=_of(OpenAPIType.OBJECT, "The footprint and where it was made, with `ecogate-include: footprint`"),
)
EVENTS = _text("Server-sent events of the image service, with `stream: true`")

FOOTPRINT = _object(
    "An estimate for the whole request, all its images. Parts that nobody knows are left out.",
    ("steps",),
    energy_wh=_range("Facility energy (PUE included) in Wh"),
    water_ml=_range("Water consumed on site and at power plants in mL"),
    carbon_g=_range("Location-based use and embodied carbon in gCO2e"),
    images=_count("How many images"),
    method=_text("How the energy was estimated"),
    parts=_of(
        OpenAPIType.OBJECT,
        "The parts of the sums, each a range; null for what is not estimated",
        additional_properties=Schema(one_of=[_range(""), Schema(type=OpenAPIType.NULL)]),
    ),
    zone=_nullable_text("Electricity zone, null where it is unknown"),
    water_basis=_text("`consumption`, `withdrawal` or `mixed`"),
    carbon_basis=_text("What the grid's intensity counts"),
    factor_set=_text("Version of the factors"),
    factors=_list(Schema(), "Ids of the factors that took part; whole factors with `explain`"),
    assumptions=_list(_text(""), "The values that nobody gave"),
    warnings=_list(_text(""), "What makes the estimate weaker than usual"),
    steps=_list(_of(OpenAPIType.OBJECT, ""), "Every step of the computation, with `explain`"),
)

ESTIMATE = _object(
    "What a body would cost, where it would go, and what budgets would say.",
    ("refusal", "downgrade", "reroute"),
    footprint=FOOTPRINT,
    basis=_text("Always `estimate`", enum=["estimate"]),
    hold=_object(
        "What would be held until the request is settled, by the bound that a budget counts",
        central=_amounts("Held where a budget counts the central estimate"),
        high=_amounts("Held where a budget counts the upper bound"),
    ),
    deployment=_text("Where the body would go"),
    zone=_nullable_text("Its electricity zone"),
    candidates=_list(
        _object(
            "One deployment that offers the model",
            ("policies",),
            deployment=_text("Its id"),
            zone=_nullable_text("Its electricity zone"),
            energy_wh=_number("Wh"),
            water_ml=_number("mL"),
            carbon_g=_number("gCO2e"),
            carbon_basis=_text("What the grid's intensity counts"),
            usable=_of(OpenAPIType.BOOLEAN, "Whether it could take the work now"),
            reason=_text("Why it stands where it stands"),
            policies=_list(_text("Its name"), "The budgets that count it, where some tell deployments apart"),
        ),
        "All deployments of the model, the first choice first",
    ),
    verdict=_text("What a real request would get", enum=["admit", "downgrade", "reroute", "deny"]),
    policies=_list(
        _object(
            "A budget that has a say",
            ("remaining", "limits"),
            policy=_text("Its name"),
            scope=_of(OpenAPIType.OBJECT, "Whose counter", additional_properties=_text("")),
            mode=_text("What it does when it has no room", enum=["shadow", "warn", "enforce"]),
            bound=_text("Which estimate it counts", enum=["central", "high"]),
            window=_of(OpenAPIType.OBJECT, "The stretch of time that it counts over now"),
            verdict=_text("Whether it has room for this", enum=["admit", "deny"]),
            because=_list(_text(""), "Why, one sentence for each dimension without room"),
            limits=_list(
                _object(
                    "One dimension that it limits, for those who may see it",
                    dimension=_text("Such as carbon"),
                    unit=_text("Of the amounts"),
                    limit=_number("As the policy has it"),
                    raised=_number("Added to it for a while"),
                    used=_number("Settled in this window"),
                    held=_number("Held by requests in progress"),
                    remaining=_nullable_number("What is left; null where nobody knows"),
                    requested=_nullable_number("What this body would hold; null where unknown"),
                ),
                "Its limits",
            ),
            remaining=_of(
                OpenAPIType.OBJECT,
                "What is left, for those who may see it",
                additional_properties=_number(""),
            ),
        ),
        "The budgets that this body counts against",
    ),
    downgrade=_of(
        OpenAPIType.OBJECT, "What would be made lighter, with the figures above, where the verdict says so"
    ),
    reroute=_of(
        OpenAPIType.OBJECT, "The deployments `from` and `to` which budgets would move it, where they would"
    ),
    refusal=_of(OpenAPIType.OBJECT, "The answer that a real request would get, where the verdict is `deny`"),
)

READINESS = _object(
    "Whether this process can serve, with a line for each part.",
    status=_text("In one word", enum=["ready", "not ready"]),
    checks=_of(
        OpenAPIType.OBJECT, "`ok`, or a sentence about what is wrong", additional_properties=_text("")
    ),
    policies=_object(
        "The budgets in force", version=_text("Digest of the files"), budgets=_count("How many")
    ),
    deployments=_list(_text(""), "Ids of the deployments in force"),
    configuration=_object(
        "The files that were read last",
        loaded_at=_count("When what is in force was read, in seconds since 1970"),
        rejected=_list(
            _text("file:line:column"), "Mistakes in newer files, for which what was in force is kept"
        ),
    ),
    factor_set=_text("Version of the factors"),
    store=_object(
        "The budget store",
        clock_offset_s=Schema(
            type=[OpenAPIType.NUMBER, OpenAPIType.NULL],
            description="How far its clock is ahead of this machine's, in seconds",
        ),
        clock_alarm=_nullable_text("A sentence when the two differ by more than 5 s"),
        ledger_recovery=Schema(
            one_of=[
                _object(
                    "What the last change of servers came to, as this process saw it, over all orgs",
                    at=_text("When it was noticed last", format=OpenAPIFormat.DATE_TIME),
                    orgs=_count("How many orgs changed their server or had their ledger rebuilt"),
                    adopted=_count("Endings taken from the database"),
                    restored=_count("Holds that this process brought back"),
                    resent=_count("Settlements that this process sent again"),
                    unexplained_holds=_count(
                        "Holds that it saw and that nobody knows now; `ecogate ledger verify` names them"
                    ),
                    unexplained=_amounts("What those held, by central estimates"),
                ),
                Schema(type=OpenAPIType.NULL, description="No change since this process started"),
            ]
        ),
    ),
)
