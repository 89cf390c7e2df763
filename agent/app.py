"""Builds polling → aggregation → contract → outbox → delivery from a Config, and runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import structlog

from agent import __version__
from agent.aggregation import AggregationSettings, Aggregator, Summary, SummarySettings
from agent.config import Config, ConfigError
from agent.contract import PayloadOptions, bodies
from agent.delivery import Delivery, DeliveryStats, Sender
from agent.energy import EnergyStore
from agent.polling import Device, Poller, Rhythm, Scheduler, Tick, phase_s, within
from agent.runtime import STUCK_S, Clock, ClockTrust, Watchdog, kernel_synchronised
from agent.site import Site
from agent.status import HourlyReport, Recorder, Snapshot, not_on_disk, snapshot
from agent.storage import NotAloneError
from drivers.model import NodeType, Scan

if TYPE_CHECKING:
    from agent.status.listener import StatusListener

log = structlog.get_logger(__name__)

_CONNECTION_MARGIN = 2.0
"""Maximum power of a device, as a multiple of the connection limit: imported and produced power together."""


class App:
    """The running agent. It calls `on_summary` with the summary of each push interval."""

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
        self.recorder = Recorder(clock)
        self._report = HourlyReport(clock.monotonic())
        self._payload = payload_options(config)
        self._summary: Summary | None = None
        """The summary of the last push interval."""
        self.status: StatusListener | None = None
        self._store = EnergyStore.open(config.outbox.path.with_name("energy.sqlite3"))
        self._aggregator = Aggregator(site.nodes, aggregation_settings(config), self._store)
        self._aggregator.place_nights(clock.monotonic())
        self.poller = Poller(site.connections, clock, self, self.watchdog, self._aggregator.nights)
        self._delivery = Delivery(config, clock, environ, watchdog=self.watchdog, trust=trust)
        self._schedule = Scheduler(rhythm(config), clock, self.poller, self._push)
        self._line: asyncio.TaskGroup | None = None
        self._showing: asyncio.Task[None] | None = None

    @property
    def sender(self) -> Sender:
        """The present sender. A reload replaces it."""
        return self._delivery.sender

    @property
    def delivery_stats(self) -> DeliveryStats:
        """The state of the endpoint and the counts of deliveries."""
        return self._delivery.stats

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Poll and push until cancelled. Then stop polling, finish or abort the attempt in flight, and close."""
        log.info(
            "started", version=__version__, interval_s=self.config.push.interval_s, phase_s=rhythm(self.config).phase_s
        )
        try:
            async with asyncio.TaskGroup() as senders:
                self._delivery.start(senders)
                try:
                    async with asyncio.TaskGroup() as self._line:
                        self._line.create_task(self.poller.run())
                        # A clock that is not trusted yet tells nothing about the last label.
                        after = self._aggregator.last_time if self.sender.trust.is_trusted() else 0
                        self._line.create_task(self._schedule.run(ready, after))
                        self._start_status()
                finally:
                    await self._delivery.stop()
        finally:
            await asyncio.to_thread(self._aggregator.save)
            self._store.close()
            self._delivery.close()
            log.info("stopped")

    async def reload(self, config: Config, site: Site) -> None:
        """Apply another configuration. `site` shares the unchanged devices with the running site. Raises ConfigError.

        Devices and links that are the same objects keep their state. The queue does not change.
        """
        before = self.config
        if config.outbox.path != before.outbox.path:
            raise ConfigError([f"outbox.path: a change needs a restart (in use: {str(before.outbox.path)!r})"])
        self.config = config
        self._payload = payload_options(config)
        self.site = site
        self._aggregator.reconfigure(site.nodes, aggregation_settings(config))
        await self.poller.replace(site.connections)
        self.poller.request()
        await self._delivery.change(config)
        if config.status != before.status:
            await self._stop_status()
            self._start_status()
        self._schedule.change(rhythm(config))

    async def waiting(self) -> int:
        """Messages in the queue."""
        return await self._delivery.waiting()

    @property
    def not_on_disk(self) -> str | None:
        """What the disk does not accept, in words."""
        return not_on_disk(queue=self._delivery.in_memory, energies=self._store.in_memory)

    async def snapshot(self) -> Snapshot:
        """Return the state of the daemon at this moment."""
        backlog = await self._delivery.backlog()
        trusted = self.sender.trust.is_trusted()
        state = "waiting" if not trusted else "synchronised" if kernel_synchronised() else "unsynchronised"
        found = snapshot(
            self.config,
            self.recorder,
            self.delivery_stats,
            self.site.devices,
            self._aggregator.nights,
            self._summary,
            backlog,
            self._clock,
            state,
        )
        return replace(
            found,
            implausible=dict(self._aggregator.dropped),
            counter_events=self._aggregator.counter_events,
            energies_in_memory=self._store.in_memory,
            not_on_disk=not_on_disk(queue=backlog.in_memory, energies=self._store.in_memory),
        )

    def _start_status(self) -> None:
        """Start the status listener if it is configured. The module is imported only then, to save memory."""
        if self.config.status is not None and self._line is not None:
            from agent.status.listener import StatusListener

            self.status = StatusListener(self.config.status, self.snapshot, self._clock, self.watchdog.overdue)
            self._showing = self._line.create_task(self.status.run())

    async def _stop_status(self) -> None:
        if self._showing is not None:
            self._showing.cancel()
            await asyncio.gather(self._showing, return_exceptions=True)
        self._showing = self.status = None

    # PollListener
    def observe(self, device: Device, scan: Scan) -> None:
        self.recorder.observe(device, scan)
        wall = self._clock.time() if self._delivery.sender.trust.is_trusted() else None
        self._aggregator.observe(device.nodes, scan, wall)

    def missed(self, device: Device, error: Exception, at: float) -> None:
        self.recorder.missed(device, error, at)
        self._aggregator.missed(device.nodes, at)

    def skipped(self, device: Device, count: int) -> None:
        self._aggregator.skipped(device.nodes, count)

    async def _push(self, tick: Tick, answers: list[asyncio.Future[None]]) -> None:
        """Close the interval when every device answered or at the deadline. Store its messages."""
        deadline = tick.at + self.config.push.effective_deadline_s
        if not await within(answers, self._clock, deadline - self._clock.monotonic()):
            log.debug("deadline_reached", tick=tick.time)
        if self._delivery.sender.trust.is_trusted():
            self._aggregator.follow_clock(self._clock.time() - self._clock.monotonic())
        summary = self._aggregator.close(tick.at, tick.time)
        self._summary = summary
        with self.watchdog.running("storing the interval", STUCK_S):
            try:
                await self._delivery.submit(bodies(summary, self._payload), tick.at)
            except NotAloneError:
                raise
            except Exception:  # a failed write of one interval must not stop the next ones
                log.exception("interval_not_stored", tick=tick.time)
            if self._aggregator.save_due(now := self._clock.monotonic()):
                await asyncio.to_thread(self._aggregator.save, now)
        if self._report.due(now):
            self._report.write(await self.snapshot(), now)
        if self._on_summary is not None:
            self._on_summary(summary)


def rhythm(config: Config) -> Rhythm:
    """The settings of the schedule, from the configuration."""
    push = config.push
    return Rhythm(push.interval_s, phase_s(push.align, config.site.node_id, push.interval_s), push.effective_deadline_s)


def aggregation_settings(config: Config) -> AggregationSettings:
    """The settings of the aggregation, from the configuration."""
    return AggregationSettings(
        timezone=ZoneInfo(config.site.timezone) if config.site.timezone else None,
        statistic=config.poll.statistic,
        stale_after_s=config.poll.stale_after_s,
        endpoints={
            "default": SummarySettings(
                partial_totals=config.push.partial_totals,
                sign={type_: getattr(config.push.sign, type_) for type_ in NodeType},
            )
        },
        connection_W=_CONNECTION_MARGIN * max(config.site.import_limit_W or 0.0, config.site.export_limit_W or 0.0),
    )


def payload_options(config: Config) -> PayloadOptions:
    """The settings of the payload, from the configuration."""
    push = config.push
    return PayloadOptions(
        site_node_id=config.site.node_id,
        levels=push.levels,
        device_format=push.device_format,
        device_fields=push.device_fields,
        time_format=push.time_format,
        quality=push.quality,
        import_limit_W=config.site.import_limit_W,
        export_limit_W=config.site.export_limit_W,
    )
