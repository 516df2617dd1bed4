"""Ports for servers that start later, in a process of their own."""

from __future__ import annotations

import contextlib
import os
import random
import socket

# The kernel gives ports out from 32768 up: a port from there that is only noted may be another test's
# stand-in or gateway by the time its server starts, and tests would talk to the wrong one.
FIRST, PER_WORKER, WORKERS = 12_000, 1_000, 20


def free_port() -> int:
    """A loopback port that nobody listens at, from the part that belongs to this worker of pytest-xdist.

    Raises OSError when a hundred in a row are taken.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    for _ in range(100):
        port = FIRST + worker * PER_WORKER + random.randrange(PER_WORKER)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no free loopback port")
