"""Runs the simulated site: without the agent for `simulate`, with the agent and the reference endpoint for `demo`.

For `simulate --lab`, the laboratory replaces the simulated site.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import tomllib
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from agent.receiver import Validator, Verdict, serving

if TYPE_CHECKING:
    from rich.console import RenderableType

    from agent.aggregation import Summary
    from agent.app import App
    from agent.polling import Device
    from drivers.simulator import SimulatedDevice, SimulatedPlant

SITE_ID = "DEMO_site_0"
INTERVAL_S = 2
"""Seconds between two pushes of the demo."""


def device_tables(devices: tuple[SimulatedDevice, ...], host: str) -> str:
    """Return the [[device]] tables of a simulated site."""
    lines = []
    for device in devices:
        lines += [
            "[[device]]",
            f'node_id = "{device.node_id}"',
            f'type = "{device.type}"',
            f'driver = "{device.driver}"',
            f'host = "{host}"',
            f"port = {device.port}",
            f"unit_id = {device.unit_id}",
            *(f"{key} = {json.dumps(value)}" for key, value in device.options.items()),
            "",
        ]
    return "\n".join(lines)


async def simulate(host: str, base_port: int, seed: int, speed: float, ready: Callable[[], None]) -> None:
    """Serve the simulated site until cancelled. Print its [[device]] tables, then call `ready`."""
    from drivers.simulator import SimulatedPlant, SimulatedSite

    async with SimulatedSite(
        SimulatedPlant(seed=seed, speed=speed, start_s=_local_seconds()), host, base_port
    ) as running:
        print(device_tables(running.devices, host), flush=True)  # noqa: T201 - the output of the command
        ready()
        await asyncio.Event().wait()


async def serve_lab(host: str, port: int, ready: Callable[[], None]) -> None:
    """Serve the laboratory (`lab_devices`) until cancelled. Print its address and its units, then call `ready`."""
    from drivers.simulator import ModbusServer, lab_devices

    devices = lab_devices()
    server = ModbusServer([device.unit for device in devices], host, port, answers_for_absent=True)
    await server.start()
    try:
        lines = [f"The laboratory is at {host}, port {server.port}. Ctrl-C ends it."]
        lines += [f"  unit {device.unit.unit_id}: {device.what}" for device in devices]
        print("\n".join(lines), flush=True)  # noqa: T201 - the output of the command
        ready()
        await asyncio.Event().wait()
    finally:
        await server.stop()


def _arrival(verdict: Verdict, headers: Mapping[str, str]) -> str:
    if verdict.problems:
        return f"{verdict.status} refused: {'; '.join(verdict.problems)}"
    return f"{verdict.status} {verdict.name} {headers.get('webhook-id', '')} {json.dumps(verdict.message)}"


def _totals(validator: Validator) -> str:
    return ", ".join(f"{count} {name}" for name, count in validator.counts.items())


def _local_seconds() -> float:
    """Return the local time of day in seconds."""
    now = datetime.now().astimezone()
    return now.hour * 3600.0 + now.minute * 60.0 + now.second


@dataclass(slots=True)
class Demo:
    """Site, agent and receiver in one process. They use Modbus TCP and HTTP on free ports of the loopback address."""

    seed: int
    speed: float
    pushes: int = 0
    """The demo ends after this number of valid messages; 0: no limit."""
    validator: Validator = field(default_factory=lambda: Validator(secrets.token_urlsafe(16), SITE_ID))
    arrivals: deque[Verdict] = field(default_factory=lambda: deque(maxlen=6))
    """The verdicts on the last six messages."""
    _app: App | None = None
    _done: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _devices: tuple[Device, ...] = ()
    _site: SimulatedPlant | None = None
    _summary: Summary | None = None

    def run(self) -> int:
        """Run until Ctrl-C, or until `pushes` valid messages have arrived.

        Return the exit status: 1 if a message was refused, or if fewer than `pushes` messages were valid; else 0.
        """
        from agent.runtime import logging_setup
        from agent.service import supervisor

        logging_setup.configure("warning", "console")
        supervisor.run(self._main)
        refused = self.validator.counts["refused"]
        print(f"\n{_totals(self.validator)}")  # noqa: T201 - the output of the command
        return 1 if refused or self.validator.counts["accepted"] < self.pushes else 0

    async def _main(self, ready: Callable[[], None]) -> None:
        from agent.app import App
        from agent.config import parse
        from agent.runtime import SystemClock
        from agent.site import build

        self._loop = asyncio.get_running_loop()
        async with self._site_and_receiver() as (table, scratch):
            config = parse(table, {}, "demo")
            site = build(config, "demo")
            self._devices = site.devices
            app = self._app = App(config, site, SystemClock(), {}, self._on_summary)
            running = asyncio.create_task(app.run(ready))
            showing = asyncio.create_task(self._show(scratch))
            try:
                await asyncio.wait({running, showing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                showing.cancel()
                running.cancel()
                results = await asyncio.gather(running, showing, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result

    @contextlib.asynccontextmanager
    async def _site_and_receiver(self) -> AsyncIterator[tuple[dict[str, Any], Path]]:
        from drivers.simulator import SimulatedPlant, SimulatedSite

        site = self._site = SimulatedPlant(seed=self.seed, speed=self.speed, start_s=9 * 3600.0)
        with TemporaryDirectory(prefix="telemetry-demo-") as scratch:
            async with SimulatedSite(site, "127.0.0.1", 0) as running:
                with serving(self.validator, "127.0.0.1", 0, self._arrived) as server:
                    port = server.server_address[1]
                    yield self._config(device_tables(running.devices, "127.0.0.1"), port, scratch), Path(scratch)

    def _config(self, devices: str, port: int, scratch: str) -> dict[str, Any]:
        table = tomllib.loads(devices)
        return table | {
            "site": {"node_id": SITE_ID, "import_limit_W": 17_250, "export_limit_W": 10_000},
            "push": {
                "url": f"http://127.0.0.1:{port}/",
                "token": self.validator.token,
                "interval_s": INTERVAL_S,
                "align": "clock",
                "wait_for_clock_s": 0.0,
            },
            "poll": {"interval_s": 1.0},
            "status": {"listen": "127.0.0.1:0"},
            "outbox": {"path": f"{scratch}/outbox.sqlite3"},
        }

    def _arrived(self, verdict: Verdict, headers: Mapping[str, str]) -> None:
        self.arrivals.append(verdict)
        if not sys.stdout.isatty():
            print(_arrival(verdict, headers), flush=True)  # noqa: T201 - the plain form of the display
        if self.pushes and self.validator.counts["accepted"] >= self.pushes and self._loop is not None:
            self._loop.call_soon_threadsafe(self._done.set)

    async def _show(self, scratch: Path) -> None:
        if not sys.stdout.isatty():
            print(f"simulated site at {self.speed:g} x real time, state in {scratch}", flush=True)  # noqa: T201
            await self._done.wait()
            return
        from rich.live import Live

        with Live(self._display(), refresh_per_second=4, screen=False) as live:
            while not self._done.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._done.wait(), 0.25)
                live.update(self._display())

    def _display(self) -> RenderableType:
        from agent.cli.demo_view import DemoDisplay

        minutes = int(self._site.time_of_day_s // 60) if self._site is not None else 0
        clock = f"it is {minutes // 60:02}:{minutes % 60:02} at the simulated site, {self.speed:g} x real time"
        closing = "Ctrl-C ends the demo."
        if self._app is not None and self._app.status is not None and self._app.status.port is not None:
            closing += f" Status page: http://127.0.0.1:{self._app.status.port}/"
        return DemoDisplay(self._devices, self._summary, tuple(self.arrivals), self.validator.counts, clock, closing)

    def _on_summary(self, summary: Summary) -> None:
        self._summary = summary
