"""The live worker: sends the messages of the newest tick until they are delivered or a newer tick replaces them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agent.delivery.live_tick import LiveTick
from agent.delivery.queue import DeliveryQueue
from agent.delivery.retry import RetryLink
from agent.outbox import Record
from agent.runtime import STUCK_S, Watchdog

# A newer tick does not wait for an attempt of an older one that hangs, but no more than this many run at once.
_TICKS_AT_ONCE = 2
# The watchdog's name for a new message that waits for this worker.
_LIVE = "live push"


class LiveWorker:
    """Each message of a tick has its own retries. They share the turns of their tick."""

    def __init__(self, queue: DeliveryQueue, retry: RetryLink, watchdog: Watchdog) -> None:
        self._queue = queue
        self._retry = retry
        self._watchdog = watchdog
        self._tick = LiveTick()
        self._fresh = asyncio.Event()
        self._stopping = False

    @property
    def open(self) -> int:
        """Messages of the newest tick that are not settled."""
        return self._tick.open

    def start(self, records: Sequence[Record], timeout_s: float) -> None:
        """Send the messages of a newer tick; an attempt takes `timeout_s` at most."""
        self._tick.over.set()
        self._tick = LiveTick(new=list(records), open=len(records), offered={record.seq for record in records})
        self._watchdog.expect(_LIVE, timeout_s + STUCK_S)
        self._fresh.set()

    async def look_again(self) -> None:
        """Undated messages of the newest tick may have their time now."""
        tick = self._tick
        records = await self._queue.live()
        if tick is self._tick and not self._stopping:
            tick.offer(records)
            self._fresh.set()

    def stop(self) -> None:
        """Start no other attempt."""
        self._stopping = True
        self._tick.over.set()
        self._watchdog.done(_LIVE)
        self._fresh.set()

    async def run(self) -> None:
        """Run until stopped."""
        running: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while not self._stopping:
                await self._fresh.wait()
                if len(running) >= _TICKS_AT_ONCE:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                self._fresh.clear()
                self._watchdog.done(_LIVE)
                running = {each for each in running if not each.done()}
                tick = self._tick
                records, tick.new = tick.new, []
                if records:
                    running.add(group.create_task(self._deliver(tick, records)))

    async def _deliver(self, tick: LiveTick, records: list[Record]) -> None:
        async with asyncio.TaskGroup() as group:
            for record in records:
                group.create_task(self._retry.send(record, tick))
