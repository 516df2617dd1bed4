"""A cluster of three primaries on loopback ports, from the same server program as the embedded store."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from gateway.store.server import find_server
from tests.faults.world import until
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SLOTS = 16384
NODES = 3


@contextlib.asynccontextmanager
async def cluster_running(directory: Path) -> AsyncIterator[list[Redis]]:
    """A client for each node; their ports are in `connection_kwargs`."""
    ports = [free_port() for _ in range(NODES)]
    buses = [free_port() for _ in range(NODES)]
    processes = []
    nodes = [Redis(port=port, protocol=3, decode_responses=True) for port in ports]
    try:
        for number, (port, bus) in enumerate(zip(ports, buses, strict=True)):
            home = directory / str(number)
            home.mkdir(parents=True)
            with (home / "server.log").open("wb") as log:
                processes.append(
                    await asyncio.create_subprocess_exec(
                        str(find_server()),
                        *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--save", ""),
                        *("--appendonly", "yes", "--maxmemory-policy", "noeviction"),
                        *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
                        stdout=log,
                        stderr=log,
                    )
                )
        for number, node in enumerate(nodes):
            await until(lambda node=node: _answers(node))  # type: ignore[misc]
            first = number * SLOTS // NODES
            last = (number + 1) * SLOTS // NODES - 1
            await node.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)  # type: ignore[no-untyped-call]
            await node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)  # type: ignore[no-untyped-call]
        for port, bus in zip(ports[1:], buses[1:], strict=True):
            await nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)  # type: ignore[no-untyped-call]
        for node in nodes:
            await until(lambda node=node: _joined(node))  # type: ignore[misc]
        yield nodes
    finally:
        for node in nodes:
            await node.aclose()
        for process in processes:
            process.kill()
            await process.wait()


async def move_slot(nodes: list[Redis], org: str) -> None:
    """Move the slot of an org from its node to another one, key by key, as an operator would."""
    slot = await run(nodes[0], "CLUSTER", "KEYSLOT", f"eg:{{{org}}}:meta")
    ids = [await run(node, "CLUSTER", "MYID") for node in nodes]
    source = int(slot) * len(nodes) // SLOTS
    target = (source + 1) % len(nodes)
    port = nodes[target].connection_pool.connection_kwargs["port"]
    await run(nodes[target], "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
    await run(nodes[source], "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
    while keys := await run(nodes[source], "CLUSTER", "GETKEYSINSLOT", slot, 1):
        await run(nodes[source], "MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)
        await asyncio.sleep(0.02)
    for node in (nodes[target], nodes[source]):
        await run(node, "CLUSTER", "SETSLOT", slot, "NODE", ids[target])


async def run(node: Redis, *words: Any) -> Any:
    return await node.execute_command(*words)  # type: ignore[no-untyped-call]


async def _answers(node: Redis) -> bool:
    with contextlib.suppress(Exception):
        return bool(await node.ping())
    return False


async def _joined(node: Redis) -> bool:
    facts = await node.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]
    text = str(facts)
    return ("cluster_state:ok" in text or "'cluster_state': 'ok'" in text) and (
        f"cluster_known_nodes:{NODES}" in text or f"'cluster_known_nodes': '{NODES}'" in text
    )
