"""Builds polling → aggregation → contract → outbox → delivery from a Config, and runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
from structlog.contextvars import bound_contextvars

from agent import __version__
from agent.aggregation import Aggregator, Summary
from agent.app.push_schedule import EndpointState, PushSchedule
from agent.app.settings import aggregation_settings
from agent.config import ConfigError
from agent.contract import bodies
from agent.delivery import Deliveries
from agent.energy import EnergyStore
from agent.polling import Device, Poller, PollFutures, Tick, done_within
from agent.runtime import STUCK_S, Clock, ClockTrust, Watchdog, kernel_synchronised, plausible, time_service_runs
from agent.site import Site
from agent.status import HourlyReport, Snapshot, clock_in_words, endpoint_status, not_on_disk, snapshot
from agent.storage import NotAloneError
from drivers.model import Scan

if TYPE_CHECKING:
    from agent.config import Config
    from agent.status.listener import StatusListener

log = structlog.get_logger(__name__)


class App:
    """The running agent. It calls `on_summary` at each push to each endpoint."""

    def __init__(
        self,
        config: Config,
        site: Site,
        clock: Clock,
        environ: Mapping[str, str],
        on_summary: Callable[[Summary], None] | None = None,
        trust: ClockTrust | None = None,
    ) -> None:
        self.config = config
        self.site = site
        self.watchdog = Watchdog(clock)
        self._clock = clock
        self._on_summary = on_summary
        self._started = clock.monotonic()
        self._report = HourlyReport(self._started)
        self.status: StatusListener | None = None
        self._store = EnergyStore.open(config.outbox.energies)
        self._saving = asyncio.Lock()
        self._aggregator = Aggregator(site.nodes, aggregation_settings(config), self._store)
        self._aggregator.restore_nights(clock.monotonic())
        self.poller = Poller(site.connections, clock, self, self.watchdog, self._aggregator.nights)
        self.deliveries = Deliveries(config, clock, environ, trust)
        self._schedule = PushSchedule(config, clock, self.poller, self._push)
        self._group: asyncio.TaskGroup | None = None
        self._status_task: asyncio.Task[None] | None = None

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Poll and push until cancelled. Call `ready` when the polls have begun.

        At the end, also after an error, finish or abort the attempts in flight, and save energies and nights.
        """
        for each in self._schedule:
            log.info(
                "started",
                version=__version__,
                endpoint=each.push.name,
                interval_s=each.rhythm.push_s,
                phase_s=each.rhythm.phase_s,
            )
        try:
            async with asyncio.TaskGroup() as senders:
                self.deliveries.start(senders)
                try:
                    async with asyncio.TaskGroup() as self._group:
                        self._group.create_task(self.poller.run())
                        # The time of a clock that is not trusted cannot be compared with `last_time`.
                        after = self._aggregator.last_time if self.deliveries.clock_trusted else 0
                        self._bind_deliveries()
                        self._schedule.start(self._group, ready, after)
                        self._start_status()
                finally:
                    await self.deliveries.close()
        finally:
            await asyncio.to_thread(self._aggregator.save)
            self._store.close()
            log.info("stopped")

    async def reload(self, config: Config, site: Site) -> None:
        """Apply a new configuration. Raises ConfigError and changes nothing if `outbox.path` differs.

        `site` has the same objects as the running site for unchanged devices and links, so their state is kept. An
        endpoint keeps its state if its name, or else its `formerly`, is the name of a running endpoint.
        """
        before = self.config
        if config.outbox.path != before.outbox.path:
            raise ConfigError([f"outbox.path: a change needs a restart (in use: {str(before.outbox.path)!r})"])
        self.config = config
        self._report.reconfigure(self._schedule.change(config))
        self.site = site
        self._aggregator.reconfigure(site.nodes, aggregation_settings(config))
        await self.poller.replace(site.connections)
        self.poller.request()
        await self.deliveries.change(config)
        if config.status != before.status:
            await self._stop_status()
            self._start_status()
        self._bind_deliveries()
        self._schedule.set_clocks()

    def overdue(self) -> list[str]:
        """Return the names of the tasks that are past their deadline."""
        return self.watchdog.overdue() + self.deliveries.overdue()

    async def waiting(self) -> int:
        """Return the number of waiting messages of all enabled endpoints together."""
        return sum(await asyncio.gather(*(each.waiting() for each in self.deliveries)))

    @property
    def not_on_disk(self) -> str | None:
        """Which data the disk does not accept, in words; None if it accepts all."""
        return not_on_disk({each.push.name: each.in_memory for each in self.deliveries}, energies=self._store.in_memory)

    async def snapshot(self) -> Snapshot:
        deliveries = list(self.deliveries)
        backlogs = await asyncio.gather(*(each.backlog() for each in deliveries))
        trusted = self.deliveries.clock_trusted
        clock = "waiting" if not trusted else "synchronised" if kernel_synchronised() else "unsynchronised"
        now = self._clock.monotonic()
        found = snapshot(
            self.config,
            self._started,
            self.site.devices,
            self._aggregator.nights,
            [each.summary for each in self._schedule if each.summary is not None],
            [
                endpoint_status(
                    each.push,
                    each.stats,
                    backlog,
                    now,
                    waits_for_clock=each.sender.waits_for_clock,
                    next_attempt_at=each.sender.next_attempt_at,
                )
                for each, backlog in zip(deliveries, backlogs, strict=True)
            ],
            self._clock,
            clock,
        )
        return replace(
            found,
            clock_reason=clock_in_words(
                clock,
                possible=plausible(self._clock.time()),
                service=time_service_runs(),
                wait_s=max(push.wait_for_clock_s for push in self.config.endpoints),
            ),
            implausible=dict(self._aggregator.dropped),
            counter_events=self._aggregator.counter_events,
            energies_in_memory=self._store.in_memory,
            not_on_disk=not_on_disk(
                {each.name: each.backlog.in_memory for each in found.endpoints}, energies=self._store.in_memory
            ),
        )

    def _start_status(self) -> None:
        """Start the status listener if it is configured. Without one, its module is not imported, to save memory."""
        if self.config.status is not None and self._group is not None:
            from agent.status.listener import StatusListener

            self.status = StatusListener(self.config.status, self.snapshot, self._clock, self.overdue)
            self._status_task = self._group.create_task(self.status.run())

    async def _stop_status(self) -> None:
        if self._status_task is not None:
            self._status_task.cancel()
            await asyncio.gather(self._status_task, return_exceptions=True)
        self._status_task = self.status = None

    # The three methods of `PollListener`, which the poller calls.
    def observe(self, device: Device, scan: Scan) -> None:
        wall = self._clock.time() if self.deliveries.clock_trusted else None
        self._aggregator.observe(device.nodes, scan, wall)

    def missed(self, device: Device, error: Exception, at: float) -> None:
        self._aggregator.missed(device.nodes)

    def skipped(self, device: Device, count: int) -> None:
        self._aggregator.skipped(device.nodes, count)

    def _bind_deliveries(self) -> None:
        for endpoint in self._schedule:
            endpoint.delivery = self.deliveries[endpoint.push.name]

    async def _push(self, endpoint: EndpointState, tick: Tick, answers: PollFutures) -> None:
        """Wait for `answers`, at most until the deadline of the push. End the push interval and store its messages."""
        with bound_contextvars(endpoint=endpoint.push.name):
            deadline = tick.at + endpoint.push.effective_deadline_s
            if not await done_within(answers, self._clock, deadline - self._clock.monotonic()):
                log.debug("deadline_reached", tick=tick.time)
            if (delivery := endpoint.delivery) is None or not self._schedule.has(endpoint):
                return  # a reload removed the endpoint, or its queue is not open yet
            if self.deliveries.clock_trusted:
                self._aggregator.follow_clock(self._clock.time() - self._clock.monotonic())
            summary = endpoint.summary = self._aggregator.close(tick.at, tick.time, endpoint.push.name)
            with self.watchdog.running("storing the interval", STUCK_S):
                try:
                    await delivery.submit(bodies(summary, endpoint.payload), tick.at)
                except NotAloneError:  # another process uses the queue
                    raise
                except Exception:  # a failed write must not stop the next pushes
                    log.exception("interval_not_stored", tick=tick.time)
                now = await self._save()
        if self._report.begin(now):
            self._report.write(await self.snapshot())
        if self._on_summary is not None:
            self._on_summary(summary)

    async def _save(self) -> float:
        """Save energies and nights if a save is due. Return the monotonic time before the save."""
        async with self._saving:
            if self._aggregator.save_due(now := self._clock.monotonic()):
                await asyncio.to_thread(self._aggregator.save, now)
        return now
