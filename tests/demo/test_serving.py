import httpx
import pytest

from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings


async def test_several_stand_ins_answer_at_their_own_ports() -> None:
    async with (
        serving(StandInSettings(zone="SE")) as sweden,
        serving(StandInSettings(zone="FR")) as france,
        httpx.AsyncClient() as client,
    ):
        answers = [await client.get(f"{one.base_url}/models") for one in (sweden, france)]

    assert sweden.port != france.port
    assert ["zone SE" in answers[0].headers["x-standin"], "zone FR" in answers[1].headers["x-standin"]] == [
        True,
        True,
    ]


async def test_a_stopped_stand_in_refuses_connections() -> None:
    async with serving(StandInSettings(zone="SE")) as running:
        pass

    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{running.base_url}/models")


async def test_a_taken_port_is_an_error() -> None:
    async with serving(StandInSettings(zone="SE")) as first:
        with pytest.raises(OSError, match="in use"):
            async with serving(StandInSettings(zone="FR"), port=first.port):
                pass
