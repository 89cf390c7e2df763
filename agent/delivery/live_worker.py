"""The live worker: the messages of the newest tick, until they are delivered or a newer tick supersedes them."""

from __future__ import annotations

import asyncio

from agent.delivery.attempt import Attempts
from agent.delivery.circuit_breaker import EndpointHealth, State
from agent.delivery.queue import OutboxExecutor
from agent.delivery.outcome import Retry, Stopped
from agent.outbox import Outbox, Record
from agent.runtime import STUCK_S, Clock, Watchdog, sleep_unless

_TICKS_UNDER_WAY = 2
# How often the token is looked at while the endpoint takes none.
_TOKEN_S = 5.0
# What a new message waits for: whatever this worker does, it looks up for it.
_LIVE = "live push"


class LiveWorker:
    """Retries with full jitter; what is superseded is backlog."""

    def __init__(
        self,
        outbox: Outbox,
        attempt: Attempts,
        health: EndpointHealth,
        *,
        disk: OutboxExecutor,
        clock: Clock,
        watchdog: Watchdog,
    ) -> None:
        self.waits = False
        """Messages of the newest tick are not delivered yet."""
        self._outbox = outbox
        self._attempt = attempt
        self._health = health
        self._disk = disk
        self._clock = clock
        self._watchdog = watchdog
        self._tick = 0
        self._fresh = asyncio.Event()
        self._superseded = asyncio.Event()
        """The newest tick is not that any more; one event for each."""
        self._stopping = False

    def supersede(self, timeout_s: float) -> None:
        """A newer tick has stored its messages; an attempt takes `timeout_s` at most."""
        self._tick += 1
        self._superseded.set()
        self._superseded = asyncio.Event()
        self.waits = True
        self._watchdog.expect(_LIVE, timeout_s + STUCK_S)
        self._fresh.set()

    def wake(self) -> None:
        """More messages of the newest tick may be ready."""
        self._fresh.set()

    def stop(self) -> None:
        self._stopping = True
        self._superseded.set()
        self._watchdog.done(_LIVE)
        self._fresh.set()

    async def run(self) -> None:
        """A newer tick does not wait for an attempt of an older one that hangs; but at most two are under way."""
        ticks: set[asyncio.Task[None]] = set()
        # By seq, the tick that a message was handed out for: dating wakes this loop too, and a message in two hands
        # would be sent twice.
        handed: dict[int, int] = {}
        async with asyncio.TaskGroup() as group:
            while not self._stopping:
                await self._fresh.wait()
                if len(ticks) >= _TICKS_UNDER_WAY:
                    await asyncio.wait(ticks, return_when=asyncio.FIRST_COMPLETED)
                self._fresh.clear()
                self._watchdog.done(_LIVE)
                tick = self._tick
                records = await self._disk(self._outbox.live)
                new = [record for record in records if handed.get(record.seq) != tick]
                handed = {record.seq: tick for record in records}
                ticks = {each for each in ticks if not each.done()}
                if new or not records:
                    self.waits = True
                    ticks.add(group.create_task(self._deliver(tick, dict.fromkeys(new, 0.0))))

    async def _deliver(self, tick: int, due: dict[Record, float]) -> None:
        """Until all are delivered or parked, or a newer tick is there; `due` in monotonic seconds."""
        while due and tick == self._tick and not self._stopping:
            record = min(due, key=lambda each: due[each])
            wait_s = max(due[record] - self._clock.monotonic(), self._attempt.held_s())
            if wait_s > 0:
                await sleep_unless(
                    self._clock, min(wait_s, _TOKEN_S) if self._attempt.held_s() else wait_s, self._superseded
                )
                continue
            outcome, again_s = await self._attempt(record)
            del due[record]
            now = await self._disk(self._outbox.get, record)
            if now is None or now.parked is not None or isinstance(outcome, Stopped):
                continue
            again = self._clock.monotonic() + again_s
            if self._health.state is State.MISCONFIGURED:
                again = 0.0  # `held_s` says when
            elif isinstance(outcome, Retry):
                due = dict.fromkeys(due, again)  # the others would fare no better
            due[now] = again
        if tick == self._tick:
            self.waits = False
