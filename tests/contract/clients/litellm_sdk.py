"""Drives a gateway with the LiteLLM SDK: `litellm_sdk.py OPERATION BASE_URL KEY MODEL`."""

import base64
import io
import json
import sys

import litellm
import openai

operation, base_url, key, model = sys.argv[1:]
to = {"model": f"openai/{model}", "api_base": base_url, "api_key": key, "prompt": "a cat", "size": "64x64"}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def run() -> dict:
    if operation == "generate":
        return {"images": len(litellm.image_generation(n=2, **to).data)}
    if operation == "edit":
        files = [io.BytesIO(PNG), io.BytesIO(PNG)]
        for number, file in enumerate(files):
            file.name = f"{number}.png"
        return {"images": len(litellm.image_edit(image=files, n=2, **to).data)}
    if operation == "leave":
        try:
            litellm.image_generation(timeout=0.5, max_retries=0, **to)
        except openai.APIError:
            return {"left": True}
    return converse({name: to[name] for name in ("model", "api_base", "api_key")})


def converse(own: dict) -> dict:
    if operation == "respond":
        tool = {"type": "image_generation", "size": "64x64", "quality": "low"}
        answer = litellm.responses(input="a cat", tools=[tool], max_tool_calls=1, **own)
        calls = [one for one in answer.output if one.type == "image_generation_call"]
        return {"images": len(calls)}
    if operation == "respond-stream":
        tool = {"type": "image_generation", "size": "64x64", "quality": "low", "partial_images": 1}
        events = litellm.responses(input="a cat", tools=[tool], max_tool_calls=1, stream=True, **own)
        return {"events": [str(getattr(one.type, "value", one.type)) for one in events]}
    talk = {
        "messages": [{"role": "user", "content": "a cat"}],
        "modalities": ["image", "text"],
        "allowed_openai_params": ["modalities"],
        **own,
    }
    if operation == "chat":
        return {"images": len(litellm.completion(**talk).choices[0].message.images)}
    if operation == "chat-stream":
        deltas = [one.choices[0].delta for one in litellm.completion(stream=True, **talk)]
        return {
            "images": sum(len(getattr(one, "images", None) or ()) for one in deltas),
            "text": "".join(one.content or "" for one in deltas),
        }
    raise SystemExit(f"unknown operation {operation}")


try:
    result = run()
except openai.APIError as error:
    result = {"status": getattr(error, "status_code", None)}
print(json.dumps(result))
