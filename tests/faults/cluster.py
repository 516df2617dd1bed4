"""A cluster of three primaries on loopback ports, from the same server program as the embedded store."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
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
async def cluster_running(directory: Path, *, replicas: int = 0) -> AsyncIterator[list[Redis]]:
    """A client for each primary, then one for each replica of the first primary."""
    ports = [free_port() for _ in range(NODES + replicas)]
    buses = [free_port() for _ in range(NODES + replicas)]
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
        for node in nodes:
            await until(partial(_answers, node))
        for number, node in enumerate(nodes[:NODES]):
            first = number * SLOTS // NODES
            last = (number + 1) * SLOTS // NODES - 1
            await node.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)  # type: ignore[no-untyped-call]
            await node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)  # type: ignore[no-untyped-call]
        for port, bus in zip(ports[1:], buses[1:], strict=True):
            await nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)  # type: ignore[no-untyped-call]
        for node in nodes:
            await until(partial(_joined, node, NODES + replicas))
        first_id = await run(nodes[0], "CLUSTER", "MYID")
        for node in nodes[NODES:]:
            await run(node, "CLUSTER", "REPLICATE", first_id)
            await until(partial(_copies, node))
        yield nodes
    finally:
        for node in nodes:
            await node.aclose()
        for process in processes:
            process.kill()
            await process.wait()


def cluster_url(nodes: list[Redis]) -> str:
    """What a gateway is told."""
    return "redis+cluster://" + ",".join(f"127.0.0.1:{port_of(node)}" for node in nodes)


def port_of(node: Redis) -> int:
    return int(node.connection_pool.connection_kwargs["port"])


async def move_slot(nodes: list[Redis], org: str, *, at_once: int = 1, pause_s: float = 0.02) -> Redis:
    """Move the slot of an org from its node to another one, so many keys at a time; gives the other node."""
    slot = await run(nodes[0], "CLUSTER", "KEYSLOT", f"eg:{{{org}}}:meta")
    ids = [await run(node, "CLUSTER", "MYID") for node in nodes]
    source = int(slot) * NODES // SLOTS
    target = (source + 1) % NODES
    await run(nodes[target], "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
    await run(nodes[source], "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
    while keys := await run(nodes[source], "CLUSTER", "GETKEYSINSLOT", slot, at_once):
        await run(nodes[source], "MIGRATE", "127.0.0.1", port_of(nodes[target]), "", 0, 5000, "KEYS", *keys)
        await asyncio.sleep(pause_s)
    for node in (nodes[target], nodes[source]):
        await run(node, "CLUSTER", "SETSLOT", slot, "NODE", ids[target])
    return nodes[target]


async def run(node: Redis, *words: Any) -> Any:
    return await node.execute_command(*words)  # type: ignore[no-untyped-call]


async def _answers(node: Redis) -> bool:
    with contextlib.suppress(Exception):
        return bool(await node.ping())
    return False


async def _joined(node: Redis, nodes: int) -> bool:
    facts = await node.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]
    text = str(facts)
    return ("cluster_state:ok" in text or "'cluster_state': 'ok'" in text) and (
        f"cluster_known_nodes:{nodes}" in text or f"'cluster_known_nodes': '{nodes}'" in text
    )


async def _copies(node: Redis) -> bool:
    return (await node.info("replication")).get("master_link_status") == "up"
