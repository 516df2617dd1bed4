"""The published description is that of the running routes, and their answers are what it says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
import yaml
from openapi_spec_validator import validate

from gateway.api.rate_limits import LIMIT_HEADERS
from gateway.api.responses import ALWAYS, HEADERS
from gateway.app import describe
from gateway.budgets.amounts import Dimension
from tests.running import GENERATIONS, MODEL, Gateway, budget, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

PUBLISHED = Path("openapi/ecogate.yaml").read_text()
DESCRIPTION: dict[str, Any] = yaml.safe_load(PUBLISHED)
SYSTEM = {"/healthz", "/readyz", "/metrics"}
ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DESCRIPTION["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as running:
        yield running


def assert_as_described(answer: httpx.Response, path: str) -> None:
    schema = schemathesis.openapi.from_dict(DESCRIPTION)
    schema[path][answer.request.method].validate_response(answer)


def test_the_published_file_is_the_description_of_the_routes() -> None:
    assert describe() == PUBLISHED, "run 'make openapi'"


def test_the_description_is_valid_openapi() -> None:
    validate(DESCRIPTION)


def test_every_operation_says_what_it_is_who_may_and_how_it_fails() -> None:
    for path, method, operation in operations():
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        assert len(operation["tags"]) == 1, where
        if path in SYSTEM:
            assert operation["security"] == [], where
        else:
            assert "security" not in operation, where
            assert {"401", "503"} <= set(operation["responses"]), where
        for status, answer in operation["responses"].items():
            assert "$ref" in answer or "x-request-id" in answer["headers"], (where, status)
    assert DESCRIPTION["security"] == [{"key": []}]


def test_operation_ids_and_summaries_are_unique() -> None:
    found = [(operation["operationId"], operation["summary"]) for *_, operation in operations()]

    assert len({name for name, _ in found}) == len({summary for _, summary in found}) == len(found)


def test_every_shared_error_has_openais_shape_and_the_headers_of_errors() -> None:
    limits = {f"x-ratelimit-{figure}-requests" for figure in ("limit", "remaining", "reset")}
    for name, answer in DESCRIPTION["components"]["responses"].items():
        assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorBody"}
        assert set(answer["headers"]) == {
            *("x-request-id", "retry-after", "x-should-retry"),
            *(limits if name == "error-429" else ()),
        }


async def test_an_answer_with_images_has_the_described_headers_and_no_others(gateway: Gateway) -> None:
    client = await gateway.member()

    answer = await client.post(GENERATIONS, json=ASK)

    assert answer.status_code == 200
    assert_as_described(answer, GENERATIONS)
    ours = {name for name in answer.headers if name.startswith("ecogate-")}
    assert ALWAYS | {"ecogate-zone", "ecogate-budget-remaining"} <= ours <= set(HEADERS)
    described = DESCRIPTION["paths"][GENERATIONS]["post"]["responses"]["200"]["headers"]
    assert set(described) == {"x-request-id", *HEADERS, *LIMIT_HEADERS}


async def test_what_the_gateway_answers_is_what_it_describes(gateway: Gateway) -> None:
    client = await gateway.member(labels={"project": "spring"})
    made = await client.post(GENERATIONS, json=ASK)
    refused = await client.post(GENERATIONS, json=ASK | {"n": 9})
    assert refused.status_code == 402
    assert_as_described(refused, GENERATIONS)
    request_id = made.headers["x-request-id"]
    while (await client.get(f"/eco/v1/requests/{request_id}")).status_code == 404:
        pass

    estimate = "/eco/v1/estimate"
    for asked in (ASK, ASK | {"n": 9}):
        for explain in ("false", "true"):
            answer = await client.post(estimate, json=asked, params={"explain": explain})
            assert answer.status_code == 200
            assert_as_described(answer, estimate)
    issued = await gateway.admin.post("/eco/v1/keys", json={"team": "film"})
    assert_as_described(issued, "/eco/v1/keys")
    reads = {
        "/v1/models": {},
        "/v1/models/{model}": {"model": MODEL},
        "/eco/v1/usage": {},
        "/eco/v1/requests": {},
        "/eco/v1/requests/{request_id}": {"request_id": request_id},
        "/eco/v1/budgets": {},
        "/eco/v1/me": {},
        "/eco/v1/keys": {},
        "/healthz": {},
        "/readyz": {},
        "/metrics": {},
    }
    for path, parameters in reads.items():
        asking = gateway.admin if path == "/eco/v1/keys" else client
        answer = await asking.get(path.format(**parameters))
        assert answer.status_code == 200, path
        assert_as_described(answer, path)
    gone = await gateway.admin.delete(f"/eco/v1/keys/{issued.json()['id']}")
    assert_as_described(gone, "/eco/v1/keys/{key_id}")
    assert_as_described(await client.get("/eco/v1/usage", headers={"accept": "text/csv"}), "/eco/v1/usage")


async def test_every_described_operation_exists_and_asks_for_a_key(gateway: Gateway) -> None:
    nobody = await gateway.http(None)
    for path, method, _ in operations():
        answer = await nobody.request(method.upper(), path, json={} if method == "post" else None)

        assert answer.status_code == (200 if path in SYSTEM else 401), path


async def test_the_description_is_served_beside_its_page(gateway: Gateway) -> None:
    nobody = await gateway.http(None)

    served = await nobody.get("/docs/openapi.json")
    page = await nobody.get("/docs")

    assert served.json() == DESCRIPTION
    assert yaml.safe_load((await nobody.get("/docs/openapi.yaml")).text) == DESCRIPTION
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "<script>" not in page.text
    missing = await nobody.get("/docs/redoc")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown_url")


def test_the_amounts_of_an_estimate_are_those_that_budgets_count() -> None:
    answer = DESCRIPTION["paths"]["/eco/v1/estimate"]["post"]["responses"]["200"]
    hold = answer["content"]["application/json"]["schema"]["properties"]["hold"]["properties"]

    assert set(hold["central"]["properties"]) == {dimension.field for dimension in Dimension}
