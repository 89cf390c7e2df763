"""Delivers to all endpoints, also across reloads. Each endpoint has its own queue, statistics and sender."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog
from structlog.contextvars import bound_contextvars

from agent import __version__
from agent.config import DEFAULT_NAME
from agent.delivery.queue_files import QueueFile, queue_files
from agent.delivery.sender import Sender
from agent.delivery.stats import DeliveryStats
from agent.outbox import Backlog, Outbox, queued, take_over
from agent.runtime import Clock, ClockTrust, Watchdog

if TYPE_CHECKING:
    from agent.config import Config, OutboxConfig, PushConfig

log = structlog.get_logger(__name__)

USER_AGENT = f"telemetry-push-agent/{__version__}"

_GRACE_S = 3.0
"""Maximum seconds that a sender waits for its attempts in flight when it stops."""


class Delivery:
    """One endpoint: its queue, its statistics and its present sender."""

    def __init__(
        self,
        push: PushConfig,
        limits: OutboxConfig,
        file: QueueFile,
        outbox: Outbox,
        clock: Clock,
        environ: Mapping[str, str],
        trust: ClockTrust | None = None,
    ) -> None:
        self.push = push
        self._limits = limits
        self._file = file
        self._clock = clock
        self._environ = environ
        self._trust = trust
        self._watchdog = Watchdog(clock)
        self._outbox = outbox
        self.stats = DeliveryStats(since=clock.monotonic())
        """A reload keeps this object."""
        self.sender = self._new_sender()
        self._held = asyncio.Lock()
        """`change` and `close` wait while `submit`, `waiting` or `backlog` uses the sender or the queue."""
        self._group: asyncio.TaskGroup | None = None
        self._sending: asyncio.Task[None] | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start sending. Every sender of this endpoint runs in `group`, and adds the name of the endpoint to its log
        events."""
        self._group = group
        with bound_contextvars(endpoint=self.push.name):
            self._sending = group.create_task(self.sender.run(), name=f"push {self.push.name}")

    async def submit(self, bodies: Sequence[bytes], at: float) -> None:
        """Store messages durably, as those of the newest tick. `at` is their `time` as a monotonic second.

        They are sent before all others. While the wall clock is not trusted, they wait in the queue.
        """
        async with self._held:
            await self.sender.submit(bodies, at)

    async def waiting(self) -> int:
        async with self._held:
            return (await asyncio.to_thread(self._outbox.counts)).waiting

    @property
    def in_memory(self) -> bool:
        """Whether messages are kept in memory, because the disk does not accept them."""
        return self._outbox.in_memory

    async def backlog(self) -> Backlog:
        async with self._held:
            return await asyncio.to_thread(queued, self._outbox, self._clock.time())

    def overdue(self) -> list[str]:
        """Return the names of the tasks that are past their deadline."""
        whose = "" if self.push.name == DEFAULT_NAME else f" ({self.push.name})"
        return [f"{what}{whose}" for what in self._watchdog.overdue()]

    async def change(self, push: PushConfig, limits: OutboxConfig, file: QueueFile) -> None:
        """Apply the configuration of a reload. The endpoint may get another name, and therefore another file.

        If nothing changed, only tell the sender that there was a reload.
        """
        same_queue = (limits, file.path) == (self._limits, self._file.path) and file.source is None
        if same_queue and push == self.push:
            self.sender.reloaded()
            return
        async with self._held:
            await self._stop()
            self.push, self._limits, self._file = push, limits, file
            if not same_queue:
                self._outbox.close()
                dropped = self._outbox.drops
                self._outbox = await asyncio.to_thread(_opened, limits, file, self._clock)
                self._outbox.drops.update(dropped)  # the counts since the start continue
            self.stats.forget_endpoint()
            self.sender = self._new_sender()
            if self._group is not None:
                self.start(self._group)

    async def close(self) -> None:
        """Stop sending and close the queue. If an attempt does not end in time, its message stays in the queue."""
        async with self._held:
            await self._stop()
            self._outbox.close()

    async def _stop(self) -> None:
        await self.sender.stop(_GRACE_S)
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        await self.sender.close()

    def _new_sender(self) -> Sender:
        return Sender(
            self.push,
            self._outbox,
            backlog_rate_per_s=self._limits.backlog_rate_per_s,
            clock=self._clock,
            environ=self._environ,
            user_agent=USER_AGENT,
            trust=self._trust,
            watchdog=self._watchdog,
            stats=self.stats,
        )


def _opened(limits: OutboxConfig, file: QueueFile, clock: Clock) -> Outbox:
    """Take over the messages of the former file, if it exists. Then open the queue. May wait for the disk."""
    dropped: Mapping[str, int] = {}
    if (source := file.source) is not None:
        dropped = take_over(source, file.path)
    outbox = Outbox.open(
        file.path,
        max_age_s=limits.max_age_s,
        max_size_mb=limits.max_size_mb,
        now=clock.time,
        monotonic=clock.monotonic,
    )
    outbox.drops.update(dropped)
    return outbox


async def _removed(delivery: Delivery) -> None:
    waiting = await delivery.waiting()
    await delivery.close()
    log.info("endpoint_removed", endpoint=delivery.push.name, waiting=waiting)


class Deliveries:
    """The deliveries to all enabled endpoints, in the order of the configuration."""

    def __init__(
        self, config: Config, clock: Clock, environ: Mapping[str, str], trust: ClockTrust | None = None
    ) -> None:
        self._clock = clock
        self._environ = environ
        self._trust = trust
        self._files = queue_files(config.outbox.path, config.push)
        self._files.save_owner()
        self._all = {
            push.name: self._new(push, config.outbox, _opened(config.outbox, self._files.of[push.name], clock))
            for push in config.endpoints
        }
        self._group: asyncio.TaskGroup | None = None

    def __getitem__(self, name: str) -> Delivery:
        return self._all[name]

    def __iter__(self) -> Iterator[Delivery]:
        return iter(list(self._all.values()))  # a reload can add an endpoint meanwhile

    @property
    def clock_trusted(self) -> bool:
        """Whether every endpoint trusts the wall clock.

        All endpoints get the same energies, and a wrong date makes the energies wrong. So the energies wait for the
        endpoint with the longest `wait_for_clock_s`.
        """
        for each in self._all.values():  # noqa: SIM110 - called at each poll, and `all` takes twice as long
            if not each.sender.trust.is_trusted():
                return False
        return True

    def overdue(self) -> list[str]:
        return [what for each in self for what in each.overdue()]

    def start(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        for each in self:
            each.start(group)

    async def change(self, config: Config) -> None:
        """Add, remove, rename and change endpoints. `outbox.path` must be the same. Unchanged endpoints continue.

        The queue of an endpoint that is removed or disabled stays on the disk.
        """
        before = dict(self._all)
        kept: dict[str, Delivery] = {}
        for push in config.endpoints:
            known = before.pop(push.name, None) or before.pop(push.formerly or "", None)
            if known is not None:
                kept[push.name] = known
        await asyncio.gather(*(_removed(each) for each in before.values()))
        self._files = await asyncio.to_thread(queue_files, config.outbox.path, config.push)
        await asyncio.to_thread(self._files.save_owner)
        self._all = kept
        await asyncio.gather(*(self._changed(push, config.outbox, kept.get(push.name)) for push in config.endpoints))
        self._all = {push.name: self._all[push.name] for push in config.endpoints}

    async def close(self) -> None:
        await asyncio.gather(*(each.close() for each in self))

    async def _changed(self, push: PushConfig, limits: OutboxConfig, known: Delivery | None) -> None:
        if known is not None:
            if known.push.name != push.name:
                log.info("endpoint_renamed", endpoint=push.name, formerly=known.push.name)
            await known.change(push, limits, self._files.of[push.name])
            return
        log.info("endpoint_added", endpoint=push.name, interval_s=push.interval_s)
        outbox = await asyncio.to_thread(_opened, limits, self._files.of[push.name], self._clock)
        new = self._all[push.name] = self._new(push, limits, outbox)
        if self._group is not None:
            new.start(self._group)

    def _new(self, push: PushConfig, limits: OutboxConfig, outbox: Outbox) -> Delivery:
        return Delivery(push, limits, self._files.of[push.name], outbox, self._clock, self._environ, self._trust)
