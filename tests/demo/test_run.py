import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.ports import free_port

RUN = "import sys; from gateway.demo.run import run_demo; sys.exit(run_demo(leave={}, port={}))"

PICTURES = ["fox-1", "harbour-1", "harbour-2", "lake-1", "lake-2", "lamp-1", "lighthouse-1"]


def start(folder: Path, *, leave: bool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN.format(leave, free_port())],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_the_whole_demo_holds_and_leaves_only_its_pictures(folder: Path) -> None:
    demo = start(folder, leave=True)
    output, _ = demo.communicate(timeout=90)

    assert demo.returncode == 0, output
    checks = re.search(r"(\d+) of (\d+) checks held", output)
    assert checks is not None
    assert checks[1] == checks[2]
    assert (
        "402 with error.eco: code eco_budget_exceeded, policy postcards-month, scope team postcards" in output
    )
    pictures = sorted(path.name for path in (folder / "data" / "demo").iterdir())
    assert pictures == [
        "fox-1.png",
        "harbour-1.png",
        "harbour-2.png",
        "lake-1.png",
        "lake-2.png",
        "lamp-1.png",
        "lighthouse-1.png",
    ]
    with Image.open(folder / "data" / "demo" / "lake-2.png") as picture:
        assert picture.size == (1536, 1024)
    assert [path.name for path in folder.iterdir()] == ["data"]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_stops_everything(folder: Path, name: str) -> None:
    demo = start(folder, leave=False)
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if "Ctrl-C stops it" in line:
            break
    ports = [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", "".join(lines))]
    assert ports, "".join(lines)
    gateway = ports[0]

    demo.send_signal(signal.Signals[name])
    rest = demo.communicate(timeout=30)[0]

    assert demo.returncode == 0, rest
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", gateway)):
        pass
    assert [path.name for path in folder.iterdir()] == ["data"]
