"""A real diffusion model behind the gateway: does its work grow as we say, and is it counted right?

    make real-upstream

Starts a tiny diffusers pipeline with random weights on one CPU thread, in an environment of its own
(`tests/contract/clients/diffusers_server.py`), and `ecogate serve` in front of it, and asks for pictures of
several sizes and steps. Checks that the seconds of the processor follow steps x area, and that a record has
the images and the sizes that came. The energy shown is that of the declared GPU, not of this CPU: only its
proportions can be compared.
"""

from __future__ import annotations

import base64
import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

ADMIN_KEY = "benchmark-admin-key-0123456789-abcdefghij"
PORT, SERVICE_PORT = 18083, 18084
HERE = Path(__file__).parent.parent
SERVER = HERE / "tests" / "contract" / "clients" / "diffusers_server.py"
CASES = [(64, 8, 1), (128, 8, 1), (128, 16, 1), (128, 32, 1), (256, 8, 1), (256, 32, 1), (128, 16, 2)]
REPEATS = 3
READY_WITHIN_S = 300
LEAST_CORRELATION = 0.9
DEPLOYMENTS = """\
deployments:
  - id: tiny
    model: tiny-diffusion
    upstream_model: stabilityai/stable-diffusion-xl-base-1.0
    base_url: http://127.0.0.1:{port}/v1
    dialect: sglang
    location: {{provider: self, zone: SE}}
    hardware: {{gpu: H100, pue: 1.1, wue_l_per_kwh: 0.1}}
"""


@dataclass(frozen=True, slots=True)
class Made:
    """What came of one case; `cpu_s` is what the model worked in the least of the repeats."""

    side: int
    steps: int
    n: int
    cpu_s: float
    energy_wh: float
    wrong: str

    @property
    def work(self) -> float:
        """Steps times pixels, in millions."""
        return self.steps * self.side * self.side * self.n / 1e6


def listening() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", SERVICE_PORT)) == 0


def ready(client: httpx.Client, *processes: subprocess.Popen[bytes]) -> bool:
    """Waits for the gateway, and for the first picture of the model; says why there is none.

    The model's port comes first: a deployment that cannot be reached is left alone for longer each time.
    """
    ends = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < ends and not listening() and all(one.poll() is None for one in processes):
        time.sleep(0.5)
    body = {"model": "tiny-diffusion", "prompt": "warm up", "size": "64x64", "num_inference_steps": 1}
    last = "no answer"
    while time.monotonic() < ends and all(one.poll() is None for one in processes):
        try:
            answer = client.post("/v1/images/generations", json=body)
            if answer.status_code == httpx.codes.OK:
                return True
            last = f"{answer.status_code} {answer.text}"
        except httpx.TransportError as error:
            last = repr(error)
        time.sleep(0.5)
    print(f"the model or the gateway did not start: {last}", file=sys.stderr)
    return False


def record_of(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The record of a request, as soon as it is in SQL."""
    while True:
        found = client.get(f"/eco/v1/requests/{answer.headers['x-request-id']}")
        if found.status_code == httpx.codes.OK:
            record: dict[str, Any] = found.json()
            return record
        time.sleep(0.05)


def measured(client: httpx.Client) -> Iterator[Made]:
    for side, steps, n in CASES:
        body = {
            "model": "tiny-diffusion", "prompt": "a cat", "size": f"{side}x{side}", "n": n,
            "num_inference_steps": steps,
        }  # fmt: skip
        took: list[float] = []
        for _ in range(REPEATS):
            answer = client.post("/v1/images/generations", json=body)
            took.append(answer.json()["cpu_s"])
        pictures = [base64.b64decode(one["b64_json"]) for one in answer.json()["data"]]
        sizes = {Image.open(io.BytesIO(one)).size for one in pictures}
        record = record_of(client, answer)
        counted = (record["images"], record["size"], record["usage_basis"])
        right = (len(pictures), f"{side}x{side}", "estimated")
        wrong = "" if counted == right and sizes == {(side, side)} else f"{counted} instead of {right}"
        yield Made(side, steps, n, min(took), record["footprint"]["energy_wh"]["central"], wrong)


def correlation(pairs: list[tuple[float, float]]) -> float:
    """Pearson's r."""
    count = len(pairs)
    mean_x, mean_y = sum(x for x, _ in pairs) / count, sum(y for _, y in pairs) / count
    both = sum((x - mean_x) * (y - mean_y) for x, y in pairs)
    alone = sum((x - mean_x) ** 2 for x, _ in pairs) * sum((y - mean_y) ** 2 for _, y in pairs)
    return both / alone**0.5


def told(made: list[Made]) -> bool:
    print("| size | steps | n | steps x pixels (M) | CPU seconds | estimate, Wh on an H100 |")
    print("|---|---:|---:|---:|---:|---:|")
    for one in made:
        print(
            f"| {one.side}x{one.side} | {one.steps} | {one.n} | {one.work:.2f} | {one.cpu_s:.2f} "
            f"| {one.energy_wh:.5f} |"
        )
    r = correlation([(one.work, one.cpu_s) for one in made])
    by_estimate = correlation([(one.energy_wh, one.cpu_s) for one in made])
    print(f"CPU seconds against steps x pixels: r = {r:.3f}; against estimated energy: r = {by_estimate:.3f}")
    for one in made:
        if one.wrong:
            print(f"{one.side}x{one.side}, {one.steps} steps, n={one.n}: counted {one.wrong}")
    by_steps = {one.steps: one.energy_wh for one in made if (one.side, one.n) == (128, 1)}
    counted = not any(one.wrong for one in made) and 3.9 < by_steps[32] / by_steps[8] < 4.1
    print(f"images, sizes and steps counted as they came: {'yes' if counted else 'NO'}")
    return counted and r > LEAST_CORRELATION


def main() -> None:
    python = sys.argv[1] if len(sys.argv) > 1 else str(HERE / ".venv" / "real-upstream" / "bin" / "python")
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    with tempfile.TemporaryDirectory() as name, (Path(name) / "gateway.log").open("w+b") as log:
        folder = Path(name)
        (folder / "deployments.yaml").write_text(DEPLOYMENTS.format(port=SERVICE_PORT))
        service = subprocess.Popen(
            [python, "-W", "ignore", str(SERVER), str(SERVICE_PORT)], env={**os.environ, **quiet}
        )
        gateway = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--port", str(PORT),
             "--data-dir", str(folder / "data"), "--deployments", str(folder / "deployments.yaml")],
            env={**os.environ, "ECOGATE_ADMIN_KEY": ADMIN_KEY, "ECOGATE_STORE_TIMEOUT_MS": "5000"},
            stderr=log,
        )  # fmt: skip
        try:
            headers = {"authorization": f"Bearer {ADMIN_KEY}"}
            url = f"http://127.0.0.1:{PORT}"
            with httpx.Client(base_url=url, headers=headers, timeout=120, trust_env=False) as client:
                if not ready(client, service, gateway):
                    log.seek(0)
                    sys.exit(log.read().decode())
                held = told(list(measured(client)))
        finally:
            gateway.send_signal(signal.SIGTERM)
            gateway.wait(30)
            service.terminate()
            service.wait(30)
    sys.exit(not held)


if __name__ == "__main__":
    main()
