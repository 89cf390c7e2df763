"""Simulated site, the App of the daemon, and the reference receiver on loopback sockets. The test controls the clock.

Two devices have their own ports. Two devices are behind a Modbus TCP gateway. The other devices are on an RTU line
behind a transparent converter. Time does not pass during a round of polls and its push. Each reading is therefore from
the moment of its tick, and the test compares it with the true values of that moment.
"""

from __future__ import annotations

import asyncio
import shutil
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.aggregation.groups import Summary
from agent.app import App
from agent.config.loader import parse
from agent.config.model import Config
from agent.energy.days import day_of
from agent.receiver.server import Validator, Verdict, serving
from agent.site.builder import build
from drivers.model import Table
from drivers.simulator.devices import SimulatedDevice
from drivers.simulator.physics import DAY_S, Energy, SimulatedPlant
from drivers.simulator.site_server import SimulatedSite
from tests.faults.modbus import Faults, FaultServer
from tests.support.conservation_site import HOUR_S, NAMES, ZONE, Changes, metered_devices
from tests.support.simulated_clock import DrivenClock

TOKEN = "a-token-nobody-may-read"
SITE_ID = "SITE_1"
COARSE_S, FINE_S = 600, 30
OWN_PORT = ("meter-1", "pv-south")
GATEWAY = ("pv-west", "battery-1")
WAIT_S = 60.0


class Plant:
    """The devices of a site on their sockets. `show` sets the registers of the RTU line."""

    def __init__(self, site: SimulatedPlant) -> None:
        self.devices = {device.node_id: device for device in metered_devices(site)}
        self._alone = SimulatedSite(site, devices=self._named(OWN_PORT))
        self._gateway = SimulatedSite(site, devices=self._named(GATEWAY), gateway=True)
        self._on_line = self._named(self.devices.keys() - {*OWN_PORT, *GATEWAY})
        self._line = FaultServer({}, transport="rtu_over_tcp")
        for unit_id, device in enumerate(self._on_line, 1):
            device.unit.unit_id = unit_id

    def _named(self, names: Collection[str]) -> tuple[SimulatedDevice, ...]:
        return tuple(device for name, device in self.devices.items() if name in names)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        self.show()
        async with self._alone, self._gateway, self._line:
            yield

    def show(self) -> None:
        """Copy the present values to the registers of the RTU line.

        The other devices calculate their registers for each request.
        """
        for device in self._on_line:
            unit = device.unit
            self._line.unit_faults[unit.unit_id] = Faults(silent=not unit.online)
            for table, words in unit.image().items():
                self._line.registers[unit.unit_id, table] = dict(words)

    def configuration(self) -> dict[str, Any]:
        """Return the tables [connection] and [[device]] of the agent."""
        line = {"transport": "rtu_over_tcp", "host": self._line.host, "port": self._line.port}
        devices = []
        for device in self.devices.values():
            where: dict[str, Any] = {"connection": "line"}
            if device not in self._on_line:
                where = {"host": device.host, "port": device.port}
            table = {"node_id": device.node_id, "type": str(device.type), "driver": device.driver}
            # A half-read counter must exceed the energy that the device can have between two such distant polls.
            limits = {"active_power_W": 50_000} if device.node_id in GATEWAY else {}
            # On a busy machine, a device with energies must not miss the poll at midnight.
            patience = {"timeout_s": 1.0 if device.node_id in NAMES else 0.3}
            devices.append(
                {**table, **patience, "unit_id": device.unit_id, "limits": limits, **where, **device.options}
            )
        return {"connection": {"line": line}, "device": devices}

    async def hang_up(self, node_id: str) -> None:
        """Close the port of the device, also for other devices on this port."""
        await self._server(node_id).disconnect(self.devices[node_id])

    async def listen(self, node_id: str) -> None:
        await self._server(node_id).reconnect(self.devices[node_id])

    def _server(self, node_id: str) -> SimulatedSite:
        return self._alone if node_id in OWN_PORT else self._gateway

    @contextmanager
    def altered(self, node_id: str, address: int, change: Callable[[int], int]) -> Iterator[None]:
        """Apply `change` to the 64-bit counter at a holding register, until the block ends."""
        unit = self.devices[node_id].unit
        true = unit.image

        def image() -> Mapping[Table, Mapping[int, int]]:
            tables = dict(true())
            holding = dict(tables[Table.HOLDING])
            places = range(address, address + 4)
            (number,) = struct.unpack(">Q", struct.pack(">4H", *(holding[place] for place in places)))
            holding.update(zip(places, struct.unpack(">4H", struct.pack(">Q", change(number))), strict=True))
            return tables | {Table.HOLDING: holding}

        unit.image = image
        try:
            yield
        finally:
            unit.image = true


class Line:
    """Plant, agent and receiver. Local hours count from the midnight before the start."""

    def __init__(self, folder: Path, seed: int, first_day: str, changes: Changes) -> None:
        self.site = SimulatedPlant(seed, start_s=20 * HOUR_S, speed=0.0, clock_changes=changes)
        self.plant = Plant(self.site)
        self.true: dict[int, dict[str, Energy]] = {}
        """Unix second of a tick → true energies of the day at that moment."""
        self.received: dict[int, list[dict[str, Any]]] = {}
        """Time of a message → messages that the receiver acknowledged for the first time."""
        self.desk = Validator(TOKEN, SITE_ID)
        self.verdicts: Counter[int] = Counter()
        self.starts = 0
        self._state = folder / "state"
        self._first_midnight = datetime.fromisoformat(first_day).replace(tzinfo=ZONE).timestamp()
        _, self.midnight, self.next_midnight = day_of(self._first_midnight + 1.25 * DAY_S, ZONE)
        """Start and end of the day that is simulated completely, in Unix seconds."""
        self._interval_s = COARSE_S
        self._closed: set[int] = set()
        self._news = asyncio.Event()
        self._url = ""
        self._down = False
        self._clock = DrivenClock(wall=self.wall)

    @property
    def wall(self) -> int:
        return int(self._first_midnight + self.site.now_s)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        async with self.plant.served(), AsyncExitStack() as stack:
            server = stack.enter_context(serving(self.desk, "127.0.0.1", 0, self._judged))
            self._url = f"http://127.0.0.1:{server.server_address[1]}/v1"
            await self._start()
            try:
                yield
            finally:
                await self._stop()

    async def until(self, hour: float) -> None:
        """Run the agent until that local hour."""
        while self.site.local_s < round(hour * HOUR_S):
            self._pass(self._interval_s)
            await self._tick()

    async def restart(self, *, after_s: float, power_cut: bool = False) -> None:
        """Stop the agent for `after_s` and start it again.

        After a power cut, the files are as they are now, and the machine boots.
        """
        saved = self._state.with_name("saved")
        if power_cut:
            shutil.copytree(self._state, saved)
        await self._stop()
        if power_cut:
            shutil.rmtree(self._state)
            saved.rename(self._state)
            self._clock = DrivenClock(monotonic=10.0, wall=self.wall)
        self._pass(after_s)
        await self._start()

    async def push_every(self, seconds: int) -> None:
        """Reload the configuration with another push interval. Time must not pass before the ticks follow it."""
        self._interval_s = seconds
        config = self._config()
        await self._app.reload(config, build(config, "test", self._app.site))
        async with asyncio.timeout(WAIT_S):
            while self._app._schedule._scheduler._changed.is_set():  # noqa: ASYNC110 - has no event
                await asyncio.sleep(0.001)
        for _ in range(20):  # iterations of the loop, until the sleep for the next tick has begun
            await asyncio.sleep(0)
        await self._quiet()

    @contextmanager
    def endpoint_down(self) -> Iterator[None]:
        """The endpoint answers 503 to every message until the block ends."""

        def refuse(identity: str, message: dict[str, Any]) -> None:
            raise OSError("no space left")

        keep, self.desk.keep, self._down = self.desk.keep, refuse, True
        try:
            yield
        finally:
            self.desk.keep, self._down = keep, False

    async def deliver_all(self) -> None:
        """Deliver all messages within the current interval. Raises AssertionError if some are still waiting."""
        for _ in range(self._interval_s - 1):
            if not await self._app.waiting():
                return
            self._clock.jump(1.0)
            await asyncio.sleep(0.005)
        raise AssertionError(f"{await self._app.waiting()} messages are still waiting")

    def _config(self) -> Config:
        push = {"url": self._url, "token": TOKEN, "interval_s": self._interval_s, "align": "clock"}
        table = {
            "site": {"node_id": SITE_ID, "timezone": ZONE.key},
            "push": push | {"quality": True, "wait_for_clock_s": 0},
            # A value that this round did not read is stale.
            "poll": {"interval_s": self._interval_s, "stale_after_s": FINE_S / 2},
            "outbox": {"path": str(self._state / "outbox.sqlite3"), "backlog_rate_per_s": 1.0},
        }
        return parse(table | self.plant.configuration(), {}, "test")

    async def _start(self) -> None:
        config = self._config()
        self._app = App(config, build(config, "test"), self._clock, {}, self._summarised)
        self._running = asyncio.create_task(self._app.run())
        self.starts += 1
        await self._tick()

    async def _stop(self) -> None:
        self._running.cancel()
        (result,) = await asyncio.gather(self._running, return_exceptions=True)
        assert isinstance(result, asyncio.CancelledError), result

    def _pass(self, seconds: float) -> None:
        self.site.advance(seconds)
        self.plant.show()
        self._clock.jump(seconds)

    async def _tick(self) -> None:
        """Wait until the current interval is closed and, if the endpoint is up, its message has arrived."""
        self.true[self.wall] = self.site.today
        async with asyncio.timeout(WAIT_S):
            while self.wall not in self._closed or not (self._down or self.wall in self.received):
                self._news.clear()
                await self._news.wait()
        await self._quiet()

    async def _quiet(self) -> None:
        """Wait until no poll and no attempt is running.

        Time must not pass during a poll, because the reading would be older than its time.
        """
        pause_s = 0.001
        async with asyncio.timeout(WAIT_S):
            while self._busy:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, 0.05)

    @property
    def _busy(self) -> bool:
        asked = any(worker._open for worker in self._app.poller._workers)
        return asked or bool(self._app.deliveries["default"].sender._attempts.in_flight)

    def _summarised(self, summary: Summary) -> None:
        self._closed.add(summary.time)
        self._news.set()

    def _judged(self, verdict: Verdict, headers: Mapping[str, str]) -> None:
        self.verdicts[verdict.status] += 1
        if verdict.status == 200 and not verdict.duplicate and verdict.message is not None:
            self.received.setdefault(verdict.message["time"], []).append(verdict.message)
            self._loop.call_soon_threadsafe(self._news.set)
