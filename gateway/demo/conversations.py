"""The stand-in's responses and chat completions: a few words, and pictures where the body allows some.

Follows the public APIs in shape, whole and streamed. The words and the token counts are the stand-in's own.
Refuses to draw; it is given pictures.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.demo.answers import BadRequest, Job, read_job, tokens
from gateway.demo.streaming import framed

if TYPE_CHECKING:
    from collections.abc import Iterator

RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"
WORDS = "Here is what a stand-in has to say."
TEXT_TOKENS = 12
CHAT_IMAGE_TOKENS = 1290
COST_USD = 0.039
IMAGE_TOOL = "image_generation"
TOOL_FIELDS = ("n", "size", "quality", "output_format", "partial_images")


def response_job(body: dict[str, Any]) -> Job:
    """What a body of the Responses API has drawn: what its image tool says, once. Raises BadRequest."""
    if not isinstance(body.get("model"), str) or not body.get("input"):
        raise BadRequest("model and input are required", "input")
    tools = [tool for tool in body.get("tools") or () if tool.get("type") == IMAGE_TOOL]
    asked = {name: tools[0][name] for name in TOOL_FIELDS if name in tools[0]} if tools else {}
    job = read_job({"prompt": _words_of(body["input"]), **asked, "stream": body.get("stream")})
    return job if tools and body.get("tool_choice") != "none" else replace(job, n=0)


def chat_job(body: dict[str, Any]) -> Job:
    """What a chat has drawn: one picture per choice where `modalities` hold `image`. Raises BadRequest."""
    if not isinstance(body.get("model"), str) or not body.get("messages"):
        raise BadRequest("model and messages are required", "messages")
    job = read_job({"prompt": _words_of(body["messages"]), "n": body.get("n"), "stream": body.get("stream")})
    return job if "image" in (body.get("modalities") or ()) else replace(job, n=0)


def response_answer(
    body: dict[str, Any], job: Job, pictures: list[bytes], *, usage: bool, tool_usage: bool
) -> dict[str, Any]:
    """A whole response."""
    answer: dict[str, Any] = {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "model": body["model"],
        "output": [*(_call(job, picture, index) for index, picture in enumerate(pictures)), _message()],
        "parallel_tool_calls": True,
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "temperature": 1.0,
        "top_p": 1.0,
        "metadata": {},
    }
    if usage:
        answer["usage"] = {
            "input_tokens": 20,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": TEXT_TOKENS,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 20 + TEXT_TOKENS,
        }
    if usage and tool_usage and pictures:
        answer["tool_usage"] = {"image_gen": tokens(job, len(pictures)), "web_search": {"num_requests": 0}}
    return answer


def response_frames(answer: dict[str, Any], job: Job) -> Iterator[bytes]:
    """The same response as events."""
    number = iter(range(1_000_000))

    def event(kind: str, **fields: Any) -> bytes:
        return framed({"type": kind, "sequence_number": next(number), **fields})

    begun = {name: value for name, value in answer.items() if name not in {"usage", "tool_usage"}}
    begun |= {"status": "in_progress", "output": []}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for index, item in enumerate(answer["output"]):
        place = {"output_index": index, "item_id": item["id"]}
        empty: dict[str, Any] = {"result": None} if item["type"] != "message" else {"content": []}
        added = {**item, "status": "in_progress", **empty}
        yield event("response.output_item.added", output_index=index, item=added)
        if item["type"] == "message":
            yield event("response.output_text.delta", **place, content_index=0, delta=WORDS, logprobs=[])
            yield event("response.output_text.done", **place, content_index=0, text=WORDS, logprobs=[])
        else:
            kind = "response.image_generation_call"
            yield event(f"{kind}.in_progress", **place)
            yield event(f"{kind}.generating", **place)
            for partial in range(job.partial_images):
                yield event(
                    f"{kind}.partial_image",
                    **place,
                    partial_image_index=partial,
                    partial_image_b64=item["result"],
                )
            yield event(f"{kind}.completed", **place)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=answer)


def chat_answer(
    body: dict[str, Any], job: Job, pictures: list[bytes], *, usage: bool, tool_usage: bool
) -> dict[str, Any]:
    """A whole chat completion: one choice for each `n`, the pictures dealt out among them."""
    choices = body.get("n") or 1
    answer: dict[str, Any] = {
        "id": f"gen-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [
            {
                "index": choice,
                "finish_reason": "stop",
                "message": {
                    "role": "assistant",
                    "content": WORDS,
                    **_images(job, pictures[choice::choices]),
                },
            }
            for choice in range(choices)
        ],
    }
    if usage:
        image_tokens = CHAT_IMAGE_TOKENS * len(pictures)
        written = TEXT_TOKENS * choices + image_tokens
        answer["usage"] = {
            "prompt_tokens": 20,
            "completion_tokens": written,
            "total_tokens": 20 + written,
            "cost": COST_USD * len(pictures),
        }
        if tool_usage:
            answer["usage"]["completion_tokens_details"] = {"image_tokens": image_tokens}
    return answer


def chat_frames(answer: dict[str, Any], *, usage: bool) -> Iterator[bytes]:
    """The same completion in chunks; the usage comes in a chunk of its own where it is asked for."""
    head = {"id": answer["id"], "object": "chat.completion.chunk", "created": answer["created"]}
    head["model"] = answer["model"]

    def chunk(**fields: Any) -> bytes:
        return b"data: " + json.dumps({**head, **fields}).encode() + b"\n\n"

    for choice in answer["choices"]:
        message = choice["message"]
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": message["content"]}]
        deltas += [{"content": "", "images": [image]} for image in message.get("images", ())]
        for delta in deltas:
            yield chunk(choices=[{"index": choice["index"], "delta": delta, "finish_reason": None}])
        yield chunk(choices=[{"index": choice["index"], "delta": {}, "finish_reason": "stop"}])
    if usage and "usage" in answer:
        yield chunk(choices=[], usage=answer["usage"])
    yield b"data: [DONE]\n\n"


def wants_usage(body: dict[str, Any]) -> bool:
    """Whether a streamed chat shall bring its usage."""
    return bool((body.get("stream_options") or {}).get("include_usage"))


def _call(job: Job, picture: bytes, index: int) -> dict[str, Any]:
    return {
        "id": f"ig_{uuid.uuid4().hex}_{index}",
        "type": "image_generation_call",
        "status": "completed",
        "result": base64.b64encode(picture).decode(),
        "background": "opaque",
        "output_format": job.output_format,
        "quality": job.quality,
        "size": job.size,
        "revised_prompt": "what the stand-in made of it",
    }


def _message() -> dict[str, Any]:
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": WORDS, "annotations": []}],
    }


def _images(job: Job, pictures: list[bytes]) -> dict[str, Any]:
    if not pictures:
        return {}
    kind = f"data:image/{job.output_format};base64,"
    return {
        "images": [
            {
                "type": "image_url",
                "image_url": {"url": kind + base64.b64encode(picture).decode()},
                "index": index,
            }
            for index, picture in enumerate(pictures)
        ]
    }


def _words_of(value: object) -> str:
    """Some text of a conversation, from which a picture follows."""
    return value if isinstance(value, str) else json.dumps(value)
