"""`telemetry-agent status` against a running daemon, as people and as programs see it."""

from __future__ import annotations

import asyncio
import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from agent.cli.main import app as cli
from agent.cli.status_view import NoAnswerError, ask, layout
from agent.config.status import StatusConfig
from drivers.model import Table
from tests.agent.status.test_listener import (
    HOSTILE,
    STATUS_TOKEN,
    configuration,
    delivers_without_its_second_device,
    running,
    until,
)
from tests.faults.modbus import FaultServer
from tests.support.site import Endpoint, sdm630


def written(status: dict[str, Any]) -> str:
    console = Console(width=200, record=True, force_terminal=False, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(layout(status))
        return console.export_text()


async def test_of_a_running_daemon(tmp_path: Path) -> None:
    with Endpoint() as endpoint:
        async with FaultServer({(1, Table.INPUT): sdm630(-1500.0, 10, 20)}) as meter, FaultServer({}) as silent:
            devices = [("[red]m[/]", "grid", meter.link().port), (HOSTILE, "solar", silent.link().port)]
            async with running(configuration(tmp_path, endpoint.url, devices)) as app:
                await until(app, delivers_without_its_second_device)
                assert app.status is not None
                answer = await asyncio.to_thread(ask, StatusConfig(listen=f"127.0.0.1:{app.status.port}"))
                file = tmp_path / "c.toml"
                file.write_text(f'[status]\nlisten = "127.0.0.1:{app.status.port}"\n')
                command = sys.executable, "-m", "agent", "status", "--config", str(file)
                piped = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
                printed, _ = await piped.communicate()
    assert piped.returncode == 0
    assert json.loads(printed)["site"] == answer["site"] == "SITE_1"
    text = written(answer)
    assert text.startswith("SITE_1  pushing  up ")
    (endpoint_status,) = answer["endpoints"]
    failing = endpoint_status | {"name": "trader", "reason": "no delivery for 9 min"}
    some = answer | {"ready": False, "endpoints": [endpoint_status, failing]}
    assert written(some).startswith("SITE_1  pushing to 1 of 2  up ")
    assert written(some | {"endpoints": [failing, failing]}).startswith("SITE_1  not pushing  up ")
    assert "grid -1.50 kW · solar no value" in text
    narrow = Console(width=40, record=True, file=StringIO())
    narrow.print(layout(answer, narrow=True))
    cramped = narrow.export_text()
    assert "…" not in cramped, "nothing is cut"
    assert "answered" not in cramped
    assert "[red]m[/]" in text
    assert HOSTILE in text
    assert "no answer within 0.2 s" in text
    assert f"last delivery to {endpoint.url.removesuffix('/v1')}: " in text
    assert "waiting: 0; dead letters: 0; dropped: none" in text


async def test_a_token_is_sent_and_a_wrong_one_explained(tmp_path: Path) -> None:
    config = configuration(tmp_path, "http://127.0.0.1:1/", [("m", "grid", 1)], token=STATUS_TOKEN)
    async with running(config) as app:
        assert app.status is not None
        listen = f"127.0.0.1:{app.status.port}"
        right = StatusConfig.model_validate({"listen": listen, "token": STATUS_TOKEN})
        assert (await asyncio.to_thread(ask, right))["site"] == "SITE_1"
        with pytest.raises(NoAnswerError, match="does not accept the token"):
            await asyncio.to_thread(ask, StatusConfig(listen=listen))


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("", 1, '{file}: status: missing; add [status] with listen = "127.0.0.1:9464"'),
        ('[status]\nlisten = "127.0.0.1:1"', 1, "nothing listens on 127.0.0.1:1: does the daemon run"),
        ('[status]\nlisten = "0.0.0.0:1"', 78, "{file}: status.token_file: missing; anybody who reaches 0.0.0.0:1"),
        ("[status]\nport = 1", 78, "{file}: status.port: unknown key"),
        ("[status", 78, "{file}: not valid TOML"),
    ],
)
def test_why_there_is_nothing_to_see(tmp_path: Path, text: str, status: int, message: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    result = CliRunner().invoke(cli, ["status", "--config", str(file)])
    assert result.exit_code == status
    assert result.output.startswith(f"telemetry-agent: {message.format(file=file)}")


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no answer from"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n<html>\n<p>No\n", r"^another program listens on \S+ \(HTTP 404\)$"),
    ],
)
async def test_something_else_listens(says: bytes, message: str) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(says)
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(NoAnswerError, match=message):
        await asyncio.to_thread(ask, StatusConfig(listen=f"127.0.0.1:{port}"))
    server.close()
