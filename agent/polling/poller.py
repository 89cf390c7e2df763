"""Polls the devices of a site, with one task per link.

- `agent.polling.schedule` decides when a device is polled. `agent.polling.link_worker` polls the devices of a link.
- Links do not wait for each other, except for a turn to connect (`drivers.modbus.turns`).
- A reload can replace the site. Links and devices that are the same objects before and after keep their state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

from agent.domain import Night
from agent.polling.device import Connection, PollListener
from agent.polling.link_worker import LinkWorker
from agent.polling.schedule import Schedule
from agent.runtime import Clock, Watchdog

OVERDUE_CHECK_S = 2.0
"""Seconds between two checks for overdue polls."""


class Poller:
    """Polls every connection of a site: at the due times of each device, and at each call of `request`.

    A lost device is polled less often.
    """

    def __init__(
        self,
        connections: Sequence[Connection],
        clock: Clock,
        listener: PollListener,
        watchdog: Watchdog | None = None,
        nights: Mapping[str, Night] = MappingProxyType({}),
    ) -> None:
        """`nights`: node id → night."""
        self._clock = clock
        self._listener = listener
        self._nights = nights
        if watchdog is not None:
            watchdog.watch(lambda: chain.from_iterable(worker.in_progress() for worker in self._workers))
        self._workers = [self._worker(connection) for connection in connections]
        self._schedule = Schedule(clock)
        self._group: asyncio.TaskGroup | None = None

    def align(self, push_s: float, at: float) -> None:
        """Count the due times from the pushes: one push every `push_s` seconds, one of them at monotonic second `at`.

        The first call starts the schedule. It gives each device one more due time, so that no device waits a whole
        interval: the time of the call plus the lead of the link (`agent.polling.due_times`; 0 s for up to 64 links). If
        the device has another due time until then, the additional one is omitted.
        """
        self._schedule.release()
        if self._schedule.align(push_s, at):
            self._schedule.use(self._workers)

    def request(self) -> list[asyncio.Future[None]]:
        """Poll all devices now. Return one future per link. It is done when the link's devices answered or failed.

        A lost device that the round of its link does not probe counts as failed.
        """
        return [worker.request() for worker in self._workers]

    def answers(self, within_s: float) -> list[asyncio.Future[None]]:
        """Return the futures of the due polls that are probably complete within `within_s` seconds, one per link.

        A link without such a poll has no future.
        """
        self._schedule.release()
        return [answer for worker in self._workers if (answer := worker.answers(within_s)) is not None]

    async def run(self) -> None:
        """Poll until cancelled, then close every link."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for worker in self._workers:
                    worker.start(self._group)
                self._group.create_task(self._schedule.run())
                while True:
                    await asyncio.sleep(OVERDUE_CHECK_S)
                    for worker in self._workers:
                        worker.end_overdue()
        finally:
            self._group = None
            await asyncio.gather(*(worker.link.close() for worker in self._workers))

    async def replace(self, connections: Sequence[Connection]) -> None:
        """Poll these connections from now on. Their links stay open if they are open; all other links are closed."""
        self._schedule.release()
        gone = {id(worker.link): worker for worker in self._workers}
        workers = []
        for connection in connections:
            worker = gone.pop(id(connection.link), None) or self._worker(connection)
            worker.replace(connection.devices)
            workers.append(worker)
        self._workers = workers
        self._schedule.use(workers)
        for worker in gone.values():
            worker.replace(())
        await asyncio.gather(*(worker.end() for worker in gone.values()))
        if self._group is not None:
            for worker in workers:
                worker.start(self._group)

    def _worker(self, connection: Connection) -> LinkWorker:
        return LinkWorker(connection, self._clock, self._listener, self._nights)


async def done_within(futures: Sequence[asyncio.Future[None]], clock: Clock, seconds: float) -> bool:
    """Wait for all `futures`, at most for `seconds`. Return whether all are done. Cancel those that are not."""
    everything = asyncio.gather(*futures)
    # asyncio logs the exception of a future if no code reads it.
    everything.add_done_callback(lambda done: done.cancelled() or done.exception())
    timer = asyncio.ensure_future(clock.sleep(max(0.0, seconds)))
    both: set[asyncio.Future[Any]] = {everything, timer}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return everything.done()
    finally:
        timer.cancel()
        everything.cancel()
