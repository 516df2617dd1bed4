"""What is priced is what a deployment is sent, whatever the client wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.images.request import read_generation
from gateway.lifecycle.pricing import work
from gateway.upstreams.deployments import Defaults, Deployment
from tests.running import GENERATIONS, MODEL, budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

THERE = Deployment("d", ("m",), "http://d/v1", defaults=Defaults(steps=28, size="1024x1024", quality="high"))


@pytest.mark.parametrize(
    ("deployed", "asked", "priced"),
    [
        ({"dialect": "azure"}, {"quality": "hd"}, {"quality": "high"}),
        ({"dialect": "azure"}, {"quality": "standard"}, {"quality": "medium"}),
        ({"upstream_model": "gpt-image-2"}, {"quality": "standard"}, {"quality": "medium"}),
        ({"upstream_model": "dall-e-3"}, {"quality": "hd"}, {"quality": "hd"}),
        ({"drop_params": frozenset({"quality"})}, {"quality": "low"}, {"quality": "high"}),
        ({"drop_params": frozenset({"steps"})}, {"steps": 1}, {"steps": 28}),
        ({"dialect": "xai"}, {"size": "64x64"}, {"width": 1024, "height": 1024}),
        ({"dialect": "together"}, {"size": "64x64"}, {"width": 64, "height": 64}),
        ({"dialect": "sdcpp"}, {"steps": 4}, {"steps": 4}),
        ({"dialect": "xinference"}, {"stream": True, "partial_images": 3}, {"partial_images": 0}),
        ({}, {"quality": "auto"}, {"quality": "high"}),
    ],
)
def test_the_price_is_that_of_what_is_sent(
    deployed: dict[str, Any], asked: dict[str, Any], priced: dict[str, Any]
) -> None:
    there = replace(THERE, **deployed)

    request = read_generation(json.dumps({"model": "m", "prompt": "a cat", **asked}).encode())

    found = work(request, there)

    assert {name: getattr(found, name) for name in priced} == priced


async def test_a_parameter_that_no_deployment_takes_is_refused_before_anything_is_held(
    tmp_path: Path, redis_url: str
) -> None:
    refusing = {"unknown_params": "refuse"}
    async with gateway_running(tmp_path, redis_url, budgets=[budget()], deployment=refusing) as gateway:
        client = await gateway.http(await gateway.key())
        body = {"model": MODEL, "prompt": "a cat", "size": "64x64"}

        plain = await client.post(GENERATIONS, json={**body, "novelty": 1})
        strange = await client.post(GENERATIONS, json={**body, "no\nvel": 1})

        assert (plain.status_code, plain.json()["error"]["code"]) == (400, "unknown_parameter")
        assert plain.json()["error"]["param"] == "novelty"
        assert (strange.status_code, strange.json()["error"]["param"]) == (400, None)
        assert gateway.generations() == []
        [row] = (await client.get("/eco/v1/budgets")).json()["data"]
        assert (row["used"], row["held"]) == (0, 0)


async def test_a_dropped_parameter_with_a_foreign_name_spoils_no_header(
    tmp_path: Path, redis_url: str
) -> None:
    async with gateway_running(tmp_path, redis_url, deployment={"unknown_params": "drop"}) as gateway:
        client = await gateway.http(await gateway.key())
        body = {"model": MODEL, "prompt": "a cat", "size": "64x64", "名前": 1, "novelty": 2}

        answer = await client.post(GENERATIONS, json=body)

        assert answer.status_code == 200
        assert answer.headers["ecogate-dropped-params"] == "novelty"
