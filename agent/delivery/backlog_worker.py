"""The backlog worker: oldest first, at its own pace, while the endpoint takes messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from agent.delivery.attempt import Attempts
from agent.delivery.circuit_breaker import EndpointHealth, State
from agent.delivery.queue import OutboxExecutor
from agent.delivery.outcome import Delivered
from agent.delivery.pacing import SendSlot
from agent.outbox import Outbox, Record
from agent.runtime import Clock, sleep_unless

# How soon a message is looked at after its due time; a dead letter that was revived from outside, when nothing else
# waits.
_IDLE_S = 1.0
_ASLEEP_S = 30.0
# Where it goes fast.
_READ_AT_ONCE = 16


class BacklogWorker:
    """Leaves it to the newest message to try an endpoint that is not well."""

    def __init__(
        self,
        outbox: Outbox,
        attempt: Attempts,
        health: EndpointHealth,
        *,
        disk: OutboxExecutor,
        clock: Clock,
        due_time: Callable[[], float],
        slot: SendSlot,
        live_waits: Callable[[], bool],
    ) -> None:
        self._outbox = outbox
        self._attempt = attempt
        self._health = health
        self._disk = disk
        self._clock = clock
        self._due_time = due_time
        self._slot = slot
        self._live_waits = live_waits
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True
        self._slot.changed.set()

    async def run(self) -> None:
        self._slot.begin(self._clock.monotonic(), (await self._disk(self._outbox.counts)).waiting)
        read: deque[Record] = deque()
        waiting = 0
        while not self._stopping:
            self._slot.changed.clear()
            now = self._clock.monotonic()
            wait_s = max(self._slot.at, self._health.retry_at, self._health.held_until) - now
            if wait_s > 0:
                if wait_s > _IDLE_S:
                    read.clear()
                await sleep_unless(self._clock, wait_s, self._slot.changed)
                continue
            if self._health.state is not State.WELL and self._live_waits():
                await sleep_unless(self._clock, _IDLE_S, self._slot.changed)  # the newest tries the endpoint
                continue
            if not read:
                self._attempt.settled.clear()
                records, waiting = await self._disk(self._oldest_due, frozenset(self._attempt.in_flight))
                read.extend(records)
            if not read:
                await sleep_unless(self._clock, _IDLE_S if waiting else _ASLEEP_S, self._slot.changed)
                continue
            record = read.popleft()
            if record.seq in self._attempt.settled:
                continue  # by the live worker, since the disk was asked
            self._slot.take(now, waiting)
            outcome, _ = await self._attempt(record, waiting)
            if not isinstance(outcome, Delivered):
                read.clear()  # it is the oldest again
            waiting -= 1

    def _oldest_due(self, skip: frozenset[int]) -> tuple[list[Record], int]:
        return self._outbox.backlog(self._due_time(), skip, _READ_AT_ONCE), self._outbox.counts().waiting
