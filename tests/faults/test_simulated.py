"""X1: whole gateways in virtual time, by seed; a seed that fails is run again by its number."""

from __future__ import annotations

import pytest

from tests.faults.simulated import simulating

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

SEEDS_PER_CHUNK = 75


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(2))
def test_x1_whatever_fails_the_ledger_is_exact_and_every_request_charged_by_the_rules(
    tmp_path: Path, chunk: int
) -> None:
    crashes = failovers = asked = 0
    with simulating(tmp_path) as simulation:
        for seed in range(chunk * SEEDS_PER_CHUNK, (chunk + 1) * SEEDS_PER_CHUNK):
            world = simulation.run(seed)
            crashes += world.crashes
            failovers += len(world.failovers)
            asked += len(world.asked)

    assert min(crashes, failovers) > SEEDS_PER_CHUNK // 10
    assert asked > 5 * SEEDS_PER_CHUNK


def test_x1_a_seed_is_the_same_life_each_time(tmp_path: Path) -> None:
    with simulating(tmp_path) as simulation:
        for seed in (3, 4, 5):
            first, second = (simulation.run(seed) for _ in range(2))
            assert first.told() == second.told()
