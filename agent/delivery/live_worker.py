"""Live worker: sends the messages of the newest tick until they are delivered, parked or replaced by a newer tick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from agent.delivery.live_tick import LiveTick
from agent.delivery.queue import DeliveryQueue
from agent.delivery.retry import RetryLink
from agent.outbox import Record
from agent.runtime import STUCK_S, Watchdog

# Maximum number of ticks that have attempts at the same time. With 2, the newest tick does not wait while the attempts
# of one older tick hang.
_TICKS_AT_ONCE = 2
# The watchdog's name for a new message that waits for this worker.
_LIVE = "live push"


class LiveWorker:
    """Sends each message of a tick in a task of its own. `LiveTick.width` limits the parallel attempts."""

    def __init__(
        self,
        queue: DeliveryQueue,
        retry: RetryLink,
        watchdog: Watchdog,
        *,
        on_superseded: Callable[[int, int], bool],
    ) -> None:
        """`on_superseded(made, tried)` gets the number of messages of a replaced tick, and how many had an attempt.

        It is called for each replaced tick in which one or more messages had no attempt. After a call that returned
        True, it is also called for the next tick with messages, even if all of them had an attempt.
        """
        self._queue = queue
        self._retry = retry
        self._watchdog = watchdog
        self._tick = LiveTick()
        self._fresh = asyncio.Event()
        """Set when the newest tick may have messages without a task, or when the worker must stop."""
        self._stopping = False
        self._on_superseded = on_superseded
        self._first = 0
        """Index of the record that is sent first in the present tick."""
        self._late = False
        """Whether `on_superseded` is called for the present tick even if all its messages had an attempt."""

    @property
    def open(self) -> int:
        return self._tick.open

    def start(self, records: Sequence[Record], timeout_s: float) -> None:
        """Send the messages of a newer tick. `timeout_s` is the time-out of an attempt in seconds.

        If the previous tick had messages without an attempt, this tick begins where the previous one ended. So
        the messages that cannot be sent in time are not always those of the same nodes.
        """
        before = self._tick
        before.over.set()
        if made := len(before.offered):
            tried = len(before.tried)
            if tried < made or self._late:
                self._late = self._on_superseded(made, tried)
            self._first = self._first + tried if tried < made else 0
        if records:
            self._first %= len(records)
            records = [*records[self._first :], *records[: self._first]]
        self._tick = LiveTick(new=list(records), open=len(records), offered={record.seq for record in records})
        self._watchdog.expect(_LIVE, timeout_s + STUCK_S)
        self._fresh.set()

    async def offer_dated(self) -> None:
        """Send the messages of the newest tick that have just got their date."""
        tick = self._tick
        tick.offer(await self._queue.live())  # no effect if a newer tick replaced `tick` meanwhile
        self._fresh.set()

    def stop(self) -> None:
        self._stopping = True
        self._tick.over.set()
        self._watchdog.done(_LIVE)
        self._fresh.set()

    async def run(self) -> None:
        running: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while not self._stopping:
                await self._fresh.wait()
                if len(running) >= _TICKS_AT_ONCE:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                self._fresh.clear()
                self._watchdog.done(_LIVE)
                tick = self._tick
                records, tick.new = tick.new, []
                if records:
                    delivering = group.create_task(self._deliver(tick, records))
                    running.add(delivering)
                    delivering.add_done_callback(running.discard)

    async def _deliver(self, tick: LiveTick, records: list[Record]) -> None:
        async with asyncio.TaskGroup() as group:
            for record in records:
                group.create_task(self._retry.send(record, tick))
