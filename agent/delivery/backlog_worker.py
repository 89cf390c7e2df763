"""The backlog worker: sends the messages of earlier ticks, the oldest first, at a pace that `pacing` decides."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from agent.delivery.attempt import Attempts
from agent.delivery.circuit_breaker import CircuitBreaker
from agent.delivery.outcome import Delivered
from agent.delivery.pacing import SendSlot
from agent.delivery.queue import DeliveryQueue
from agent.delivery.stats import DeliveryStats, State
from agent.outbox import Record
from agent.runtime import Clock, sleep_unless

# Seconds between two reads of the queue while no message of the backlog is due, and between two checks while live
# messages come first.
_IDLE_S = 1.0
# Seconds between two reads of the queue without a backlog. These reads find what a command put back into the queue.
_ASLEEP_S = 30.0
# Maximum number of messages that one read returns.
_READ_AT_ONCE = 16


class BacklogWorker:
    """Sends the backlog. While the endpoint is not well, the retries of live messages come first."""

    def __init__(
        self,
        queue: DeliveryQueue,
        attempts: Attempts,
        breaker: CircuitBreaker,
        stats: DeliveryStats,
        *,
        clock: Clock,
        steady_time: Callable[[], float],
        slot: SendSlot,
        live_open: Callable[[], int],
        live_within_s: float,
    ) -> None:
        """`live_open` returns the number of live messages whose retries have not ended.

        `steady_time` returns the present Unix second. A step of the wall clock after the start does not change it.
        After the start, the backlog waits for the first attempt of a live message, but at most `live_within_s` seconds.
        """
        self._queue = queue
        self._attempts = attempts
        self._breaker = breaker
        self._stats = stats
        self._clock = clock
        self._steady_time = steady_time
        self._slot = slot
        self._live_open = live_open
        self._read: deque[Record] = deque()
        """Messages that were read from the queue and are not sent yet, oldest first."""
        self._next_read_at = 0.0
        """From this monotonic second on, the queue is read even if `DeliveryQueue.waiting` shows no backlog. With a
        backlog, the queue is read without waiting for this second."""
        self._stopping = False
        self._live_wait_until = clock.monotonic() + live_within_s

    def stop(self) -> None:
        self._stopping = True
        self._slot.changed.set()

    async def run(self) -> None:
        self._slot.begin(self._clock.monotonic(), await self._queue.count())
        while not self._stopping:
            self._slot.changed.clear()
            wait_s = await self._wait_s()
            if wait_s > 0:
                if wait_s > _IDLE_S:
                    self._read.clear()
                await sleep_unless(self._clock, wait_s, self._slot.changed)
            elif self._read:
                await self._send(self._read.popleft())

    async def _wait_s(self) -> float:
        """Return 0 if the first message in `_read` may be sent now, else the seconds until the worker checks again.

        If `_read` is empty when a message may be sent, read the queue.
        """
        now = self._clock.monotonic()
        wait_s = max(self._slot.at, self._breaker.backlog_at()) - now
        if wait_s > 0:
            return wait_s
        if not self._attempts.live_went and now < self._live_wait_until:
            return _IDLE_S  # after a start, the endpoint gets a live message first
        if self._stats.state is not State.WELL and self._live_open():
            return _IDLE_S  # the retries of live messages come first
        if self._read:
            return 0.0
        if self._queue.waiting <= self._live_open() and now < self._next_read_at:
            return self._next_read_at - now
        self._attempts.settled.clear()
        in_flight = frozenset(self._attempts.in_flight)
        self._read.extend(await self._queue.backlog(self._steady_time(), in_flight, _READ_AT_ONCE))
        idle_s = 0.0 if self._read else _IDLE_S if self._queue.waiting > self._live_open() else _ASLEEP_S
        self._next_read_at = now + idle_s
        return idle_s

    async def _send(self, record: Record) -> None:
        if record.seq in self._attempts.settled:
            return  # the message had an attempt of the live worker since the read began
        self._slot.take(self._clock.monotonic(), self._queue.waiting)
        if not isinstance(await self._attempts.send(record, live=False), Delivered):
            self._read.clear()  # read the queue again, so that this message is the next one as soon as it is due
