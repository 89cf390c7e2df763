"""The daemon as a separate process, with a hand-written meter and the reference receiver."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Self

from structlog.testing import capture_logs

from agent.app import App
from agent.config.loader import load
from agent.receiver.server import Validator, Verdict, serve
from agent.site.builder import build
from tests.faults.modbus import FaultServer, registers_from
from tests.support.delivery import FastClock

TOKEN = "a-token-nobody-may-read"
WAIT_S = 60


def sdm630(power: float, imported_kwh: float, exported_kwh: float) -> dict[int, int]:
    """Return the input registers of an SDM630, packed by hand. `power` is in W."""
    registers = registers_from(0, [0] * 100)
    for address, value in ((52, power), (72, imported_kwh), (74, exported_kwh), (0, 231.5), (70, 49.98)):
        registers[address], registers[address + 1] = struct.unpack(">HH", struct.pack(">f", value))
    return registers


class Endpoint:
    """The reference receiver on a free port, and its verdicts."""

    def __init__(self, token: str = TOKEN) -> None:
        self.desk = Validator(token, "SITE_1")
        self.verdicts: list[tuple[Verdict, Mapping[str, str]]] = []
        self._server = serve(
            self.desk, "127.0.0.1", 0, lambda verdict, headers: self.verdicts.append((verdict, headers))
        )
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [verdict.message for verdict, _ in self.verdicts if verdict.message is not None]

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.verdicts) < count:  # noqa: ASYNC110 - filled by the server's thread
                await asyncio.sleep(0.02)

    async def wait_until(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until `wanted` is true for a message."""
        async with asyncio.timeout(WAIT_S):
            while not any(map(wanted, self.messages)):  # noqa: ASYNC110 - filled by the server's thread
                await asyncio.sleep(0.02)

    async def wait_for_all(self, count: int) -> None:
        """Wait for messages of at least `count` ticks without a gap. The newest message can arrive first."""
        async with asyncio.timeout(WAIT_S):
            while len(times := {message["time"] for message in self.messages}) < count or (  # noqa: ASYNC110
                max(times) - min(times) >= len(times)
            ):
                await asyncio.sleep(0.02)


def configuration(folder: Path, url: str, devices: str, push: str = "", token: str = TOKEN) -> Path:
    path = folder / "config.toml"
    path.write_text(
        f"""
[site]
node_id = "SITE_1"
[push]
url = "{url}"
token = "{token}"
interval_s = 1
align = "clock"
{push}
[poll]
interval_s = 0.5
stale_after_s = 1
[outbox]
path = "{folder}/state/outbox.sqlite3"
{devices}
"""
    )
    return path


def device(node_id: str, type_: str, server: FaultServer, driver: str = "eastron-sdm630", timeout_s: float = 30) -> str:
    """Return a [[device]] table. With a shorter time-out, a poll could fail on a busy machine."""
    port = server.link().port
    return f"""
[[device]]
node_id = "{node_id}"
type = "{type_}"
driver = "{driver}"
host = "127.0.0.1"
port = {port}
timeout_s = {timeout_s}
"""


@contextlib.asynccontextmanager
async def agent(config: Path, behind_s: float = 0.0) -> AsyncIterator[None]:
    """Run the agent in the event loop of the test. The load of the machine does not count as time there.

    The clock of the agent is `behind_s` behind the real time.
    """
    configured = load(config, {"TELEMETRY_AGENT__PUSH__WAIT_FOR_CLOCK_S": "0"})
    app = App(configured, build(configured, str(config)), FastClock(1.0, time.time() - behind_s), {})
    with capture_logs() as logs:
        running = asyncio.create_task(app.run())
        try:
            yield
        finally:
            running.cancel()
            (result,) = await asyncio.gather(running, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError), result
    assert TOKEN not in repr(logs)


@contextlib.asynccontextmanager
async def daemon(config: Path, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", "run", "--config", str(config)),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environ},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        log = (await asyncio.wait_for(process.communicate(), WAIT_S))[1].decode()
        assert TOKEN not in log
        assert process.returncode == 0, log
