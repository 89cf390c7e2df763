"""Polling: one task per link, one back-off per device; who asks for a round gets a future per link.

- Links never wait for each other. On one link the devices that answered last are asked first, then at most one of
  those that are down and due for a probe, so that a dead unit costs its neighbours one time-out at the most.
- A device that is silent is asked again after `BACKOFF_FIRST_S`, doubling to `BACKOFF_MAX_S`; one answer ends it.
- A round asked for while one is running starts when that one ends; rounds never pile up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from agent.clock import Clock
from agent.node import Node
from drivers.base import Driver, Reader
from drivers.errors import DriverError, LinkError
from drivers.model import Scan

log = structlog.get_logger(__name__)

BACKOFF_FIRST_S = 2.0
BACKOFF_MAX_S = 300.0


class Closable(Protocol):
    """What the poller needs of a link."""

    async def close(self) -> None: ...


@dataclass(slots=True)
class Device:
    """One device of the site: how to read it, which nodes it feeds, and how it has been doing."""

    name: str
    driver_name: str
    driver: Driver
    reader: Reader
    nodes: tuple[Node, ...]
    address: str
    health: Health = field(default_factory=lambda: Health())


@dataclass(slots=True)
class Health:
    """How a device has been answering; monotonic seconds."""

    failures: int = 0
    """Failed polls in a row."""
    since: float | None = None
    """When the failures in a row began."""
    due: float = 0.0
    """No poll before this moment."""
    error: Exception | None = None
    partial: str | None = None
    """What the last poll could not read, if it answered at all."""
    last_answer: float | None = None
    polls: int = 0
    failed_polls: int = 0

    def failed(self, error: Exception, now: float) -> None:
        self.polls += 1
        self.failed_polls += 1
        self.failures += 1
        self.error = error
        if self.since is None:
            self.since = now
        self.due = now + min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (min(self.failures, 20) - 1))

    def answered(self, now: float) -> None:
        self.polls += 1
        self.failures = 0
        self.error = None
        self.since = None
        self.due = 0.0
        self.last_answer = now


@dataclass(slots=True)
class Connection:
    """A link and the devices on it."""

    link: Closable
    devices: tuple[Device, ...]


class Sink(Protocol):
    """Takes what a poll brought; called in the event loop, must not block."""

    def observe(self, device: Device, scan: Scan) -> None: ...

    def missed(self, device: Device, error: Exception, at: float) -> None: ...


class Poller:
    """Polls every connection of a site, a round each time `request` is called."""

    def __init__(self, connections: Sequence[Connection], clock: Clock, sink: Sink) -> None:
        self._lines = [_Line(connection, clock, sink) for connection in connections]
        self._connections = connections

    def request(self) -> list[asyncio.Future[None]]:
        """Ask for a round; a future per link is done when each of its devices has answered or failed."""
        return [line.request() for line in self._lines]

    async def run(self) -> None:
        """Poll until cancelled, then close every link."""
        try:
            async with asyncio.TaskGroup() as group:
                for line in self._lines:
                    group.create_task(line.run())
        finally:
            await asyncio.gather(*(connection.link.close() for connection in self._connections))


class _Line:
    """One link: asks its devices in turn."""

    def __init__(self, connection: Connection, clock: Clock, sink: Sink) -> None:
        self._devices = connection.devices
        self._clock = clock
        self._sink = sink
        self._waiting: list[asyncio.Future[None]] = []
        self._wanted = asyncio.Event()

    def request(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._wanted.set()
        return future

    async def run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            waiting, self._waiting = self._waiting, []
            await self._round()
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    async def _round(self) -> None:
        now = self._clock.monotonic()
        healthy = [device for device in self._devices if not device.health.failures]
        down = [device for device in self._devices if device.health.failures]
        due = sorted((device for device in down if device.health.due <= now), key=lambda device: device.health.due)[:1]
        asked = healthy + due
        for device in down:
            if device not in due:
                self._sink.missed(device, device.health.error or LinkError("not asked"), now)
        for position, device in enumerate(asked):
            if isinstance(error := await self._poll(device), LinkError):
                # The others stand behind the same closed door: no further attempt makes sense in this round.
                for other in asked[position + 1 :]:
                    self._failed(other, error)
                return

    async def _poll(self, device: Device) -> Exception | None:
        try:
            scan = await device.driver.poll(device.reader, self._clock.monotonic)
        except DriverError as error:
            self._failed(device, error)
            return error
        except Exception as error:  # a defect in one driver must not stop the other devices
            log.exception("driver_defect", device=device.name, driver=device.driver_name)
            self._failed(device, error)
            return error
        self._answered(device, scan)
        return None

    def _failed(self, device: Device, error: Exception) -> None:
        now = self._clock.monotonic()
        first = not device.health.failures
        device.health.failed(error, now)
        (log.warning if first else log.debug)(
            "device_lost" if first else "device_still_lost",
            device=device.name,
            address=device.address,
            reason=str(error),
            retry_in_s=round(device.health.due - now, 1),
        )
        self._sink.missed(device, error, now)

    def _answered(self, device: Device, scan: Scan) -> None:
        now = self._clock.monotonic()
        health = device.health
        if health.since is not None:
            log.info(
                "device_back", device=device.name, after_s=round(now - health.since, 1), failed_polls=health.failures
            )
        elif health.last_answer is None:
            log.info("device_found", device=device.name, address=device.address, readings=len(scan.readings))
        health.answered(now)
        partial = "; ".join(sorted({str(error) for error in scan.errors})) or None
        if partial != health.partial:
            if partial:
                log.warning("device_partial", device=device.name, reason=partial)
            else:
                log.info("device_complete", device=device.name)
            health.partial = partial
        self._sink.observe(device, scan)


async def within(futures: Sequence[asyncio.Future[None]], clock: Clock, seconds: float) -> bool:
    """Wait for all `futures`, `seconds` at most; whether all are done."""
    everything = asyncio.gather(*futures)
    timer = asyncio.ensure_future(clock.sleep(max(0.0, seconds)))
    both: set[asyncio.Future[Any]] = {everything, timer}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return everything.done()
    finally:
        timer.cancel()
        everything.cancel()
