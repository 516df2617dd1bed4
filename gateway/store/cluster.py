"""How a slot of a cluster came to the node that has it: moved by an operator, or taken over by a replica.

A slot that was moved brings every key along; a replica may lack what it had not heard of yet. Refuses to know
what is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from redis.asyncio.cluster import ClusterNode, RedisCluster


async def was_moved(client: RedisCluster, key: str, *, from_run: str, written_ms: int) -> bool:
    """Whether the node of `key` surely got it from a node that still lives, which was run `from_run`.

    The node must never have been promoted from a replica since it started, and must have started before the
    store's time `written_ms` (UTC epoch ms), when the other node still wrote the key: so it lost nothing on
    the way. The other one must still be a primary that serves slots of its own, and itself name this node as
    the slot's owner: one that lost its slots to a replica has none left, or has not heard of it yet. False
    when that cannot be shown. Raises what Redis raises.
    """
    owner = client.get_node_from_key(key)
    if owner is None or not _lost_nothing(await _facts(client, owner), written_ms):
        return False
    owner_id = str(await client.cluster_myid(owner))
    for node in client.get_primaries():
        if node.name == owner.name:
            continue
        facts = await _facts(client, node)
        if facts["run_id"] == from_run:
            seen = await _nodes(client, node)
            return facts["role"] == "master" and _gave(seen, client.keyslot(key), owner_id)
    return False


def _lost_nothing(facts: Mapping[str, Any], written_ms: int) -> bool:
    started_ms = int(facts["server_time_usec"]) // 1000 - int(facts["uptime_in_seconds"]) * 1000
    return facts["role"] == "master" and int(facts["second_repl_offset"]) < 0 and started_ms < written_ms


def _gave(seen: Iterable[Mapping[str, Any]], slot: int, owner_id: str) -> bool:
    """Whether a node that sees the cluster like this has slots left, and `slot` is another one's."""
    owners = [one for one in seen if any(int(span[0]) <= slot <= int(span[-1]) for span in one["slots"])]
    own = [one for one in seen if "myself" in one["flags"]]
    return [one["node_id"] for one in owners] == [owner_id] and any(one["slots"] for one in own)


async def _facts(client: RedisCluster, node: ClusterNode) -> Mapping[str, Any]:
    answer: dict[str, Any] = await client.info("server", "replication", target_nodes=node)
    return answer if "run_id" in answer else answer[node.name]


async def _nodes(client: RedisCluster, node: ClusterNode) -> list[Mapping[str, Any]]:
    answer: dict[str, Any] = await client.execute_command("CLUSTER NODES", target_nodes=node)
    return list(answer.values())
