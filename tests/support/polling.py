"""A site on a driven clock: devices that answer at once or after a time, the poller and one push clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from agent.domain import Node
from agent.polling import Connection, Device, Poller, Rhythm, Scheduler, Tick
from agent.polling.scheduler import PollFutures
from drivers.driver import LinkDefaults, Reader
from drivers.errors import DriverError
from drivers.model import Kind, NodeType, Quantity, Resolution, Scan
from tests.support.simulated_clock import START, DrivenClock


class Instant:
    """A driver whose device answers at once, or after `takes_s` of the driven clock. With `error`, it fails then."""

    kind = Kind.METER
    nodes: frozenset[NodeType] = frozenset()
    defaults = LinkDefaults()
    resolutions: Mapping[tuple[NodeType | None, Quantity], Resolution] = {}

    def __init__(self, clock: DrivenClock, polled: list[float], takes_s: float = 0.0) -> None:
        self._clock = clock
        self._polled = polled
        self.takes_s = takes_s
        self.error: DriverError | None = None

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan:
        started = now()
        self._polled.append(started)
        if self.takes_s:
            await self._clock.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        return Scan((), started, now())


class Channel:
    """A link that needs no device."""

    async def read(self, table: object, address: int, count: int) -> Sequence[int]:
        raise AssertionError

    async def close(self) -> None:
        pass


class Site:
    """Notes what is polled and pushed, in seconds after the start."""

    def __init__(self, rhythm: Rhythm, polls_s: Sequence[Sequence[float]]) -> None:
        """`polls_s` are the poll intervals of the devices, link by link. The name of a device is "LINK.UNIT"."""
        self.clock = DrivenClock(wall=START + 1)
        self.began = self.clock.monotonic()
        self.polled: dict[str, list[float]] = {}
        self.drivers: dict[str, Instant] = {}
        self.skips: dict[str, int] = {}
        self.closed: list[float] = []
        self.left: list[float] = []
        """When each push left: after the answers that it waited for."""
        self.labels: list[int] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.connections = [
            Connection(
                Channel(), tuple(self._device(f"{link}.{unit}", own) for unit, own in enumerate(intervals)), f"a{link}"
            )
            for link, intervals in enumerate(polls_s)
        ]
        self.poller = Poller(self.connections, self.clock, self)
        self.schedule = Scheduler(rhythm, self.clock, self.poller, self.close)

    def _device(self, name: str, interval_s: float) -> Device:
        driver = self.drivers[name] = Instant(self.clock, self.polled.setdefault(name, []))
        node = Node(name, NodeType.VARIABLE_POWER_LOAD, Kind.METER)
        return Device(name, "instant", driver, Channel(), (node,), name, 1, interval_s, patience_s=600.0)

    @property
    def rounds(self) -> list[float]:
        """The polls of the first device."""
        return self.polls("0.0")

    def polls(self, name: str) -> list[float]:
        return [round(at - self.began, 6) for at in self.polled[name]]

    async def change(self, interval_s: float) -> None:
        """Another poll interval for all devices."""
        self.connections = [
            replace(link, devices=tuple(replace(device, interval_s=interval_s) for device in link.devices))
            for link in self.connections
        ]
        await self.poller.replace(self.connections)

    def observe(self, device: Device, scan: Scan) -> None:
        pass

    def missed(self, device: Device, error: Exception, at: float) -> None:
        assert isinstance(error, DriverError), error

    def skipped(self, device: Device, count: int) -> None:
        self.skips[device.name] = self.skips.get(device.name, 0) + count

    async def close(self, tick: Tick, answers: PollFutures) -> None:
        self.closed.append(self.clock.monotonic() - self.began)
        self.labels.append(tick.time)
        await asyncio.gather(*answers)
        self.left.append(round(self.clock.monotonic() - self.began, 6))
        await self.hold.wait()


@asynccontextmanager
async def running(rhythm: Rhythm, *polls_s: Sequence[float], after: int = 0) -> AsyncIterator[Site]:
    site = Site(rhythm, polls_s)
    tasks = [asyncio.create_task(site.poller.run()), asyncio.create_task(site.schedule.run(after=after))]
    try:
        yield site
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
