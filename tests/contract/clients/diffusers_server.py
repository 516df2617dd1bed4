"""A real, tiny image model behind an OpenAI-shaped server: `diffusers_server.py PORT`.

A diffusers pipeline with random weights, made from configurations: nothing is downloaded, and what it draws
means nothing, but its work is real and grows with steps and area. Runs in the environment of
`make real-upstream`.
"""

import base64
import io
import json
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

STEPS, SIDE = 8, 128


def pipeline():
    """About 1 % of a usable model, with the same parts."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    blocks = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=2, cross_attention_dim=32, norm_num_groups=8, **blocks
    )
    vae = AutoencoderKL(
        block_out_channels=[32, 64, 64, 64],
        latent_channels=4,
        norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=514,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            bos_token_id=512,
            eos_token_id=513,
            pad_token_id=513,
        )
    )
    made = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


def tokenizer():
    """Every byte is a token, alone and at the end of a word."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in kept] + [chr(256 + number) for number in range(256 - len(kept))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder = Path(tempfile.mkdtemp())
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        vocab_file=str(folder / "vocab.json"), merges_file=str(folder / "merges.txt"), model_max_length=77
    )


class Handler(BaseHTTPRequestHandler):
    """`POST /v1/images/generations` with `n`, `size` and `num_inference_steps`; reports its own seconds.

    `cpu_s` are those of the processor, which other work on the machine does not lengthen.
    """

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        width, height = map(int, asked.get("size", f"{SIDE}x{SIDE}").split("x"))
        started, worked = time.monotonic(), time.process_time()
        pictures = MODEL(
            asked["prompt"],
            width=width,
            height=height,
            num_images_per_prompt=asked.get("n", 1),
            num_inference_steps=asked.get("num_inference_steps", STEPS),
            guidance_scale=1.0,
        ).images
        answer = {"created": int(time.time()), "data": [{"b64_json": png(one)} for one in pictures]}
        answer["cpu_s"] = time.process_time() - worked
        if asked.get("report_time"):
            answer["inference_time_s"] = time.monotonic() - started
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing: prompts are nobody's business."""


def png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


MODEL = pipeline()
server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
