"""Applies the outcome of an attempt to the message, the state of the endpoint, the counters and the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from agent.delivery.circuit_breaker import CircuitBreaker
from agent.delivery.endpoint_memory import EndpointMemory
from agent.delivery.live_rate import LiveRate
from agent.delivery.outcome import Delivered, Misconfigured, Outcome, Refused, Retry
from agent.delivery.pacing import SendSlot
from agent.delivery.queue import DeliveryQueue
from agent.delivery.stats import DeliveryStats, State
from agent.outbox import MAX_WAIT_S, Record
from agent.runtime import Clock

if TYPE_CHECKING:
    from agent.config import PushConfig

log = structlog.get_logger(__name__)

_DAY_S = 86_400.0
# Maximum number of causes that the log reports in one outage.
_MOST_CAUSES = 8
# Maximum seconds that a message waits for its next attempt. If the wait is `MAX_WAIT_S` or longer, the queue assumes
# that the clock was set back, and returns the message at once. The margin of 1 % is for rounding.
_MOST_AGAIN_S = 0.99 * MAX_WAIT_S


class OutcomeHandler:
    """Handles the outcomes of one endpoint. No other class passes outcomes to `DeliveryStats` or to the breaker."""

    def __init__(
        self,
        config: PushConfig,
        queue: DeliveryQueue,
        breaker: CircuitBreaker,
        stats: DeliveryStats,
        *,
        clock: Clock,
        steady_time: Callable[[], float],
        slot: SendSlot,
        memory: EndpointMemory,
    ) -> None:
        self.stats = stats
        self._config = config
        self._queue = queue
        self._breaker = breaker
        self._clock = clock
        self._steady_time = steady_time
        self._slot = slot
        self._memory = memory
        self._rate = LiveRate(config.interval_s)
        self._logged_causes: set[str] = set()
        """Causes that the log has reported since the last delivery."""
        self._answered_without_page = False
        """Whether the endpoint ever answered 2xx without a web page."""
        self._page_logged_at: float | None = None
        """Monotonic second at which the log last reported a web page; None before the first one, and after a 2xx answer
        without a web page."""

    async def recall(self) -> None:
        """Restore what was learned of the endpoint before a restart or reload. Call once, before the first attempt."""
        if live_s := await self._memory.recall():
            self.stats.pause_continues(self._clock.monotonic())
            log.warning("pause_continues", url=self._config.shown_url, again_s=round(live_s, 1))

    async def handle(self, record: Record, outcome: Outcome, *, live: bool, began: float) -> Outcome:
        """Handle the outcome of an attempt that began at monotonic second `began`.

        `live`: whether the message was one of the newest tick when it was sent.

        Return the outcome. `Refused`, `Misconfigured` and `Retry` get their `again_s`. `Refused` becomes
        `Misconfigured` if the refusals of several messages show that the schema is the cause.
        """
        if isinstance(outcome, Delivered):
            await self._delivered(record, outcome, live=live)
        elif isinstance(outcome, Refused):
            outcome = await self._refused(record, outcome, live=live, began=began)
        elif isinstance(outcome, Misconfigured):
            outcome = self._misconfigured(record, outcome, live=live, began=began)
            # Perhaps only this message causes such an answer. So a message of the backlog gets a delay of its own, and
            # other messages are sent before it.
            await self._tried(record, 0.0 if live else self._breaker.backoff.delay(record.attempts + 1))
        elif isinstance(outcome, Retry):
            outcome = await self._failed(record, outcome, live=live, began=began)
        await self._memory.save()
        return outcome

    def superseded(self, made: int, tried: int) -> bool:
        """Evaluate a tick that a newer tick replaces. It had `made` messages; `tried` of them had an attempt.

        If the endpoint is well, messages without an attempt show that the endpoint is too slow for the interval. After
        some ticks without such messages it is fast enough again (`LiveRate`). If the endpoint is not well, such
        messages show nothing, and the earlier ticks are forgotten.

        `LiveWorker` says when this is called, and what the result means.
        """
        well = self.stats.state is State.WELL
        if well and not self._rate.superseded(made, tried):
            return True
        if well and self.stats.behind is not None:
            log.info("live_in_time", messages=made, interval_s=self._config.interval_s)
        self.stats.behind = None
        self._rate.forget()
        return False

    def _count_late(self, late: int, made: int) -> None:
        """Count late live messages after a delivery: `late` of `made` messages had no attempt before the next tick.

        If the endpoint was fast enough before, log that it is too slow now. The reason in the log is `LiveRate.words`.
        If `LiveRate.words` is None, nothing is logged.
        """
        if not late:
            return
        self.stats.superseded += late
        before, self.stats.behind = self.stats.behind, self._rate.words or self.stats.behind
        if before is None and self.stats.behind is not None:
            log.warning("live_behind", reason=self.stats.behind, late=late, of=made, url=self._config.shown_url)

    async def _delivered(self, record: Record, outcome: Delivered, *, live: bool) -> None:
        await self._queue.ack(record)
        now, since = self._clock.monotonic(), self.stats.failing_since
        if not self.stats.accepted:
            log.info("first_delivery", message=record.id, url=self._config.shown_url, status=outcome.status)
        self.stats.count(record, outcome, now=now, at=self._clock.time())
        self._count_late(*self._rate.confirmed())
        self._breaker.delivered(live=live)
        self._memory.pause_ended()
        self._logged_causes.clear()
        if since is not None:
            log.info("push_recovered", after_s=round(now - since, 1), backlog=self._queue.waiting)
            self._slot.begin(max(now, self._breaker.backlog_at()), self._queue.waiting)
            self._slot.changed.set()
        self._log_page(record, outcome, now)

    def _log_page(self, record: Record, outcome: Delivered, now: float) -> None:
        """Log a warning for the first web page, and for the first web page after a 2xx answer without a web page.

        While the pages continue, log another warning each day if the endpoint has ever answered 2xx without a web page.
        """
        if not outcome.page:
            self._answered_without_page, self._page_logged_at = True, None
        elif self._page_logged_at is None or (self._answered_without_page and now - self._page_logged_at >= _DAY_S):
            self._page_logged_at = now
            log.warning("endpoint_answers_with_a_page", message=record.id, url=self._config.shown_url)

    async def _failed(self, record: Record, outcome: Retry, *, live: bool, began: float) -> Outcome:
        now = self._clock.monotonic()
        self._rate.forget()
        again_s = self._breaker.failed(now, outcome.after_s, live=live, began=began)
        outcome = replace(outcome, again_s=again_s)
        self._count(record, outcome)
        (log.warning if self._is_new_cause(outcome) else log.debug)("push_failed", **self._log_fields(record, outcome))
        if outcome.after_s:
            self._memory.asked(live=live)
            self._slot.hold(self._breaker.backlog_at(), self._queue.waiting)
        # Perhaps only this message makes the endpoint fail. So a message that may have reached the endpoint gets a
        # delay of its own, and other messages are sent before it.
        alone_s = max(again_s, self._breaker.backoff.delay(record.attempts + 1)) if outcome.reached else 0.0
        await self._tried(record, alone_s)
        return outcome

    def _misconfigured(self, record: Record, outcome: Misconfigured, *, live: bool, began: float) -> Misconfigured:
        self._rate.forget()
        again_s = self._breaker.misconfigured(self._clock.monotonic(), live=live, began=began)
        outcome = replace(outcome, again_s=again_s)
        self._count(record, outcome)
        (log.error if self._is_new_cause(outcome) else log.debug)(
            "endpoint_misconfigured", **self._log_fields(record, outcome)
        )
        return outcome

    async def _refused(self, record: Record, outcome: Refused, *, live: bool, began: float) -> Outcome:
        self.stats.refused += 1
        refusals = record.refusals + 1
        if live and self._breaker.refuse(record, self._slot.per_tick):
            await self._tried(record, 0.0, refusals=refusals)
            await self._revive()
            reason = f"several different messages refused, the last with {outcome.reason}"
            return self._misconfigured(record, Misconfigured(outcome.status, reason), live=True, began=began)
        if refusals >= self._config.retry.dead_letter_after:
            outcome = replace(outcome, again_s=None)
            self._count(record, outcome)
            await self._tried(record, 0.0, refusals=refusals, parked=outcome.reason)
            self._breaker.parked.append(record.seq)
            self.stats.parked += 1
            log.warning("message_parked", id=record.id, reason=outcome.reason, refusals=refusals)
            return outcome
        again_s = self._breaker.backoff.delay(refusals)
        outcome = replace(outcome, again_s=again_s)
        self._count(record, outcome)
        await self._tried(record, again_s, refusals=refusals)
        (log.warning if refusals == 1 else log.debug)("message_refused", id=record.id, reason=outcome.reason)
        return outcome

    async def _revive(self) -> None:
        """Put the messages that became dead letters since the last delivery of a live message back into the queue.

        The schema was the cause of their refusals, not the messages.
        """
        seqs, self._breaker.parked = self._breaker.parked, []
        for seq in seqs:
            record = await self._queue.get(seq)
            if record is None or record.parked is None:
                continue  # a command put it back or deleted it, or a limit of the queue dropped it
            self.stats.parked = max(0, self.stats.parked - 1)
            await self._queue.update(replace(record, parked=None))
            log.info("message_revived", id=record.id)

    async def _tried(self, record: Record, again_s: float, **changes: Any) -> None:
        """Save the record after an attempt, with `changes`.

        The message is due again in `again_s` seconds, at the latest in `_MOST_AGAIN_S`.
        """
        next_try = self._steady_time() + min(again_s, _MOST_AGAIN_S)
        tried = replace(record, attempts=record.attempts + 1, next_try=next_try, **changes)
        await self._queue.update(tried)

    def _is_new_cause(self, outcome: Retry | Misconfigured) -> bool:
        """Note the cause. Return whether it is new since the last delivery; False after `_MOST_CAUSES` causes."""
        if outcome.cause in self._logged_causes or len(self._logged_causes) >= _MOST_CAUSES:
            return False
        self._logged_causes.add(outcome.cause)
        return True

    def _count(self, record: Record, outcome: Outcome) -> bool:
        return self.stats.count(record, outcome, now=self._clock.monotonic(), at=self._clock.time())

    def _log_fields(self, record: Record, outcome: Retry | Misconfigured) -> dict[str, Any]:
        return {
            "message": record.id,
            "url": self._config.shown_url,
            "reason": outcome.reason,
            "again_s": round(outcome.again_s, 1),
        }
