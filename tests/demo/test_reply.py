from typing import Any

import pytest

from gateway.demo.faults import Fault, FaultName
from gateway.demo.reply import REFUSALS, Message, Reply


@pytest.mark.parametrize("name", list(REFUSALS))
async def test_every_refusal_has_the_length_it_promises_and_names_the_stand_in(name: FaultName) -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: Message) -> None:
        sent.append(dict(message))

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    await Reply({}, receive, send, "SE").refusal(Fault(name, 3))

    start, body = sent
    headers = dict(start["headers"])
    assert start["status"] == REFUSALS[name][0]
    assert len(body["body"]) == int(headers[b"content-length"])
    assert b"stand-in" in headers[b"server"]
    assert headers.get(b"retry-after") in {None, b"3"}
