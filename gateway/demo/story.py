"""What the demo asks for, and the check that every answer is what it should be.

Talks to the gateway only from outside: the stock openai client for images, plain HTTP for everything else.
Refuses to know how the gateway runs and how results are printed.
"""

from __future__ import annotations

import asyncio
import base64
import io
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import openai
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MODEL, TALKER = "flux-stand-in", "gpt-stand-in"
CHEAPEST, SECOND = "SE", "FR"
DIMENSIONS = ("energy-wh", "water-ml", "carbon-g")
_JOURNAL_WITHIN_S = 15.0
_ROUNDING = 1e-3  # headers are rounded for people; sums of them differ a little from the ledger's integers


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for images, the zone it should end up in, and why."""

    team: str
    name: str
    prompt: str
    n: int
    size: str
    zone: str
    why: str
    extra: dict[str, str] = field(default_factory=dict)


DESIGN = (
    Ask("design", "fox", "a red fox in the snow", 1, "1024x1024", CHEAPEST, "the lowest carbon"),
    Ask("design", "lake", "a quiet lake at dawn", 2, "1536x1024", CHEAPEST, "the lowest carbon"),
    Ask(
        "design",
        "lamp",
        "a paper lamp, soft light",
        1,
        "512x512",
        SECOND,
        f"{CHEAPEST} said that it was overloaded",
        {
            "standin_fault": f"overload:0@{CHEAPEST}"
        },  # with no wish for a pause, so that the next one goes there
    ),
)
POSTCARDS = Ask("postcards", "harbour", "a harbour at noon", 2, "512x512", CHEAPEST, "the lowest carbon")
LIGHTHOUSE = Ask("design", "lighthouse", "draw a lighthouse", 1, "1024x1024", CHEAPEST, "where its model is")
TOO_MUCH = Ask("postcards", "harbour-night", "a harbour at night", 2, "512x512", "none", "3 images a month")
SMALL_BUDGET = "postcards-month"


@dataclass(frozen=True, slots=True)
class Delivered:
    """One answered request: the files written and the headers that priced it."""

    ask: Ask
    files: tuple[Path, ...]
    request_id: str
    headers: Mapping[str, str]

    def figure(self, dimension: str, bound: str = "") -> float:
        """A figure of `ecogate-<dimension>` (`bound` is empty for central, else `-low` or `-high`)."""
        return float(self.headers.get(f"ecogate-{dimension}{bound}", "nan"))


@dataclass(slots=True)
class Facts:
    """What was checked: each fact with whether it held."""

    checked: list[tuple[str, bool]] = field(default_factory=list)

    def expect(self, fact: str, holds: object) -> None:
        self.checked.append((fact, bool(holds)))

    @property
    def failed(self) -> list[str]:
        return [fact for fact, holds in self.checked if not holds]


@dataclass(frozen=True, slots=True)
class Guest:
    """A caller of the gateway: the stock client for images and plain HTTP for the eco side."""

    images: openai.AsyncOpenAI
    http: httpx.AsyncClient
    key: str

    async def close(self) -> None:
        await self.images.close()
        await self.http.aclose()


def guest(url: str, key: str) -> Guest:
    """A caller with an API key."""
    return Guest(
        images=openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, timeout=60),
        http=httpx.AsyncClient(
            base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=60, trust_env=False
        ),
        key=key,
    )


async def issue_key(admin: Guest, *, team: str | None, user: str, role: str) -> str:
    """A new API key, by the admin API."""
    body = {"org": "default", "team": team, "user": user, "labels": {"source": "demo"}, "role": role}
    answer = await admin.http.post("/eco/v1/keys", json={k: v for k, v in body.items() if v is not None})
    answer.raise_for_status()
    return str(answer.json()["key"])


async def ask_for(caller: Guest, ask: Ask, folder: Path, facts: Facts) -> Delivered:
    """Generates with the stock client, writes the pictures to `folder` and checks what came back."""
    estimate = await caller.http.post("/eco/v1/estimate", json=_body(ask))
    raw = await caller.images.images.with_raw_response.generate(
        model=MODEL,
        prompt=ask.prompt,
        n=ask.n,
        size=ask.size,
        extra_body=ask.extra,
    )
    pictures = [base64.b64decode(image.b64_json or "") for image in raw.parse().data or []]
    delivered = await _kept(ask, pictures, raw.headers, folder, facts)
    if not ask.extra:
        priced = estimate.json()["footprint"]["energy_wh"]["central"] if estimate.is_success else math.nan
        same = math.isclose(priced, delivered.figure("energy-wh"), rel_tol=_ROUNDING)
        facts.expect(f"{ask.name}: the dry run named the same energy", same)
    return delivered


async def talk_for(caller: Guest, ask: Ask, folder: Path, facts: Facts) -> Delivered:
    """Has a text model draw by its image tool, with the stock client, and checks what came back."""
    raw = await caller.images.responses.with_raw_response.create(
        model=TALKER,
        input=ask.prompt,
        tools=[{"type": "image_generation", "size": ask.size, "quality": "low"}],
        max_tool_calls=ask.n,
    )
    answer = raw.parse()
    calls = [item.result for item in answer.output if item.type == "image_generation_call"]
    facts.expect(f"{ask.name}: the model said something, too", answer.output_text)
    return await _kept(ask, [base64.b64decode(one or "") for one in calls], raw.headers, folder, facts)


async def _kept(
    ask: Ask, pictures: list[bytes], headers: Mapping[str, str], folder: Path, facts: Facts
) -> Delivered:
    """Writes the pictures of an answer and checks it."""
    files = tuple(folder / f"{ask.name}-{number}.png" for number in range(1, len(pictures) + 1))
    for file, picture in zip(files, pictures, strict=True):
        await asyncio.to_thread(file.write_bytes, picture)
    delivered = Delivered(ask, files, headers.get("x-request-id", ""), headers)
    for fact, holds in _answer_facts(delivered, pictures):
        facts.expect(f"{ask.name}: {fact}", holds)
    return delivered


def _body(ask: Ask) -> dict[str, Any]:
    return {"model": MODEL, "prompt": ask.prompt, "n": ask.n, "size": ask.size, **ask.extra}


def _answer_facts(delivered: Delivered, pictures: list[bytes]) -> Iterator[tuple[str, bool]]:
    ask = delivered.ask
    yield f"{ask.n} image(s) came back", len(pictures) == ask.n
    yield f"each has {ask.size} pixels", all(_size_of(picture) == ask.size for picture in pictures)
    yield f"it went to {ask.zone}", delivered.headers.get("ecogate-zone") == ask.zone
    yield "the figures are settled", delivered.headers.get("ecogate-basis") == "settled"
    yield "it has a request id", bool(delivered.request_id)
    for dimension in DIMENSIONS:
        low, central, high = (delivered.figure(dimension, bound) for bound in ("-low", "", "-high"))
        yield f"{dimension} is a range", 0 < low <= central <= high


def _size_of(picture: bytes) -> str:
    with Image.open(io.BytesIO(picture)) as image:
        return f"{image.width}x{image.height}"


async def ask_too_much(caller: Guest, facts: Facts) -> dict[str, Any]:
    """Asks for more than a budget allows; the refusal's `error` object, empty when there was none."""
    try:
        await caller.images.images.generate(
            model=MODEL,
            prompt=TOO_MUCH.prompt,
            n=TOO_MUCH.n,
            size=TOO_MUCH.size,
        )
    except openai.APIStatusError as refused:
        error: dict[str, Any] = refused.body if isinstance(refused.body, dict) else {}
        eco = error.get("eco") or {}
        facts.expect("the refusal is 402", refused.status_code == httpx.codes.PAYMENT_REQUIRED)
        facts.expect("the refusal names its budget", eco.get("policy") == SMALL_BUDGET)
        facts.expect("the refusal says what is left", (eco.get("used"), eco.get("remaining")) == (2, 1))
        facts.expect("the refusal says not to retry", refused.response.headers["x-should-retry"] == "false")
        return error
    facts.expect("a request over its budget is refused", holds=False)
    return {}


async def check_books(admin: Guest, delivered: list[Delivered], facts: Facts) -> None:
    """The usage API must agree with what was answered, once the journal has been read."""
    images = sum(one.ask.n for one in delivered)
    energy_wh = sum(one.figure("energy-wh") for one in delivered)
    row: dict[str, Any] = {}
    async with asyncio.timeout(_JOURNAL_WITHIN_S):
        while row.get("images", 0) < images:
            await asyncio.sleep(0.1)
            answer = await admin.http.get("/eco/v1/usage", params={"window": "total"})
            answer.raise_for_status()
            row = next(iter(answer.json()["data"]), {})
    facts.expect("usage counts the images that came back", row["images"] == images)
    counted_wh = central(row["energy_wh"])
    facts.expect(
        "usage adds up the energy of the headers", math.isclose(counted_wh, energy_wh, rel_tol=_ROUNDING)
    )
    for one in delivered:
        record = (await admin.http.get(f"/eco/v1/requests/{one.request_id}")).json()
        facts.expect(
            f"{one.ask.name}: the record names the deployment",
            record.get("deployment") == one.headers["ecogate-deployment"],
        )


async def check_pages(admin: Guest, facts: Facts) -> None:
    """The pages that the demo points at must be there, and the metrics must know the images."""
    for path in ("/dashboard", "/docs", "/readyz"):
        answer = await admin.http.get(path, follow_redirects=True)
        facts.expect(f"{path} answers", answer.is_success)
    metrics = await admin.http.get("/metrics")
    facts.expect("/metrics counts energy", re.search(r"(?m)^ecogate_energy\w*\{", metrics.text))


def central(value: float | dict[str, float]) -> float:
    """The central estimate of a figure that may come with its range."""
    return value["central"] if isinstance(value, dict) else value
