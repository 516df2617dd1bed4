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


def run() -> dict:
    if operation == "generate":
        answer = client.images.generate(model=model, prompt="a cat", n=2, size="64x64")
        return {"images": len(answer.data)}
    if operation == "edit":
        answer = client.images.edit(
            model=model, prompt="a cat", image=FILES, mask=FILES[0], n=2, size="64x64"
        )
        return {"images": len(answer.data)}
    extra = {"stream": True, "partial_images": 1}
    if operation == "stream":
        events = client.images.generate(model=model, prompt="a cat", size="64x64", **extra)
        return {"events": [event.type for event in events]}
    if operation == "edit-stream":
        events = client.images.edit(model=model, prompt="a cat", image=FILES[0], size="64x64", **extra)
        return {"events": [event.type for event in events]}
    if operation == "leave":
        with client.images.generate(model=model, prompt="a cat", size="64x64", **extra) as events:
            return {"events": [next(iter(events)).type]}
    if operation == "models":
        return {"models": [one.id for one in client.models.list()]}
    raise SystemExit(f"unknown operation {operation}")


try:
    result = run()
except openai.APIStatusError as error:
    result = {"status": error.status_code, "code": error.code, "request_id": error.request_id}
except openai.APIError as error:
    result = {"status": None, "code": error.code}
print(json.dumps(result))
