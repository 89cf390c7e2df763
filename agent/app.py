"""Builds polling → aggregation → contract → outbox → delivery from a Config, and runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import structlog
from structlog.contextvars import bound_contextvars

from agent import __version__
from agent.aggregation import AggregationSettings, Aggregator, Summary, SummarySettings
from agent.config import DEFAULT_NAME, ConfigError
from agent.contract import PayloadOptions, bodies
from agent.delivery import Deliveries, Delivery
from agent.energy import EnergyStore
from agent.polling import Device, Poller, PushClock, Rhythm, Scheduler, Tick, phase_s, within
from agent.runtime import STUCK_S, Clock, ClockTrust, Watchdog, kernel_synchronised, plausible, time_service_runs
from agent.site import Site
from agent.status import HourlyReport, Recorder, Snapshot, clock_in_words, endpoint_status, not_on_disk, snapshot
from agent.storage import NotAloneError
from drivers.model import NodeType, Scan

if TYPE_CHECKING:
    from agent.config import Config, PushConfig
    from agent.status.listener import StatusListener

log = structlog.get_logger(__name__)

_CONNECTION_MARGIN = 2.0
"""Maximum power of a device, as a multiple of the connection limit: imported and produced power together."""


@dataclass(slots=True)
class _Endpoint:
    """The state of an enabled endpoint. It survives reloads and a rename."""

    push: PushConfig
    payload: PayloadOptions
    rhythm: Rhythm
    delivery: Delivery | None = None
    """None until a reload has opened its queue."""
    last: Tick | None = None
    summary: Summary | None = None
    """The summary of its last push interval."""
    clock: asyncio.Task[None] | None = None
    """Its push clock; None for the endpoint whose ticks the scheduler of the polls makes."""
    clocked: Rhythm | None = None
    """The rhythm of this clock."""

    def stop_clock(self) -> None:
        if self.clock is not None:
            self.clock.cancel()
        self.clock = self.clocked = None


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
        self.status: StatusListener | None = None
        self._store = EnergyStore.open(config.outbox.energies)
        self._saving = asyncio.Lock()
        self._aggregator = Aggregator(site.nodes, aggregation_settings(config), self._store)
        self._aggregator.place_nights(clock.monotonic())
        self.poller = Poller(site.connections, clock, self, self.watchdog, self._aggregator.nights)
        self.deliveries = Deliveries(config, clock, environ, trust)
        self._endpoints = {push.name: _endpoint(config, push) for push in config.endpoints}
        self._leader = _fastest(self._endpoints)
        """The polls are aligned with the ticks of this endpoint."""
        self._schedule = Scheduler(self._leader.rhythm, clock, self.poller, self._lead)
        self._line: asyncio.TaskGroup | None = None
        self._showing: asyncio.Task[None] | None = None

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Poll and push until cancelled. Then stop polling, finish or abort the attempts in flight, and close."""
        for each in self._endpoints.values():
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
                    async with asyncio.TaskGroup() as self._line:
                        self._line.create_task(self.poller.run())
                        # Before the clock is trusted, its time cannot be compared with the last label.
                        after = self._aggregator.last_time if self.deliveries.clock_trusted else 0
                        self._line.create_task(self._schedule.run(ready, after))
                        self._set_clocks(after)
                        self._start_status()
                finally:
                    await self.deliveries.close()
        finally:
            await asyncio.to_thread(self._aggregator.save)
            self._store.close()
            log.info("stopped")

    async def reload(self, config: Config, site: Site) -> None:
        """Apply another configuration. `site` shares the unchanged devices with the running site. Raises ConfigError.

        Devices and links that are the same objects keep their state. An endpoint with the same name keeps its state.
        """
        before = self.config
        if config.outbox.path != before.outbox.path:
            raise ConfigError([f"outbox.path: a change needs a restart (in use: {str(before.outbox.path)!r})"])
        self.config = config
        self._change_endpoints(config)
        self.site = site
        self._aggregator.reconfigure(site.nodes, aggregation_settings(config))
        await self.poller.replace(site.connections)
        self.poller.request()
        await self.deliveries.change(config)
        if config.status != before.status:
            await self._stop_status()
            self._start_status()
        self._set_clocks()

    def overdue(self) -> list[str]:
        """Return the names of the tasks that are past their deadline."""
        return self.watchdog.overdue() + self.deliveries.overdue()

    async def waiting(self) -> int:
        """Return the number of waiting messages in all queues."""
        return sum(await asyncio.gather(*(each.waiting() for each in self.deliveries)))

    @property
    def not_on_disk(self) -> str | None:
        """Which data the disk does not accept, in words; None if it accepts all."""
        return not_on_disk({each.push.name: each.in_memory for each in self.deliveries}, energies=self._store.in_memory)

    async def snapshot(self) -> Snapshot:
        """Return the state of the daemon at this moment."""
        deliveries = list(self.deliveries)
        backlogs = await asyncio.gather(*(each.backlog() for each in deliveries))
        trusted = self.deliveries.clock_trusted
        clock = "waiting" if not trusted else "synchronised" if kernel_synchronised() else "unsynchronised"
        now = self._clock.monotonic()
        found = snapshot(
            self.config,
            self.recorder,
            self.site.devices,
            self._aggregator.nights,
            [each.summary for each in self._endpoints.values() if each.summary is not None],
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
        """Start the status listener if it is configured. The module is imported only then, to save memory."""
        if self.config.status is not None and self._line is not None:
            from agent.status.listener import StatusListener

            self.status = StatusListener(self.config.status, self.snapshot, self._clock, self.overdue)
            self._showing = self._line.create_task(self.status.run())

    async def _stop_status(self) -> None:
        if self._showing is not None:
            self._showing.cancel()
            await asyncio.gather(self._showing, return_exceptions=True)
        self._showing = self.status = None

    # PollListener
    def observe(self, device: Device, scan: Scan) -> None:
        self.recorder.observe(device, scan)
        wall = self._clock.time() if self.deliveries.clock_trusted else None
        self._aggregator.observe(device.nodes, scan, wall)

    def missed(self, device: Device, error: Exception, at: float) -> None:
        self.recorder.missed(device, error, at)
        self._aggregator.missed(device.nodes, at)

    def skipped(self, device: Device, count: int) -> None:
        self._aggregator.skipped(device.nodes, count)

    def _change_endpoints(self, config: Config) -> None:
        """Stop the endpoints that are removed or disabled. A new endpoint starts when its queue is open."""
        before = self._endpoints
        self._endpoints = {}
        names = {}
        for push in config.endpoints:
            new = _endpoint(config, push)
            known = before.pop(push.name, None) or before.pop(push.formerly or "", None)
            if known is not None:
                names[push.name] = known.push.name
                known.push, known.payload, known.rhythm = new.push, new.payload, new.rhythm
            self._endpoints[push.name] = known or new
        self._report.reconfigure(names)
        for gone in before.values():
            gone.stop_clock()

    def _set_clocks(self, after: int = 0) -> None:
        """Align the schedule of the polls with the fastest endpoint. Give every other endpoint its own push clock.

        `after` is the label of the last tick before the start, 0 if unknown.
        """
        for name, endpoint in self._endpoints.items():
            endpoint.delivery = self.deliveries[name]
        leader = _fastest(self._endpoints)
        self._schedule.change(leader.rhythm, leader.last if leader is not self._leader else None)
        self._leader = leader
        leader.stop_clock()
        for each in self._endpoints.values():
            if each is not leader and each.clocked != each.rhythm:
                self._start_clock(each, after)

    def _start_clock(self, endpoint: _Endpoint, after: int) -> None:
        endpoint.stop_clock()
        group, rhythm = self._line, endpoint.rhythm
        if group is None:
            return

        def on_tick(tick: Tick) -> None:
            endpoint.last = tick
            answers = self.poller.answers(tick.at + rhythm.deadline_s - self._clock.monotonic())
            group.create_task(self._push(endpoint, tick, answers))

        last = endpoint.last.time if endpoint.last is not None else after
        clock = PushClock(rhythm.push_s, rhythm.phase_s, self._clock, on_tick, after=last)
        endpoint.clock, endpoint.clocked = group.create_task(clock.run()), rhythm

    async def _lead(self, tick: Tick, answers: list[asyncio.Future[None]]) -> None:
        self._leader.last = tick
        await self._push(self._leader, tick, answers)

    async def _push(self, endpoint: _Endpoint, tick: Tick, answers: list[asyncio.Future[None]]) -> None:
        """Close the interval when every device answered or at the deadline. Store its messages."""
        with bound_contextvars(endpoint=endpoint.push.name):
            deadline = tick.at + endpoint.push.effective_deadline_s
            if not await within(answers, self._clock, deadline - self._clock.monotonic()):
                log.debug("deadline_reached", tick=tick.time)
            name, delivery = endpoint.push.name, endpoint.delivery
            if delivery is None or self._endpoints.get(name) is not endpoint:
                return  # a reload removed it
            if self.deliveries.clock_trusted:
                self._aggregator.follow_clock(self._clock.time() - self._clock.monotonic())
            summary = endpoint.summary = self._aggregator.close(tick.at, tick.time, name)
            with self.watchdog.running("storing the interval", STUCK_S):
                try:
                    await delivery.submit(bodies(summary, endpoint.payload), tick.at)
                except NotAloneError:
                    raise
                except Exception:  # a failed write of one interval must not stop the next ones
                    log.exception("interval_not_stored", tick=tick.time)
                now = await self._save()
        if self._report.begin(now):
            self._report.write(await self.snapshot())
        if self._on_summary is not None:
            self._on_summary(summary)

    async def _save(self) -> float:
        """Save energies and nights when they are due. Returns the monotonic time."""
        async with self._saving:
            if self._aggregator.save_due(now := self._clock.monotonic()):
                await asyncio.to_thread(self._aggregator.save, now)
        return now


def _endpoint(config: Config, push: PushConfig) -> _Endpoint:
    return _Endpoint(push, payload_options(config, push), rhythm(config, push))


def _fastest(endpoints: Mapping[str, _Endpoint]) -> _Endpoint:
    """The endpoint with the shortest interval; the first of several."""
    return min(endpoints.values(), key=lambda each: each.rhythm.push_s)


def rhythm(config: Config, push: PushConfig) -> Rhythm:
    """The settings of the schedule of one endpoint, from the configuration."""
    endpoint = "" if push.name == DEFAULT_NAME else push.name
    phase = phase_s(push.align, config.site.node_id, push.interval_s, endpoint)
    return Rhythm(push.interval_s, phase, push.effective_deadline_s)


def aggregation_settings(config: Config) -> AggregationSettings:
    """The settings of the aggregation, from the configuration."""
    return AggregationSettings(
        timezone=ZoneInfo(config.site.timezone) if config.site.timezone else None,
        statistic=config.poll.statistic,
        stale_after_s=config.poll.stale_after_s,
        endpoints={push.name: _summary_settings(config, push) for push in config.endpoints},
        connection_W=_CONNECTION_MARGIN * max(config.site.import_limit_W or 0.0, config.site.export_limit_W or 0.0),
    )


def _summary_settings(config: Config, push: PushConfig) -> SummarySettings:
    return SummarySettings(
        node_ids=frozenset(
            node_id
            for device in config.device
            for node_id in device.node_ids.values()
            if device.enabled and push.chooses(node_id)
        ),
        partial_totals=push.partial_totals,
        sign={type_: getattr(push.sign, type_) for type_ in NodeType},
        formerly=push.formerly,
    )


def payload_options(config: Config, push: PushConfig) -> PayloadOptions:
    """The settings of the payload for one endpoint, from the configuration."""
    return PayloadOptions(
        site_node_id=push.site_node_id or config.site.node_id,
        node_ids=push.node_ids,
        levels=push.levels,
        device_format=push.device_format,
        device_fields=push.device_fields,
        time_format=push.time_format,
        quality=push.quality,
        import_limit_W=config.site.import_limit_W,
        export_limit_W=config.site.export_limit_W,
    )
