"""Runs the App under a service manager. SIGHUP reloads the configuration."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from time import localtime, strftime
from typing import TYPE_CHECKING

import structlog

from agent.app import App
from agent.config import ConfigError, load_apart
from agent.delivery import Delivery
from agent.runtime import Clock, SystemClock
from agent.service.sd_notify import notify, reloading, status, watchdog_s
from agent.site import Site, build
from agent.status import endpoint_reason
from agent.storage import NotAloneError, check_locks

if TYPE_CHECKING:
    from agent.config import Config, LogConfig

log = structlog.get_logger(__name__)

# Seconds between two checks of the status line. A changed line is sent.
_STATUS_S = 2.0


class Daemon:
    """Runs an App with one configuration file. A reload calls `set_log` with the new `[log]` table."""

    def __init__(
        self,
        path: Path,
        config: Config,
        site: Site,
        environ: Mapping[str, str],
        set_log: Callable[[LogConfig], None],
        clock: Clock | None = None,
    ) -> None:
        self._path = path
        self._environ = environ
        self._set_log = set_log
        self._clock = clock or SystemClock()
        self._hangup = asyncio.Event()
        self._refused = ""
        """The end of the status line if the last reload was refused; otherwise empty."""
        self._last_sent: dict[str, str] = {}
        """`STATUS`: the last status line. `stuck`: the names of the overdue tasks at the last check of the watchdog."""
        self.app = App(config, site, self._clock, environ)
        _log_replaced(site)

    async def run(self, ready: Callable[[], None]) -> None:
        """Run until cancelled.

        Raises NotAloneError if the state directory was replaced, and another agent has locked the new directory.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)
        try:
            async with asyncio.TaskGroup() as group:
                for each in (self._reload(), self._send_status(), self._send_watchdog()):
                    group.create_task(each)
                await self.app.run(ready)
        except BaseExceptionGroup as group:
            error: BaseException | None = group.subgroup(NotAloneError)
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            if error is not None:
                raise error from None
            raise
        finally:
            loop.remove_signal_handler(signal.SIGHUP)

    async def _reload(self) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            self._notify(*reloading())
            try:
                config, site = await asyncio.to_thread(self._read, self.app.site)
                await self._apply(config, site)
            except ConfigError as error:
                self._refuse(error.lines)
            self._notify("READY=1")
            self._notify_status(await self._status())

    def _read(self, running: Site) -> tuple[Config, Site]:
        """Read the configuration file and build its site. Raises ConfigError, also for a bug in a driver."""
        try:
            config = load_apart(self._path, self._environ)
            return config, build(config, str(self._path), running)
        except ConfigError:
            raise
        except Exception as error:  # such as a bug in a driver; the running site must continue
            log.exception("reload_defect")
            raise ConfigError([f"{self._path}: {type(error).__name__}: {error}"]) from error

    async def _apply(self, config: Config, site: Site) -> None:
        before = self.app.site.devices
        await self.app.reload(config, site)
        self._refused = ""
        self._set_log(config.log)
        _log_replaced(site)
        log.info("reloaded", devices=len(site.devices), kept=sum(device in before for device in site.devices))

    def _refuse(self, lines: list[str]) -> None:
        self._refused = f"; reload refused at {_clock_time(self._clock.time())}: {lines[0]}"
        for line in lines:
            log.warning("reload_refused", reason=line, remains="the configuration from before the reload")

    async def _send_status(self) -> None:
        while True:
            await asyncio.to_thread(check_locks)
            text = await self._status()
            if text != self._last_sent.get("STATUS"):
                self._notify_status(text)
            await self._clock.sleep(_STATUS_S)

    def _notify_status(self, text: str) -> None:
        if self._notify(text):
            self._last_sent["STATUS"] = text

    async def _send_watchdog(self) -> None:
        """Send WATCHDOG=1 three times within the limit of systemd's watchdog, unless a task is overdue."""
        limit_s = watchdog_s(self._environ, os.getpid())
        while limit_s is not None:
            stuck = ", ".join(self.app.overdue())
            if not stuck:
                self._notify("WATCHDOG=1")
            elif stuck != self._last_sent.get("stuck"):
                log.critical("stuck", what=stuck, consequence="the service manager's watchdog restarts the agent")
            self._last_sent["stuck"] = stuck
            await self._clock.sleep(limit_s / 3)

    async def _status(self) -> str:
        app = self.app
        devices = app.site.devices
        answering = sum(device.health.answers for device in devices)
        named = len(app.config.endpoints) > 1
        pushed = [await _delivery_in_words(each, self._clock.monotonic(), named) for each in app.deliveries]
        disk = [app.not_on_disk] if app.not_on_disk else []
        return status("; ".join([f"{answering} of {len(devices)} devices answer", *pushed, *disk]) + self._refused)

    def _notify(self, *lines: str) -> bool:
        return notify(*lines, environ=self._environ)


async def _delivery_in_words(delivery: Delivery, now: float, named: bool) -> str:  # noqa: FBT001 - one of two forms
    """Return the state of the delivery to one endpoint at monotonic second `now`, in words."""
    stats, waits_for_clock = delivery.stats, delivery.sender.waits_for_clock
    last = stats.last_delivery
    pushed = f"last push {_clock_time(last)}" if last is not None else "nothing pushed yet"
    parts = [pushed, f"{await delivery.waiting()} waiting"]
    # A reason with a duration would change the status line every 2 s.
    if stats.last_failure and not waits_for_clock:
        parts.append(f"pushes fail: {stats.last_failure}")
    elif reason := endpoint_reason(delivery.push, stats, now, waits_for_clock=waits_for_clock, timed=False):
        parts.append(reason)
    return f"{delivery.push.name}: {', '.join(parts)}" if named else "; ".join(parts)


def _clock_time(unix_s: float) -> str:
    return strftime("%H:%M:%S", localtime(unix_s))


def _log_replaced(site: Site) -> None:
    for name, path in site.replaced:
        log.info("own_profile", driver=name, file=str(path), instead_of="the built-in profile")
