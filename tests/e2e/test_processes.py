"""Whole gateways as processes: killed, stopped in order, several at once, and on another server."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from tests.processes import gateway_process
from tests.running import GENERATIONS, MODEL, budget

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}
EVERYONE: dict[str, Any] = {"per": [], "limits": {"images": 5}}


async def images_of(client: httpx.AsyncClient) -> dict[str, Any]:
    rows = (await client.get("/eco/v1/budgets")).json()["data"]
    images: dict[str, Any] = next(row for row in rows if row["dimension"] == "images")
    return images


async def until_used(client: httpx.AsyncClient, used: int) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (images := await images_of(client))["used"] != used:
            await asyncio.sleep(0.1)
    return images


async def records(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """The records of requests, once the journal's first ones are in SQL."""
    async with asyncio.timeout(20):
        while not (page := (await client.get("/eco/v1/requests")).json()["data"]):
            await asyncio.sleep(0.05)
    found: list[dict[str, Any]] = page
    return found


async def test_work_in_flight_of_a_killed_gateway_is_charged_by_another(
    tmp_path: Path, redis_url: str
) -> None:
    shared = {"ECOGATE_REDIS_URL": redis_url, "ECOGATE_LEASE_S": "5"}
    budgets = [budget(**EVERYONE)]
    async with serving(StandInSettings(zone="SE", seconds_per_image=600)) as service:
        services = {"SE": service.base_url}
        async with (
            gateway_process(tmp_path / "one", services, budgets=budgets, **shared) as killed,
            gateway_process(tmp_path / "two", services, budgets=budgets, **shared) as survivor,
            survivor.client() as client,
        ):
            async with killed.client() as doomed:
                sending = asyncio.create_task(
                    doomed.post(GENERATIONS, json=ASK | {"n": 2, "size": "1024x1024"})
                )
                while not service.standin.generations:
                    await asyncio.sleep(0.02)
                assert (await images_of(client))["held"] == 2
                killed.send(signal.SIGKILL)
                await asyncio.wait({sending})

            images = await until_used(client, 2)

            assert images["held"] == 0
            page = await records(client)
            assert (page[0]["outcome"], page[0]["basis"]) == ("unknown", "estimate")


async def test_two_gateways_share_one_limit(tmp_path: Path, redis_url: str) -> None:
    shared = {"ECOGATE_REDIS_URL": redis_url}
    budgets = [budget(**EVERYONE)]
    async with serving(StandInSettings(zone="SE", seconds_per_image=20)) as service:
        services = {"SE": service.base_url}
        async with (
            gateway_process(tmp_path / "one", services, budgets=budgets, **shared) as one,
            gateway_process(tmp_path / "two", services, budgets=budgets, **shared) as two,
            one.client() as first,
            two.client() as second,
        ):
            answers = await asyncio.gather(
                *(client.post(GENERATIONS, json=ASK) for _ in range(40) for client in (first, second))
            )

            statuses = [answer.status_code for answer in answers]
            assert statuses.count(200) == 5
            assert set(statuses) <= {200, 402, 429}
            assert len(service.standin.generations) == 5


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_sigterm_lets_requests_finish_and_exits_with_0(tmp_path: Path, workers: str) -> None:
    async with serving(StandInSettings(zone="SE", seconds_per_image=1.0)) as service:
        async with gateway_process(
            tmp_path, {"SE": service.base_url}, budgets=[budget(**EVERYONE)], ECOGATE_WORKERS=workers
        ) as gateway:
            async with gateway.client() as client:
                sending = asyncio.create_task(client.post(GENERATIONS, json=ASK | {"size": "1024x1024"}))
                while not service.standin.generations:
                    await asyncio.sleep(0.02)
                gateway.send(signal.SIGTERM)

                answer = await sending

            assert answer.status_code == 200
            assert await gateway.ended() == 0
        async with (
            gateway_process(tmp_path, {"SE": service.base_url}, budgets=[budget(**EVERYONE)]) as again,
            again.client() as client,
        ):
            assert (await images_of(client))["used"] == 1


async def test_nothing_is_lost_by_a_kill_of_the_gateway_and_its_store(tmp_path: Path) -> None:
    async with serving(StandInSettings(zone="SE")) as service:
        services = {"SE": service.base_url}
        async with (
            gateway_process(tmp_path, services, budgets=[budget(**EVERYONE)]) as gateway,
            gateway.client() as client,
        ):
            assert (await client.post(GENERATIONS, json=ASK | {"n": 3})).status_code == 200
            gateway.send(signal.SIGKILL)
            await gateway.ended()
        async with (
            gateway_process(tmp_path, services, budgets=[budget(**EVERYONE)]) as gateway,
            gateway.client() as client,
        ):
            assert (await images_of(client))["used"] == 3
            assert [one["images"] for one in await records(client)] == [3]


async def test_the_application_runs_on_granian_too(tmp_path: Path, redis_url: str) -> None:
    command = ["-m", "granian", "--interface", "asgi", "--factory", "--host", "127.0.0.1", "--port", "PORT"]
    async with (
        serving(StandInSettings(zone="SE", seconds_per_image=60)) as service,
        gateway_process(
            tmp_path,
            {"SE": service.base_url},
            budgets=[budget(**EVERYONE)],
            command=[*command, "gateway.app:create_app"],
            ECOGATE_REDIS_URL=redis_url,
        ) as gateway,
        gateway.client() as client,
    ):
        answer = await client.post(GENERATIONS, json=ASK)
        assert answer.status_code == 200
        assert answer.headers["x-request-id"].startswith("req_")
        assert (
            await client.post(GENERATIONS, content=b"{", headers={"content-type": "application/json"})
        ).json()["error"]["code"] == "invalid_json"

        leaving = asyncio.create_task(client.post(GENERATIONS, json=ASK | {"n": 2, "size": "1024x1024"}))
        while len(service.standin.generations) < 2:
            await asyncio.sleep(0.02)
        leaving.cancel()

        assert (await until_used(client, 3))["held"] == 0


async def test_spans_leave_over_otlp_when_an_endpoint_is_set(tmp_path: Path, redis_url: str) -> None:
    exported: list[ExportTraceServiceRequest] = []

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        exported.append(ExportTraceServiceRequest.FromString(await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    collector = await asyncio.start_server(collect, "127.0.0.1", 0)
    endpoint = f"http://127.0.0.1:{collector.sockets[0].getsockname()[1]}"
    async with (
        collector,
        serving(StandInSettings(zone="SE")) as service,
        gateway_process(
            tmp_path,
            {"SE": service.base_url},
            budgets=[budget(**EVERYONE)],
            ECOGATE_REDIS_URL=redis_url,
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_EXPORTER_OTLP_COMPRESSION="none",
        ) as gateway,
        gateway.client() as client,
    ):
        assert (await client.post(GENERATIONS, json=ASK)).status_code == 200
        gateway.send(signal.SIGTERM)
        await gateway.ended()

    spans = [
        span
        for request in exported
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {span.name for span in spans} == {
        f"POST {GENERATIONS}",
        "route.choose",
        "budget.reserve",
        f"image_generation {MODEL}",
        "budget.settle",
    }
    assert len({span.trace_id for span in spans}) == 1
