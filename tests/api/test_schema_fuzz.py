"""Bodies and parameters made from the description, good and bad: no 5xx, and every answer as described."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from gateway.api.options import DEADLINE
from tests.running import ADMIN_KEY, MODEL, gateway_running

CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


# The gateway under test draws random numbers in this very process, while Hypothesis watches that nobody does.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the .random. module inside strategies")
BOUNDED = settings(
    max_examples=12,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def fuzz(url: str, mode: GenerationMode) -> dict[str, set[int]]:
    """Asks every operation with cases of one mode; the statuses that it gave, by operation."""
    schema = schemathesis.openapi.from_dict(yaml.safe_load(Path("openapi/ecogate.yaml").read_text()))
    return {
        operation.label: ask(operation, url, mode) for operation in map(_found, schema.get_all_operations())
    }


def ask(operation: Any, url: str, mode: GenerationMode) -> set[int]:
    """Sends the cases of one operation and checks each answer."""
    load_all_checks()
    checks = CHECKS.get_by_names(list(CHECKED))
    statuses = set()

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        if isinstance(case.body, dict) and case.body.get("model"):
            case.body["model"] = MODEL
        if mode is GenerationMode.POSITIVE and DEADLINE in (case.headers or {}):
            case.headers[DEADLINE] = "20"  # a shorter one may rightly be a 504
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        answer = case.call_and_validate(base_url=url, headers=headers, checks=checks, timeout=20)
        statuses.add(answer.status_code)

    # What takes no parameter, or any text, has no bad cases.
    with contextlib.suppress(Unsatisfiable):
        send()
    return statuses


def _found(result: Any) -> Any:
    return result.ok()


async def test_good_requests_get_what_the_description_promises(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        seen = await asyncio.to_thread(fuzz, gateway.url, GenerationMode.POSITIVE)

    assert seen["POST /eco/v1/keys"] >= {201}
    assert all(seen.values())


async def test_bad_requests_are_refused_in_the_described_shape(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url) as gateway:
        seen = await asyncio.to_thread(fuzz, gateway.url, GenerationMode.NEGATIVE)

        assert seen["POST /v1/images/generations"] >= {400}
        assert not any(status >= 500 for statuses in seen.values() for status in statuses)
