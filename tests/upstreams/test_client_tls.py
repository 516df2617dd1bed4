"""Image services behind TLS: one whose certificate nobody vouches for is sent nothing."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.faults.proxy import FaultProxy
from tests.faults.world import service
from tests.lifecycle.reading import budgets_of
from tests.processes import gateway_process
from tests.running import GENERATIONS, MODEL, budget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from gateway.demo.serving import Running

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(tmp_path: Path, authority: trustme.CA) -> str:
    """The file that names it to a gateway."""
    path = tmp_path / "authorities.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@asynccontextmanager
async def behind_tls(
    home: Path, authority: trustme.CA, *, name: str = "127.0.0.1", **environment: str
) -> AsyncIterator[tuple[httpx.AsyncClient, Running]]:
    """A client of a gateway whose image service answers only in TLS, with a certificate for `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    async with (
        service() as images,
        FaultProxy(("127.0.0.1", images.port), tls=context) as front,
        gateway_process(
            home, {"SE": f"https://127.0.0.1:{front.port}/v1"}, budgets=[budget()], **environment
        ) as gateway,
        gateway.client() as client,
    ):
        yield client, images


async def test_a_service_with_a_trusted_certificate_is_asked(
    tmp_path: Path, authority: trustme.CA, trusted: str
) -> None:
    async with behind_tls(tmp_path / "g", authority, SSL_CERT_FILE=trusted) as (client, images):
        answer = await client.post(GENERATIONS, json=ASK)

        assert answer.status_code == 200, answer.text
        assert len(images.standin.generations) == 1


async def test_a_service_whose_certificate_nobody_vouches_for_gets_nothing_and_nothing_is_charged(
    tmp_path: Path, authority: trustme.CA
) -> None:
    async with behind_tls(tmp_path / "g", authority) as (client, images):
        answer = await client.post(GENERATIONS, json=ASK)

        assert answer.status_code == 503, answer.text
        assert images.standin.received == []
        used = (await budgets_of(client))["images"]
        assert (used["used"], used["held"]) == (0, 0)


async def test_a_trusted_certificate_for_another_name_is_not_enough(
    tmp_path: Path, authority: trustme.CA, trusted: str
) -> None:
    async with behind_tls(tmp_path / "g", authority, name="images.example", SSL_CERT_FILE=trusted) as (
        client,
        images,
    ):
        answer = await client.post(GENERATIONS, json=ASK)

        assert answer.status_code == 503, answer.text
        assert images.standin.received == []
