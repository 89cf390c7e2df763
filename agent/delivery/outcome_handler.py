"""What an outcome means for the message, for the endpoint's health, for the counters and for the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from agent.config import PushConfig
from agent.delivery.circuit_breaker import Backoff, EndpointHealth, State
from agent.delivery.queue import OutboxExecutor
from agent.delivery.outcome import Delivered, Misconfigured, Outcome, Refused, Retry
from agent.delivery.pacing import SendSlot
from agent.outbox import Outbox, Record
from agent.runtime import Clock

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class DeliveryStats:
    """Counted since the start."""

    attempts: int = 0
    delivered: int = 0
    refused: int = 0
    parked: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Attempts that did not deliver, by kind: `http_503`, `timeout`, `dns`, …"""
    last_delivery: float | None = None
    """Unix seconds."""
    last_failure: str | None = None
    """In words; None while the endpoint is well."""


class OutcomeHandler:
    """Called with each outcome; keeps what the attempts so far say about the endpoint."""

    def __init__(
        self,
        config: PushConfig,
        outbox: Outbox,
        *,
        disk: OutboxExecutor,
        clock: Clock,
        due_time: Callable[[], float],
        slot: SendSlot,
        stats: DeliveryStats,
    ) -> None:
        self.health = EndpointHealth(Backoff(config.retry.initial_s, config.retry.max_s))
        self.stats = stats
        self._config = config
        self._outbox = outbox
        self._disk = disk
        self._clock = clock
        self._due_time = due_time
        self._slot = slot
        self._paged = False
        """The last message that was delivered was answered with a page for people."""

    async def __call__(self, record: Record, outcome: Outcome) -> float:
        """In how many seconds another attempt of this message makes sense."""
        self.stats.attempts += 1
        if isinstance(outcome, Delivered):
            await self._disk(self._outbox.ack, record)
            await self._delivered(record.seq)
            if outcome.page and not self._paged:
                log.warning("endpoint_answers_with_a_page", message=record.id, url=self._config.shown_url)
            self._paged = outcome.page
            return 0.0
        self.stats.failures[outcome.kind] += 1
        if isinstance(outcome, Refused):
            return await self._refused(record, outcome)
        if isinstance(outcome, Misconfigured):
            again_s = self._misconfigured(record, outcome.reason)
            await self._tried(record, 0.0)
            return again_s
        if isinstance(outcome, Retry):
            again_s = self._failed(record, outcome)
            if outcome.after_s:
                self._slot.hold(self.health.held_until, (await self._disk(self._outbox.counts)).waiting)
            # A message that alone makes the receiver fail falls behind the others.
            again_s_alone = max(again_s, self.health.backoff(record.attempts + 1)) if outcome.reached else 0.0
            await self._tried(record, again_s_alone)
            return again_s
        return 0.0

    async def _tried(self, record: Record, again_s: float, **changes: Any) -> Record:
        tried = replace(record, attempts=record.attempts + 1, next_try=self._due_time() + again_s, **changes)
        await self._disk(self._outbox.update, tried)
        return tried

    async def _delivered(self, seq: int) -> None:
        now = self._clock.monotonic()
        self.stats.delivered += 1
        self.stats.last_delivery = self._clock.time()
        self.stats.last_failure = None
        if self.health.state is not State.WELL:
            backlog = (await self._disk(self._outbox.counts)).waiting
            log.info("push_recovered", after_s=round(now - self.health.since, 1), backlog=backlog)
            self._slot.begin(now, backlog)
            self._slot.changed.set()
        self.health.delivered(seq)

    def _failed(self, record: Record, outcome: Retry) -> float:
        news, again_s = self.health.failed(self._clock.monotonic(), outcome.after_s)
        self.stats.last_failure = outcome.reason
        (log.warning if news else log.debug)(
            "push_failed",
            message=record.id,
            url=self._config.shown_url,
            reason=outcome.reason,
            again_s=round(again_s, 1),
        )
        return again_s

    def _misconfigured(self, record: Record, reason: str) -> float:
        news, again_s = self.health.misconfigured(self._clock.monotonic())
        self.stats.last_failure = reason
        (log.error if news else log.debug)(
            "endpoint_misconfigured",
            message=record.id,
            url=self._config.shown_url,
            reason=reason,
            again_s=round(again_s, 1),
        )
        return again_s

    async def _refused(self, record: Record, outcome: Refused) -> float:
        self.stats.refused += 1
        refusals = record.refusals + 1
        if self.health.refuse(record, self._slot.per_tick):
            await self._tried(record, 0.0, refusals=refusals)
            await self._revive()
            return self._misconfigured(record, f"several different messages refused, the last with {outcome.reason}")
        if refusals >= self._config.retry.dead_letter_after:
            parked = await self._tried(record, 0.0, refusals=refusals, parked=outcome.reason)
            self.health.parked.append(parked)
            self.stats.parked += 1
            log.warning("message_parked", id=record.id, reason=outcome.reason, refusals=refusals)
            return 0.0
        again_s = self.health.backoff(refusals)
        await self._tried(record, again_s, refusals=refusals)
        (log.warning if refusals == 1 else log.debug)("message_refused", id=record.id, reason=outcome.reason)
        return again_s

    async def _revive(self) -> None:
        """It was not the fault of those that were parked since the last delivery."""
        for record in self.health.parked:
            self.stats.parked -= 1
            await self._disk(self._outbox.update, replace(record, parked=None))
            log.info("message_revived", id=record.id)
        self.health.parked.clear()
