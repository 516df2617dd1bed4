"""Files that change under a running gateway: taken whole within two seconds, or not at all."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.running import GENERATIONS, MODEL, Gateway, budget, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}
WITHIN_S = 2.0


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    async with gateway_running(tmp_path, redis_url, budgets=[budget(limits={"images": 1})]) as running:
        yield running


def replace_atomically(file: Path, text: str) -> None:
    written = file.with_name(f".{file.name}.new")
    written.write_text(text)
    written.rename(file)


def policies(*budgets: dict[str, Any]) -> str:
    return yaml.safe_dump({"budgets": list(budgets)})


async def ready(gateway: Gateway) -> dict[str, Any]:
    answer = await gateway.admin.get("/readyz")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


async def changed(gateway: Gateway, before: dict[str, Any]) -> dict[str, Any]:
    """What /readyz says once it says something new; fails when that takes too long."""
    deadline = time.monotonic() + WITHIN_S
    while (now := await ready(gateway)) == before:
        assert time.monotonic() < deadline, "nothing changed"
        await asyncio.sleep(0.02)
    return now


async def asked(client: httpx.AsyncClient) -> int:
    return (await client.post(GENERATIONS, json=ASK)).status_code


async def test_a_raised_limit_counts_within_two_seconds_and_keeps_what_was_used(
    gateway: Gateway, tmp_path: Path
) -> None:
    client, before = await gateway.member(), await ready(gateway)
    assert [await asked(client), await asked(client)] == [200, 402]

    replace_atomically(tmp_path / "policies" / "budgets.yaml", policies(budget(limits={"images": 2})))
    after = await changed(gateway, before)

    assert after["policies"]["version"] != before["policies"]["version"]
    assert [await asked(client), await asked(client)] == [200, 402]


async def test_a_limit_below_what_was_used_refuses_at_once_and_charges_nothing_back(
    gateway: Gateway, tmp_path: Path
) -> None:
    client, before = await gateway.member(), await ready(gateway)
    assert await asked(client) == 200

    replace_atomically(tmp_path / "policies" / "budgets.yaml", policies(budget(limits={"images": 0})))
    await changed(gateway, before)

    assert await asked(client) == 402
    (row,) = (await client.get("/eco/v1/budgets")).json()["data"]
    assert (row["limit"], row["used"], row["remaining"]) == (0, 1, 0)


async def test_a_budget_under_a_new_name_starts_at_zero_and_the_log_says_so(
    gateway: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client, before = await gateway.member(), await ready(gateway)
    assert await asked(client) == 200

    replace_atomically(
        tmp_path / "policies" / "budgets.yaml", policies(budget("other", limits={"images": 1}))
    )
    await changed(gateway, before)

    assert [await asked(client), await asked(client)] == [200, 402]
    told = [one.getMessage() for one in caplog.records if "starts at zero" in one.getMessage()]
    assert len(told) == 1
    assert "budget 'other' starts at zero, because 'design-month' has become it" in told[0]


async def test_a_mistake_keeps_what_was_in_force_and_is_shown(gateway: Gateway, tmp_path: Path) -> None:
    client, before = await gateway.member(), await ready(gateway)
    file = tmp_path / "policies" / "budgets.yaml"
    good = file.read_text()

    replace_atomically(file, good.replace("images: 1", "images: -1"))
    wrong = await changed(gateway, before)

    assert wrong["configuration"]["rejected"] == [f"{file}:3:13"]
    assert wrong["policies"] == before["policies"]
    assert [await asked(client), await asked(client)] == [200, 402]
    metrics = (await gateway.admin.get("/metrics")).text
    assert "ecogate_configuration_rejected 1.0" in metrics
    assert 'ecogate_configuration_reloads_total{result="rejected"} 1.0' in metrics

    replace_atomically(file, good)
    mended = await changed(gateway, wrong)

    assert mended == before
    assert "ecogate_configuration_rejected 0.0" in (await gateway.admin.get("/metrics")).text


async def test_a_deployments_file_that_vanishes_is_a_mistake(gateway: Gateway, tmp_path: Path) -> None:
    before = await ready(gateway)

    (tmp_path / "deployments.yaml").unlink()
    wrong = await changed(gateway, before)

    assert wrong["configuration"]["rejected"] == [f"{tmp_path / 'deployments.yaml'}:1:1"]
    assert await asked(await gateway.member()) == 200


async def test_another_address_of_a_deployment_is_used_for_the_next_request(
    gateway: Gateway, tmp_path: Path
) -> None:
    client, before = await gateway.member(team="other"), await ready(gateway)
    file = tmp_path / "deployments.yaml"
    listed = yaml.safe_load(file.read_text())["deployments"]
    replace_atomically(tmp_path / "policies" / "budgets.yaml", policies())
    assert await asked(client) == 200

    (polish,) = [one for one in listed if one["id"] == "flux-pl"]
    replace_atomically(file, yaml.safe_dump({"deployments": [polish | {"id": "flux-se"}]}))
    after = await changed(gateway, before)
    while after["deployments"] != ["flux-se"]:
        after = await changed(gateway, after)

    assert await asked(client) == 200
    assert {zone: len(one.standin.generations) for zone, one in gateway.standins.items()} == {
        "SE": 1,
        "PL": 1,
    }


async def test_a_mounted_config_map_is_followed_through_its_links(tmp_path: Path, redis_url: str) -> None:
    mounted = tmp_path / "policies"

    def publish(version: str, limit: int) -> None:
        (mounted / f"..{version}").mkdir(parents=True)
        (mounted / f"..{version}" / "budgets.yaml").write_text(policies(budget(limits={"images": limit})))
        (mounted / "..next").symlink_to(f"..{version}")
        (mounted / "..next").rename(mounted / "..data")

    publish("v1", 0)
    (mounted / "budgets.yaml").symlink_to("..data/budgets.yaml")
    files = mounted / "budgets.yaml"
    text = files.read_text()
    async with gateway_running(tmp_path, redis_url, budgets=yaml.safe_load(text)["budgets"]) as gateway:
        client, before = await gateway.member(), await ready(gateway)
        assert await asked(client) == 402

        publish("v2", 3)
        await changed(gateway, before)

        assert await asked(client) == 200


async def test_files_that_were_only_touched_change_nothing(gateway: Gateway, tmp_path: Path) -> None:
    before = await ready(gateway)

    (tmp_path / "policies" / "budgets.yaml").touch()
    await asyncio.sleep(1)

    assert await ready(gateway) == before
