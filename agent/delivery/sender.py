"""Delivery to one endpoint: first the messages of the newest tick, then the backlog. This module drops no message.

`DeliveryQueue` stores a message, a worker chooses it, `RetryLink` repeats it if it is live, `Attempts` makes one
attempt, `Endpoint` posts it, `OutcomeHandler` handles the outcome. `Undated` stores a message without a date, and sets
the date later.

The live worker sends each message of the newest tick until it is delivered or parked, with random delays between the
attempts. When a newer tick replaces this tick, the messages that still wait become backlog.

The backlog worker sends the oldest message first, at its own pace. While the endpoint is not well, the backlog waits
until the retries of all live messages have ended. After a start, the backlog waits for the first attempt of a live
message, but at most for two push intervals or `_LIVE_WITHIN_S`, whichever is shorter.

Both workers use the same circuit breaker and `DeliveryStats`. No worker waits for a connection: there are enough.

Only refusals of live messages can show that the schema is wrong, because an old message may be refused for its age.
The number of refusals and the time of the next attempt of each message are in the queue, so they survive a restart.
After a restart, `EndpointMemory` restores what was learned of the endpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from agent.config import token_of
from agent.delivery.attempt import Attempts
from agent.delivery.backlog_worker import BacklogWorker
from agent.delivery.circuit_breaker import Backoff, CircuitBreaker
from agent.delivery.endpoint_memory import EndpointMemory
from agent.delivery.http_client import Endpoint
from agent.delivery.live_worker import LiveWorker
from agent.delivery.outcome import Outcome
from agent.delivery.outcome_handler import OutcomeHandler
from agent.delivery.pacing import Pace, SendSlot
from agent.delivery.queue import DeliveryQueue
from agent.delivery.retry import RetryLink
from agent.delivery.stats import DeliveryStats, State
from agent.delivery.undated import Undated
from agent.outbox import Outbox, Record
from agent.runtime import Clock, ClockTrust, Watchdog, steady

if TYPE_CHECKING:
    from agent.config import PushConfig

# After a start, the backlog waits at most this many seconds for the first attempt of a live message.
_LIVE_WITHIN_S = 300.0


class Sender:
    """Stores and delivers messages. If the settings of the endpoint change, a new sender replaces this one."""

    def __init__(
        self,
        config: PushConfig,
        outbox: Outbox,
        *,
        backlog_rate_per_s: float | None = None,
        clock: Clock,
        environ: Mapping[str, str],
        user_agent: str,
        trust: ClockTrust | None = None,
        on_outcome: Callable[[Record, Outcome], None] | None = None,
        watchdog: Watchdog | None = None,
        stats: DeliveryStats | None = None,
    ) -> None:
        """`stats` are those of the sender that this sender replaces, if any. `on_outcome` is called after each attempt.

        `backlog_rate_per_s` is the fixed rate of the backlog; None means a random rate (`agent.delivery.pacing`).
        """
        self.stats = stats or DeliveryStats()
        self.trust = trust or ClockTrust(clock, config.wait_for_clock_s)
        self._timeout_s = config.timeout_s
        self._interval_s = config.interval_s
        self._clock = clock
        self._watchdog = watchdog or Watchdog(clock)
        self._queue = DeliveryQueue(outbox, self._watchdog, compress=config.gzip)
        self._slot = SendSlot(Pace(config.interval_s, backlog_rate_per_s))
        self._endpoint = Endpoint(config, token_of(config, environ), clock, user_agent)
        self._breaker = CircuitBreaker(Backoff(config.retry.initial_s, config.retry.max_s))
        self._breaker.commission(clock.monotonic())
        self._steady_time = steady(clock)  # a step of the wall clock does not change it
        self._handler = self._new_handler(config, user_agent)
        self._attempts = Attempts(
            self._endpoint,
            self._queue,
            self._handler,
            self._breaker,
            timeout_s=config.timeout_s,
            clock=clock,
            watchdog=self._watchdog,
            on_outcome=on_outcome,
        )
        self._undated = Undated(self._queue, self.trust, self.stats, clock=clock)
        self._live = self._new_live_worker(config)
        self._backlog = self._new_backlog_worker()

    def _new_handler(self, config: PushConfig, user_agent: str) -> OutcomeHandler:
        memory = EndpointMemory(
            config, user_agent, self._queue, self._breaker, clock=self._clock, steady_time=self._steady_time
        )
        return OutcomeHandler(
            config,
            self._queue,
            self._breaker,
            self.stats,
            clock=self._clock,
            steady_time=self._steady_time,
            slot=self._slot,
            memory=memory,
        )

    def _new_live_worker(self, config: PushConfig) -> LiveWorker:
        retry = RetryLink(
            self._attempts,
            self._queue,
            self._breaker,
            self.stats,
            self._clock,
            connections=config.connections,
            interval_s=config.interval_s,
        )
        return LiveWorker(self._queue, retry, self._watchdog, on_superseded=self._handler.superseded)

    def _new_backlog_worker(self) -> BacklogWorker:
        return BacklogWorker(
            self._queue,
            self._attempts,
            self._breaker,
            self.stats,
            clock=self._clock,
            steady_time=self._steady_time,
            slot=self._slot,
            live_open=lambda: self._live.open,
            live_within_s=min(2.0 * self._interval_s, _LIVE_WITHIN_S),
        )

    @property
    def waits_for_clock(self) -> bool:
        """Whether new messages are only stored, because the time is not known yet."""
        return not self.trust.is_trusted()

    @property
    def next_attempt_at(self) -> float | None:
        """The monotonic second at which the next attempt is made at the latest; None while the endpoint is well."""
        if self.stats.state is State.WELL:
            return None
        if self.waits_for_clock:
            return self._breaker.next_at()
        # The next live message waits for the end of a pause, but not for the delay of a retry.
        return min(self._breaker.next_at(), max(self._breaker.live_at(), self._clock.monotonic() + self._interval_s))

    async def submit(self, bodies: Sequence[bytes], at: float | None = None) -> None:
        """Store messages durably, as those of the newest tick.

        If the wall clock is trusted, the live worker sends them, and `at` is not used. Otherwise they wait until they
        have a date. `at` is the monotonic second of the `time` in the messages; None: now.
        """
        records: Sequence[Record] = ()
        if self.trust.is_trusted():
            records = await self._queue.put(bodies)
        else:
            await self._undated.put(bodies, self._clock.monotonic() if at is None else at)
        self._slot.per_tick = len(bodies)
        self._live.start(records, self._timeout_s)
        if self._queue.waiting > len(records):
            self._slot.changed.set()  # there is a backlog

    def reloaded(self) -> None:
        """Note a reload. If the endpoint is misconfigured, try it again at once: it may accept messages now."""
        self._breaker.commission(self._clock.monotonic())
        if self.stats.state is State.MISCONFIGURED:
            self._breaker.release()

    async def run(self) -> None:
        """Deliver until cancelled or stopped."""
        await self._handler.recall()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._undated.run(self._on_dated))
            group.create_task(self._live.run())
            group.create_task(self._backlog.run())

    async def stop(self, grace_s: float) -> None:
        """Start no further attempt, and wait up to `grace_s` seconds for those in flight.

        Messages that are not delivered stay in the queue.
        """
        self._attempts.stop()
        self._undated.stop()
        self._live.stop()
        self._backlog.stop()
        await self._attempts.ended(grace_s)

    async def close(self) -> None:
        """Release connections and threads, after `run` has ended."""
        await self._endpoint.close()
        await self._queue.close()

    async def _on_dated(self) -> None:
        await self._live.offer_dated()
        self._slot.changed.set()
