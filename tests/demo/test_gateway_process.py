import secrets
import socket
from pathlib import Path

import pytest

from gateway.demo.gateway_process import GatewayDidNotStart, gateway_process
from gateway.demo.gateway_process import free_port as wanted_or_free
from tests.ports import free_port


def test_the_wanted_port_is_taken_when_it_is_free_and_another_one_when_not() -> None:
    free = free_port()

    assert free == wanted_or_free(free)
    with socket.create_server(("127.0.0.1", free)):
        assert wanted_or_free(free) not in {0, free}


async def test_a_gateway_that_cannot_start_is_reported_with_its_log(tmp_path: Path) -> None:
    deployments = tmp_path / "deployments.yaml"
    deployments.write_text("deployments: 7\n")
    policies = tmp_path / "policies"
    policies.mkdir()

    with pytest.raises(GatewayDidNotStart, match=r"exit code(.|\n)*deployments\.yaml:1"):
        async with gateway_process(
            port=free_port(),
            deployments=deployments,
            policies=policies,
            data_dir=tmp_path,
            admin_key=secrets.token_urlsafe(32),
        ):
            pass
