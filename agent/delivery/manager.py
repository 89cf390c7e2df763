"""Delivery to one endpoint across reloads: one queue, one set of statistics, one sender at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from agent import __version__
from agent.config import Config
from agent.delivery.sender import Sender
from agent.delivery.stats import DeliveryStats
from agent.outbox import Backlog, Outbox, queued
from agent.runtime import Clock, ClockTrust, Watchdog

USER_AGENT = f"telemetry-push-agent/{__version__}"

_GRACE_S = 3.0


class Delivery:
    """One endpoint: its queue, its statistics and its present sender."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        environ: Mapping[str, str],
        *,
        watchdog: Watchdog,
        trust: ClockTrust | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._environ = environ
        self._watchdog = watchdog
        self._trust = trust
        self._outbox = self._opened()
        self.stats = DeliveryStats()
        """Of the endpoint; the same object across reloads."""
        self.sender = self._new_sender()
        self._held = asyncio.Lock()
        """Held while the sender or the queue is used, and while another sender replaces it."""
        self._group: asyncio.TaskGroup | None = None
        self._sending: asyncio.Task[None] | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start to send; every sender runs in `group`."""
        self._group = group
        self._sending = group.create_task(self.sender.run(), name="push")

    async def submit(self, bodies: Sequence[bytes], at: float) -> None:
        """Store the messages of monotonic second `at` durably and send them before everything else."""
        async with self._held:
            await self.sender.submit(bodies, at)

    async def waiting(self) -> int:
        """Messages in the queue."""
        async with self._held:
            return (await asyncio.to_thread(self._outbox.counts)).waiting

    @property
    def in_memory(self) -> bool:
        """Whether the disk does not accept messages."""
        return self._outbox.in_memory

    async def backlog(self) -> Backlog:
        """What waits in the queue, its age, and what was dropped."""
        async with self._held:
            return await asyncio.to_thread(queued, self._outbox, self._clock.time())

    async def change(self, config: Config) -> None:
        """Apply a configuration whose queue is in the same file."""
        before, self._config = self._config, config
        if (config.push, config.outbox) == (before.push, before.outbox):
            return
        async with self._held:
            await self.stop()
            if config.outbox != before.outbox:
                self._outbox.close()
                self._outbox = await asyncio.to_thread(self._opened)
            self.stats.forget_endpoint()
            self.sender = self._new_sender()
            if self._group is not None:
                self.start(self._group)

    async def stop(self) -> None:
        """Stop to send. An attempt in flight ends in time, or its message stays queued."""
        await self.sender.stop(_GRACE_S)
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        await self.sender.close()

    def close(self) -> None:
        """Close the queue, after `stop`."""
        self._outbox.close()

    def _opened(self) -> Outbox:
        limits = self._config.outbox
        return Outbox.open(
            limits.path,
            max_age_s=limits.max_age_s,
            max_size_mb=limits.max_size_mb,
            now=self._clock.time,
            monotonic=self._clock.monotonic,
        )

    def _new_sender(self) -> Sender:
        return Sender(
            self._config.push,
            self._outbox,
            backlog_rate_per_s=self._config.outbox.backlog_rate_per_s,
            clock=self._clock,
            environ=self._environ,
            user_agent=USER_AGENT,
            trust=self._trust,
            watchdog=self._watchdog,
            stats=self.stats,
        )
