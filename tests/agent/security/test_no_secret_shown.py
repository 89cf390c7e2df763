"""Secrets stay secret: not in logs, tracebacks, replies that are quoted, status, queue, or the list of processes."""

from __future__ import annotations

import asyncio
import base64
import sys
import urllib.request
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
import structlog

from agent.config.push import PushConfig
from agent.config.push_token import token_of
from agent.delivery import http_client
from agent.delivery.outcome import Retry
from agent.outbox.record import Record
from agent.runtime import logging_setup
from agent.runtime.clock import SystemClock
from agent.security.redaction import WITHHELD
from drivers.model import Table
from tests.agent.status.test_one_verdict import line
from tests.faults.certificates import Authority
from tests.faults.http import Behaviour, Exchange, HttpFaults, answer
from tests.faults.modbus import FaultServer
from tests.support.delivery import TOKEN, sending
from tests.support.site import TOKEN as SITE_TOKEN
from tests.support.site import Endpoint, configuration, device, sdm630

SECRET = "bXktc2lnbmluZy1zZWNyZXQtb2YtMzItYnl0ZXMh"


def echo(status: int) -> Behaviour:
    """A receiver in debug mode: it answers with what it was sent."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        sent = "; ".join(f"{name}={text}" for name, text in exchange.request.headers.items())
        await exchange.answer(status, (sent * 20).encode(), location=f"https://elsewhere/?{sent}")

    return behave


def contents(folder: Path, *names: str) -> bytes:
    """All files, or those of these names."""
    return b"".join(path.read_bytes() for path in folder.iterdir() if not names or path.name in names)


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as reply:
        return bytes(reply.read())


@pytest.mark.parametrize("status", [301, 400, 401, 422, 500])
async def test_a_receiver_that_quotes_the_token_leaks_nothing(tmp_path: Path, status: int) -> None:
    async with (
        HttpFaults(echo(status)) as server,
        sending(tmp_path, server.url(), retry={"initial_s": 0.01, "max_s": 0.02, "dead_letter_after": 1}) as line,
    ):
        await line.submit(b"{}")
        await server.until(lambda: line.sender.stats.attempts >= 1)
        if status in (400, 422):
            async with asyncio.timeout(60):
                while not (parked := line.outbox.parked()):  # noqa: ASYNC110 - the queue has no event
                    await asyncio.sleep(0.01)
            assert TOKEN not in repr(parked)
        assert TOKEN not in repr(line.sender.stats)
    assert TOKEN.encode() not in contents(tmp_path)


@pytest.mark.parametrize(
    "encode",
    [lambda token: token.replace("-", "&#45;"), lambda token: base64.b64encode(f"x {token}".encode()).decode()],
    ids=["HTML", "base64"],
)
async def test_status_page_and_command_show_no_echo(tmp_path: Path, encode: Callable[[str], str]) -> None:
    behaviour = answer(401, f"unknown: {encode(SITE_TOKEN)}".encode())
    async with (
        HttpFaults(behaviour) as server,
        FaultServer({(1, Table.INPUT): sdm630(1, 2, 3)}) as meter,
        line(tmp_path, server, meter) as seen,
    ):
        shown = await seen.until(lambda shown: "pushes fail" in shown.status_line and "401" in shown.readyz[1])
        assert shown.status_line.endswith(f"; pushes fail: HTTP 401: {WITHHELD}")
        assert shown.readyz[1].endswith(f": HTTP 401: {WITHHELD}")
        everything = f"{shown!r} {seen._logs!r}"
    for secret in (SITE_TOKEN, encode(SITE_TOKEN)):
        assert secret not in everything


async def test_a_traceback_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a library raises may quote the request."""

    async def quoting(_client: object, request: object, **_: object) -> None:
        raise RuntimeError(f"cannot send {getattr(request, 'headers', None)!r} with Bearer {TOKEN}")

    monkeypatch.setattr("httpx.AsyncClient.send", quoting)
    config = PushConfig(url="http://127.0.0.1:1/", token=TOKEN)
    endpoint = http_client.Endpoint(config, token_of(config, {}), SystemClock(), "agent/0")
    written = StringIO()
    before = structlog.get_config()
    try:
        logging_setup.configure("debug", "console", written)
        outcome = await endpoint.post(Record(1, "msg_1", b"{}", 0.0), 0)
    finally:
        structlog.configure(**before)
    assert outcome == Retry("unexpected RuntimeError", "local")
    assert "push_error" in written.getvalue()
    assert "in quoting" in written.getvalue(), "where it happened is told"
    assert TOKEN not in written.getvalue()


async def test_the_most_talkative_log_shows_neither_the_query_nor_what_a_receiver_quotes(tmp_path: Path) -> None:
    written = StringIO()
    before = structlog.get_config()
    async with HttpFaults(echo(301)) as server:
        config = PushConfig(url=f"{server.url()}?key=do-not-show", token=TOKEN)
        endpoint = http_client.Endpoint(config, token_of(config, {}), SystemClock(), "agent/0")
        try:
            logging_setup.configure("debug", "console", written)
            await endpoint.post(Record(1, "msg_1", b"{}", 0.0), 0)
        finally:
            structlog.configure(**before)
            await endpoint.close()
    assert "connect_tcp" in written.getvalue(), "how a connection is made is told"
    assert TOKEN not in written.getvalue()
    assert "do-not-show" not in written.getvalue()


async def test_the_system_s_store_is_what_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    async with HttpFaults(answer(200), authority.server_context(authority.issue("server"))) as server:
        async with sending(tmp_path, server.url(), run=False) as line:
            assert "not trusted" in getattr(await line.attempt(b"{}"), "reason", "")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))  # where OpenSSL looks for the system's store
        async with sending(tmp_path, server.url(), run=False) as line:
            assert getattr(await line.attempt(b"{}"), "status", None) == 200


async def test_nothing_of_the_daemon_shows_a_secret(tmp_path: Path) -> None:
    """Log at its most talkative, list of processes, status page and what is on the disk."""
    (tmp_path / "signing").write_text(f"whsec_{SECRET}")
    (tmp_path / "token").write_text(TOKEN)
    with Endpoint(TOKEN) as endpoint:
        async with FaultServer({(1, Table.INPUT): sdm630(1, 2, 3)}) as meter:
            status = 0
            with Endpoint() as spare:
                status = int(spare.url.rsplit(":", 1)[1].split("/")[0])
            path = configuration(
                tmp_path,
                endpoint.url,
                device("meter-1", "grid", meter)
                + f'[status]\nlisten = "127.0.0.1:{status}"\n[log]\nlevel = "debug"\nformat = "json"\n',
                f'signing_secret_file = "{tmp_path}/signing"\ntoken_file = "{tmp_path}/token"\n',
            )
            path.write_text(path.read_text().replace('token = "a-token-nobody-may-read"\n', ""))
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "agent", "run", "--config", str(path)), stderr=asyncio.subprocess.PIPE
            )
            await endpoint.wait_for(2)
            shown = contents(Path(f"/proc/{process.pid}"), "cmdline", "environ")
            for page in ("", "status.json", "metrics", "healthz", "readyz"):
                shown += await asyncio.to_thread(fetched, f"http://127.0.0.1:{status}/{page}")
            endpoint.desk.token = "another"  # from now on it is refused
            assert process.stderr is not None
            async with asyncio.timeout(60):
                line = b""
                while b"endpoint_misconfigured" not in line:
                    line = await process.stderr.readline()
                    assert line
                    shown += line
            process.terminate()
            shown += (await process.communicate())[1]
    assert b"secret_world_readable" in shown, "the files of this test are open to all"
    shown += contents(tmp_path / "state")
    for text in (TOKEN, SECRET, base64.b64decode(SECRET).decode()):
        assert text.encode() not in shown
        assert base64.b64encode(text.encode()) not in shown
