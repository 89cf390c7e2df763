"""The queue and whoever sends from it; a reload puts another sender in its place, on the same queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from agent import __version__
from agent.config import Config
from agent.delivery.outcome import Outcome
from agent.delivery.outcome_handler import DeliveryStats
from agent.delivery.sender import Sender
from agent.outbox import Backlog, Outbox, Record, queued
from agent.runtime import Clock, ClockTrust, Watchdog

USER_AGENT = f"telemetry-push-agent/{__version__}"

_GRACE_S = 3.0


class Delivery:
    """One sender at a time, from the queue of `config`."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        environ: Mapping[str, str],
        *,
        on_outcome: Callable[[Record, Outcome], None],
        watchdog: Watchdog,
        trust: ClockTrust | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._environ = environ
        self._on_outcome = on_outcome
        self._watchdog = watchdog
        self._trust = trust
        self._outbox = self._opened()
        self.sender = self._new_sender()
        self._held = asyncio.Lock()
        """Taken while the sender or the queue is used, and while another one takes its place."""
        self._group: asyncio.TaskGroup | None = None
        self._sending: asyncio.Task[None] | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin to send; every sender runs in `group`."""
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

    async def backlog(self) -> Backlog:
        """The same with its age, and what was given up."""
        async with self._held:
            return await asyncio.to_thread(queued, self._outbox, self._clock.time())

    async def change(self, config: Config) -> None:
        """Go on as `config` says, whose queue stands in the same file."""
        before, self._config = self._config, config
        if (config.push, config.outbox) == (before.push, before.outbox):
            return
        async with self._held:
            await self.stop()
            if config.outbox != before.outbox:
                self._outbox.close()
                self._outbox = await asyncio.to_thread(self._opened)
            self.sender = self._new_sender(self.sender.stats)
            if self._group is not None:
                self.start(self._group)

    async def stop(self) -> None:
        """Finish or keep the attempt in flight."""
        await self.sender.stop(_GRACE_S)
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        await self.sender.close()

    def close(self) -> None:
        """After `stop`."""
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

    def _new_sender(self, stats: DeliveryStats | None = None) -> Sender:
        return Sender(
            self._config.push,
            self._outbox,
            backlog_rate_per_s=self._config.outbox.backlog_rate_per_s,
            clock=self._clock,
            environ=self._environ,
            user_agent=USER_AGENT,
            on_outcome=self._on_outcome,
            trust=self._trust,
            watchdog=self._watchdog,
            stats=stats,
        )
