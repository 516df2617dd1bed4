"""Drives a gateway with openai-python, 1.x or later: `openai_python.py OPERATION BASE_URL KEY MODEL`."""

import base64
import json
import sys

import openai

operation, base_url, key, model = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key=key, timeout=30)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
FILES = [("one.png", PNG, "image/png"), ("two.png", PNG, "image/png")]
IMAGE = {"model": model, "prompt": "a cat", "size": "64x64"}
STREAMED = {**IMAGE, "stream": True, "partial_images": 1}
TOOL = {"type": "image_generation", "size": "64x64", "quality": "low", "partial_images": 1}
RESPONSE = {"model": model, "input": "a cat", "tools": [TOOL], "max_tool_calls": 1}
CHAT = {
    "model": model,
    "messages": [{"role": "user", "content": "a cat"}],
    "modalities": ["image", "text"],
}


def respond() -> dict:
    answer = client.responses.create(**RESPONSE)
    calls = [one for one in answer.output if one.type == "image_generation_call" and one.result]
    return {"images": len(calls), "text": answer.output_text}


def chat() -> dict:
    message = client.chat.completions.create(**CHAT).choices[0].message
    return {"images": len(message.images), "text": message.content}


def chat_stream() -> dict:
    deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**CHAT, stream=True)]
    images = sum(len(getattr(delta, "images", None) or []) for delta in deltas)
    return {"images": images, "text": "".join(delta.content or "" for delta in deltas)}


def events(stream: object) -> dict:
    return {"events": [event.type for event in stream]}


def leave() -> dict:
    with client.images.generate(**STREAMED) as stream:
        return {"events": [next(iter(stream)).type]}


OPERATIONS = {
    "generate": lambda: {"images": len(client.images.generate(**IMAGE, n=2).data)},
    "edit": lambda: {"images": len(client.images.edit(**IMAGE, image=FILES, mask=FILES[0], n=2).data)},
    "stream": lambda: events(client.images.generate(**STREAMED)),
    "edit-stream": lambda: events(client.images.edit(**STREAMED, image=FILES[0])),
    "leave": leave,
    "models": lambda: {"models": [one.id for one in client.models.list()]},
    "respond": respond,
    "respond-stream": lambda: events(client.responses.create(**RESPONSE, stream=True)),
    "chat": chat,
    "chat-stream": chat_stream,
}

try:
    result = OPERATIONS[operation]()
except openai.APIStatusError as error:
    result = {"status": error.status_code, "code": error.code, "request_id": error.request_id}
except openai.APIError as error:
    result = {"status": None, "code": error.code}
print(json.dumps(result))
