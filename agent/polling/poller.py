"""Polling: one task per link. The caller requests a round and gets one future per link.

- Links never wait for each other. `agent.polling.link_worker` describes what happens on a link.
- The site can be replaced during polling: links and devices that are the same objects keep their state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from agent.domain import Night
from agent.polling.device import Connection, PollListener
from agent.polling.link_worker import LinkWorker
from agent.runtime import Clock, Watchdog

LOOK_S = 2.0
"""Seconds between two checks for overdue polls."""


class Poller:
    """Polls every connection of a site: one round for each call of `request`."""

    def __init__(
        self,
        connections: Sequence[Connection],
        clock: Clock,
        listener: PollListener,
        watchdog: Watchdog | None = None,
        nights: Mapping[str, Night] = MappingProxyType({}),
    ) -> None:
        """`nights`, by node id, is used when a device does not answer, because it may be asleep."""
        self._clock = clock
        self._listener = listener
        self._nights = nights
        self._watchdog = watchdog or Watchdog(clock)
        self._workers = [self._worker(connection) for connection in connections]
        self._group: asyncio.TaskGroup | None = None

    def request(self) -> list[asyncio.Future[None]]:
        """Request a round. Return one future per link; it is done when each device of the link answered or failed."""
        return [worker.request() for worker in self._workers]

    async def run(self) -> None:
        """Poll until cancelled, then close every link."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for worker in self._workers:
                    worker.start(self._group)
                while True:
                    await asyncio.sleep(LOOK_S)
                    for worker in self._workers:
                        worker.end_overdue()
        finally:
            self._group = None
            await asyncio.gather(*(worker.link.close() for worker in self._workers))

    async def replace(self, connections: Sequence[Connection]) -> None:
        """Poll these connections from now on. Links that are also in `connections` stay open; the others are closed."""
        gone = {id(worker.link): worker for worker in self._workers}
        workers = []
        for connection in connections:
            worker = gone.pop(id(connection.link), None) or self._worker(connection)
            worker.devices = connection.devices
            workers.append(worker)
        self._workers = workers
        for worker in gone.values():
            worker.devices = ()
        await asyncio.gather(*(worker.end() for worker in gone.values()))
        if self._group is not None:
            for worker in workers:
                worker.start(self._group)

    def _worker(self, connection: Connection) -> LinkWorker:
        return LinkWorker(connection, self._clock, self._listener, self._watchdog, self._nights)


async def within(futures: Sequence[asyncio.Future[None]], clock: Clock, seconds: float) -> bool:
    """Wait for all `futures`, at most for `seconds`. Return whether all are done."""
    everything = asyncio.gather(*futures)
    timer = asyncio.ensure_future(clock.sleep(max(0.0, seconds)))
    both: set[asyncio.Future[Any]] = {everything, timer}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return everything.done()
    finally:
        timer.cancel()
        everything.cancel()
