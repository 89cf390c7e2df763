"""Makes the attempts. A message has at most one attempt at a time. No attempt starts after `stop`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from agent.delivery.circuit_breaker import CircuitBreaker
from agent.delivery.http_client import Endpoint
from agent.delivery.outcome import Outcome, Stopped
from agent.delivery.outcome_handler import OutcomeHandler
from agent.delivery.queue import DeliveryQueue
from agent.delivery.stats import State
from agent.outbox import Record
from agent.runtime import STUCK_S, Clock, Watchdog

log = structlog.get_logger(__name__)


class Attempts:
    """Makes the attempts for the live worker and for the backlog worker."""

    def __init__(
        self,
        endpoint: Endpoint,
        queue: DeliveryQueue,
        handler: OutcomeHandler,
        breaker: CircuitBreaker,
        *,
        timeout_s: float,
        clock: Clock,
        watchdog: Watchdog,
        on_outcome: Callable[[Record, Outcome], None] | None,
    ) -> None:
        self.in_flight: set[int] = set()
        """Seqs of messages with an attempt in progress."""
        self.settled: set[int] = set()
        """Seqs of messages whose attempt has ended since the backlog worker began its last read of the queue."""
        self.live_went = False
        """Whether a live message had an attempt since this object was created."""
        self._endpoint = endpoint
        self._queue = queue
        self._handler = handler
        self._breaker = breaker
        self._timeout_s = timeout_s
        self._clock = clock
        self._watchdog = watchdog
        self._on_outcome = on_outcome
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    async def send(self, record: Record, *, live: bool) -> Outcome:
        """Send the message, handle the outcome and return it. `live`: whether the message is one of the newest tick.

        After `stop`, or if the message already has an attempt in progress, return `Stopped` without an attempt.
        """
        if self._stopping or record.seq in self.in_flight:
            return Stopped()
        self.in_flight.add(record.seq)
        self._idle.clear()
        began = self._clock.monotonic()
        try:
            with self._watchdog.running("push", self._timeout_s + STUCK_S):
                outcome = await self._endpoint.post(record, max(0, self._queue.waiting - 1))
            outcome = await self._handler.handle(record, outcome, live=live, began=began)
        finally:
            self.live_went |= live
            self.in_flight.discard(record.seq)
            self.settled.add(record.seq)
            if not self.in_flight:
                self._idle.set()
        if self._on_outcome is not None:
            self._on_outcome(record, outcome)
        return outcome

    def released_by_token(self) -> bool:
        """If the endpoint is misconfigured and there is a new token, end the pause and return True."""
        if self._handler.stats.state is not State.MISCONFIGURED or not self._endpoint.token_changed():
            return False
        self._breaker.release()
        return True

    def stop(self) -> None:
        self._stopping = True

    async def ended(self, grace_s: float) -> None:
        """Wait up to `grace_s` seconds for the attempts in flight."""
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            log.info("attempt_left_in_queue")
