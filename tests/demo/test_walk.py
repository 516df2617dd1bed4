import io
from pathlib import Path

from rich.console import Console

from gateway.demo.gateway_process import LOG, RunningGateway
from gateway.demo.run import Demo
from gateway.demo.walk import walk
from tests.ports import free_port


async def test_a_step_that_fails_is_told_with_the_end_of_the_gateways_log(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("the last words of the gateway\n")
    output = io.StringIO()
    demo = Demo(Console(file=output, width=132), tmp_path, port=None, leave=True)
    nobody = RunningGateway(f"http://127.0.0.1:{free_port()}", tmp_path / LOG)

    held = await walk(demo, nobody, [], "k" * 32)

    assert not held
    assert "ConnectError" in output.getvalue()
    assert "the last words of the gateway" in output.getvalue()
