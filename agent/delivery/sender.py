"""Delivery: the newest message first, the backlog behind it, nothing given up.

The live worker owns the messages of the newest tick: it retries them with full jitter until they are delivered or a
newer tick supersedes them; what is superseded is backlog. The backlog worker goes oldest first at its own pace while
the endpoint takes messages. Each has its own connection, so that neither waits for the other; what both learn about
the endpoint they share (`push_settle`, `push_health`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from agent.config import PushConfig, token_of
from agent.delivery.attempt import Attempts
from agent.delivery.backlog_worker import BacklogWorker
from agent.delivery.http_client import Endpoint
from agent.delivery.live_worker import LiveWorker
from agent.delivery.queue import OutboxExecutor
from agent.delivery.outcome import Outcome
from agent.delivery.outcome_handler import DeliveryStats, OutcomeHandler
from agent.delivery.pacing import Pace, SendSlot
from agent.delivery.undated import Dating
from agent.outbox import Outbox, Record
from agent.runtime import Clock, ClockTrust, Watchdog, steady


class Sender:
    """Takes messages, stores them, delivers them."""

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
        """`stats` are those of the sender whose place this one takes."""
        self.stats = stats or DeliveryStats()
        self._timeout_s = config.timeout_s
        self._clock = clock
        watchdog = watchdog or Watchdog(clock)
        trust = trust or ClockTrust(clock, config.wait_for_clock_s)
        self._disk = disk = OutboxExecutor(watchdog)
        self._slot = slot = SendSlot(Pace(config.interval_s, backlog_rate_per_s))
        self._endpoint = Endpoint(config, token_of(config, environ), clock, user_agent)
        due_time = steady(clock)  # next tries are kept in a time that never steps while the agent runs
        settle = OutcomeHandler(config, outbox, disk=disk, clock=clock, due_time=due_time, slot=slot, stats=self.stats)
        self.health = settle.health
        self._attempts = attempts = Attempts(
            self._endpoint,
            outbox,
            settle,
            timeout_s=config.timeout_s,
            disk=disk,
            clock=clock,
            watchdog=watchdog,
            on_outcome=on_outcome,
        )
        self._dating = Dating(config, outbox, trust, disk=disk, clock=clock, stats=self.stats)
        self._live = live = LiveWorker(outbox, attempts, self.health, disk=disk, clock=clock, watchdog=watchdog)
        self._backlog = BacklogWorker(
            outbox,
            attempts,
            self.health,
            disk=disk,
            clock=clock,
            due_time=due_time,
            slot=slot,
            live_waits=lambda: live.waits,
        )

    @property
    def waits_for_clock(self) -> bool:
        """New messages are stored and not sent, because nobody knows the time yet."""
        return self._dating.waits

    async def submit(self, bodies: Sequence[bytes], at: float | None = None) -> None:
        """Store messages durably and deliver them before everything else.

        `at` is the monotonic second that their `time` stands for, should nobody know the time yet; now by default.
        """
        await self._disk(self._dating.put, bodies, self._clock.monotonic() if at is None else at)
        self._slot.per_tick = len(bodies)
        self._live.supersede(self._timeout_s)
        self._slot.changed.set()

    async def run(self) -> None:
        """Deliver until cancelled or stopped."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._dating.run(self._were_dated))
            group.create_task(self._live.run())
            group.create_task(self._backlog.run())

    async def stop(self, grace_s: float) -> None:
        """Let the attempt in flight end, `grace_s` at most; start no other. What is not delivered stays queued."""
        self._attempts.stop()
        self._dating.stop()
        self._live.stop()
        self._backlog.stop()
        await self._attempts.ended(grace_s)

    async def close(self) -> None:
        """After `run` has ended."""
        await self._endpoint.close()
        await self._disk.close()

    def _were_dated(self) -> None:
        self._live.wake()
        self._slot.changed.set()
