"""The composition root: builds the line poll → totals → payload → outbox → push from a Config, and runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from agent import __version__
from agent.aggregate import Summary
from agent.clock import Clock
from agent.config import Config
from agent.energy_store import EnergyStore
from agent.outbox import Outbox
from agent.payload import PayloadOptions, bodies
from agent.poll import Device, Poller, within
from agent.push import Sender
from agent.site import Site
from agent.ticks import Tick, first_tick, next_tick, phase_s
from agent.totals import Totals, TotalsSettings
from drivers.model import NodeType, Scan

log = structlog.get_logger(__name__)

USER_AGENT = f"telemetry-push-agent/{__version__}"


class App:
    """The running line. `on_summary` sees each push interval as it is closed, for the demo and for status."""

    def __init__(
        self,
        config: Config,
        site: Site,
        clock: Clock,
        environ: Mapping[str, str],
        on_summary: Callable[[Summary], None] | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._on_summary = on_summary
        self._phase = phase_s(config.push.align, config.site.node_id, config.push.interval_s)
        self._store = EnergyStore.open(config.outbox.path.with_name("energy.sqlite3"))
        self._totals = Totals(site.nodes, totals_settings(config), self._store)
        self._payload = payload_options(config)
        self.poller = Poller(site.connections, clock, self)
        outbox = Outbox.open(
            config.outbox.path, max_age_s=config.outbox.max_age_s, max_size_mb=config.outbox.max_size_mb, now=clock.time
        )
        self._outbox = outbox
        self.sender = Sender(
            config.push,
            outbox,
            backlog_rate_per_s=config.outbox.backlog_rate_per_s,
            clock=clock,
            environ=environ,
            user_agent=USER_AGENT,
        )

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Poll and push until cancelled; then stop polling, finish or keep the attempt in flight, and close."""
        log.info("started", version=__version__, interval_s=self._config.push.interval_s, phase_s=self._phase)
        sender = asyncio.create_task(self.sender.run(), name="push")
        line = asyncio.gather(self.poller.run(), self._schedule(ready))
        try:
            both: set[asyncio.Future[Any]] = {sender, line}
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            line.cancel()
            await asyncio.gather(line, return_exceptions=True)
            await self.sender.stop(_GRACE_S)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            await self.sender.close()
            await asyncio.to_thread(self._totals.save)
            self._store.close()
            self._outbox.close()
            log.info("stopped")

    # poll.Sink
    def observe(self, device: Device, scan: Scan) -> None:
        self._totals.observe(device.nodes, scan, self._clock.time())

    def missed(self, device: Device, error: Exception, at: float) -> None:
        self._totals.missed(device.nodes, at)

    async def _schedule(self, ready: Callable[[], None]) -> None:
        self.poller.request()
        ready()
        tick = first_tick(self._clock.monotonic(), self._clock.time(), self._config.push.interval_s, self._phase)
        async with asyncio.TaskGroup() as group:
            while True:
                await self._poll_until(tick)
                group.create_task(self._push(tick, self.poller.request()))
                tick = next_tick(
                    tick,
                    self._clock.monotonic(),
                    self._clock.time(),
                    self._config.push.interval_s,
                    self._phase,
                )

    async def _poll_until(self, tick: Tick) -> None:
        """Ask for the rounds between two pushes; the one of the tick itself is left to the caller."""
        interval = self._config.poll.interval_s
        at = max(self._clock.monotonic(), tick.at - self._config.push.interval_s) + interval
        while at < tick.at - interval / 2:
            await self._until(at)
            self.poller.request()
            at += interval
        await self._until(tick.at)

    async def _until(self, at: float) -> None:
        while (remaining := at - self._clock.monotonic()) > 0:
            await self._clock.sleep(remaining)

    async def _push(self, tick: Tick, answers: list[asyncio.Future[None]]) -> None:
        """Close the interval as soon as every device has answered, at the deadline at the latest."""
        deadline = tick.at + self._config.push.effective_deadline_s
        if not await within(answers, self._clock, deadline - self._clock.monotonic()):
            log.debug("deadline_reached", tick=tick.time)
        summary = self._totals.close(tick.at, tick.time)
        try:
            await self.sender.submit(bodies(summary, self._payload))
        except Exception:  # a disk that refuses one interval must not end the next ones
            log.exception("interval_not_stored", tick=tick.time)
        await asyncio.to_thread(self._totals.save)
        if self._on_summary is not None:
            self._on_summary(summary)


_GRACE_S = 3.0


def totals_settings(config: Config) -> TotalsSettings:
    """What the totals need of the configuration."""
    return TotalsSettings(
        timezone=ZoneInfo(config.site.timezone) if config.site.timezone else None,
        statistic=config.poll.statistic,
        stale_after_s=config.poll.stale_after_s,
        partial_totals=config.push.partial_totals,
        sign={type_: getattr(config.push.sign, type_) for type_ in NodeType},
    )


def payload_options(config: Config) -> PayloadOptions:
    """What the payload needs of the configuration."""
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
