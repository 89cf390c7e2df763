"""One attempt of one message: never two of the same at once, none once the agent stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from agent.delivery.circuit_breaker import State
from agent.delivery.http_client import Endpoint
from agent.delivery.queue import OutboxExecutor
from agent.delivery.outcome import Outcome, Stopped
from agent.delivery.outcome_handler import OutcomeHandler
from agent.outbox import Outbox, Record
from agent.runtime import STUCK_S, Clock, Watchdog

log = structlog.get_logger(__name__)


class Attempts:
    """Both workers make theirs here."""

    def __init__(
        self,
        endpoint: Endpoint,
        outbox: Outbox,
        settle: OutcomeHandler,
        *,
        timeout_s: float,
        disk: OutboxExecutor,
        clock: Clock,
        watchdog: Watchdog,
        on_outcome: Callable[[Record, Outcome], None] | None,
    ) -> None:
        self.in_flight: set[int] = set()
        self.settled: set[int] = set()
        """By seq, what has been tried since somebody cleared it."""
        self._endpoint = endpoint
        self._outbox = outbox
        self._settle = settle
        self._timeout_s = timeout_s
        self._disk = disk
        self._clock = clock
        self._watchdog = watchdog
        self._on_outcome = on_outcome
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    async def __call__(self, record: Record, waiting: int | None = None) -> tuple[Outcome, float]:
        """The outcome, and in how many seconds another attempt makes sense; `waiting` as it was just counted."""
        if self._stopping or record.seq in self.in_flight:
            return Stopped(), 0.0
        self.in_flight.add(record.seq)
        self._idle.clear()
        try:
            if waiting is None:
                waiting = (await self._disk(self._outbox.counts)).waiting
            with self._watchdog.running("push", self._timeout_s + STUCK_S):
                outcome = await self._endpoint.post(record, max(0, waiting - 1))
            again_s = await self._settle(record, outcome)
        finally:
            self.in_flight.discard(record.seq)
            self.settled.add(record.seq)
            if not self.in_flight:
                self._idle.set()
        if self._on_outcome is not None:
            self._on_outcome(record, outcome)
        return outcome, again_s

    def held_s(self) -> float:
        """How long nothing at all may be sent. A new token is reason enough to try at once."""
        health = self._settle.health
        held_s = health.held_until - self._clock.monotonic()
        if held_s > 0 and health.state is State.MISCONFIGURED and self._endpoint.token_changed():
            health.release()
            return 0.0
        return max(0.0, held_s)

    def stop(self) -> None:
        """Start no other."""
        self._stopping = True

    async def ended(self, grace_s: float) -> None:
        """Wait for those in flight, `grace_s` at most. What is not delivered stays queued."""
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            log.info("attempt_left_in_queue")
