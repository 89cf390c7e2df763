"""Polling: one task per link; who asks for a round gets a future per link.

- Links never wait for each other; what happens on one of them is told in `agent.polling.link_worker`.
- The site can be replaced while it is polled: links and devices that are the same objects go on as they were.
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
"""From one look for polls that must be ended to the next."""


class Poller:
    """Polls every connection of a site, a round each time `request` is called."""

    def __init__(
        self,
        connections: Sequence[Connection],
        clock: Clock,
        listener: PollListener,
        watchdog: Watchdog | None = None,
        nights: Mapping[str, Night] = MappingProxyType({}),
    ) -> None:
        """`nights`, by node id, is read when a device does not answer: it may be asleep."""
        self._clock = clock
        self._listener = listener
        self._nights = nights
        self._watchdog = watchdog or Watchdog(clock)
        self._lines = [self._line(connection) for connection in connections]
        self._group: asyncio.TaskGroup | None = None

    def request(self) -> list[asyncio.Future[None]]:
        """Ask for a round; a future per link is done when each of its devices has answered or failed."""
        return [line.request() for line in self._lines]

    async def run(self) -> None:
        """Poll until cancelled, then close every link."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for line in self._lines:
                    line.start(self._group)
                while True:
                    await asyncio.sleep(LOOK_S)
                    for line in self._lines:
                        line.end_overdue()
        finally:
            self._group = None
            await asyncio.gather(*(line.link.close() for line in self._lines))

    async def replace(self, connections: Sequence[Connection]) -> None:
        """Poll these from now on. A link that is still there stays open; one that is not is closed first."""
        gone = {id(line.link): line for line in self._lines}
        lines = []
        for connection in connections:
            line = gone.pop(id(connection.link), None) or self._line(connection)
            line.devices = connection.devices
            lines.append(line)
        self._lines = lines
        for line in gone.values():
            line.devices = ()
        await asyncio.gather(*(line.end() for line in gone.values()))
        if self._group is not None:
            for line in lines:
                line.start(self._group)

    def _line(self, connection: Connection) -> LinkWorker:
        return LinkWorker(connection, self._clock, self._listener, self._watchdog, self._nights)


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
