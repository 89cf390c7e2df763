"""The daemon over hours of its own time, with faults of endpoint, devices and disk, and what it uses at their end.

Daemon, devices and endpoint share one loop whose time jumps (`tests.support.compressed_loop`); sockets, files and
threads are real. Each round has the same faults and ends with everything well again, so that the figures at the ends
of two rounds can be compared: what grows from round to round grows for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent.config import load
from agent.runtime import logging_setup
from agent.runtime.log_dedup import RepeatLimiter
from agent.service.daemon import Daemon
from agent.site.builder import build
from agent.storage import alone
from tests.faults import disk
from tests.support.soak_peers import ACCEPTANCES, FAILURES, Devices, Log, Receiver, free_port, get, service_manager

TOKEN = "a-token-nobody-may-read"
START = 1_750_017_600.0
"""2025-06-15 20:00 UTC: with eight hours, a local midnight is among them."""
PUSH_S = 60
LEVELS = 2


class LoopClock:
    """The time of the event loop."""

    def __init__(self) -> None:
        self.monotonic = asyncio.get_running_loop().time
        self._begun = self.monotonic()

    def time(self) -> float:
        return START + self.monotonic() - self._begun

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the process uses, and what it has written to its log, at the end of a round."""

    hours: float
    rss_kib: int
    blocks: int
    """Allocated blocks of Python's memory."""
    objects: Counter[str]
    """Objects of classes of the agent and its drivers, by class. Only those that can be part of a cycle are seen."""
    descriptors: int
    tasks: int
    threads: int
    disk_bytes: int
    """Size of all files in the state directory."""
    log_bytes: int
    """Since the start."""


class Soak:
    """A daemon with its peers. Use it as a context manager in a `CompressedLoop`."""

    def __init__(self, folder: Path, state: Path, *, small_disk: bool) -> None:
        """`state` is the state directory. If it is on a `small_disk`, each round fills the disk."""
        self.receiver = Receiver()
        self.renamed = Receiver()
        """A second endpoint. Reloads rename, disable and change it."""
        self.devices = Devices()
        self.log = Log()
        self.notified: Counter[str] = Counter()
        """What the service manager was told, by key."""
        self.filler: Path | None = None
        self._path = folder / "config.toml"
        self._state = state
        self._small_disk = small_disk
        self._notify = folder / "notify"
        self._ports = (free_port(), free_port())
        self._clock = LoopClock()
        self._begun = self._clock.monotonic()
        self._daemon: Daemon | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for server in self.devices.servers:
                await stack.enter_async_context(server)
            await stack.enter_async_context(self.receiver.server)
            await stack.enter_async_context(self.renamed.server)
            self.notified = stack.enter_context(service_manager(self._notify))
            stack.enter_context(self._logging())
            stack.enter_context(alone(self._state))
            self.configure(0)
            environ = {"NOTIFY_SOCKET": str(self._notify), "WATCHDOG_USEC": "60000000"}
            config = load(self._path, environ)
            site = build(config, str(self._path))
            self._daemon = Daemon(self._path, config, site, environ, lambda _: None, self._clock)
            running = asyncio.create_task(self._daemon.run(lambda: None))
            background = [asyncio.create_task(each) for each in (self._measure(), self._look())]
            try:
                yield
            finally:
                for task in (*background, running):
                    task.cancel()
                results = await asyncio.gather(*background, running, return_exceptions=True)
                assert all(isinstance(each, asyncio.CancelledError) for each in results), results

    def configure(self, number: int) -> None:
        """Write a configuration: 0 is the usual one; 1, 2 and 3 differ in devices, endpoints, listener or queue."""
        name, formerly = ("renamed", "second") if number == 1 else ("second", "renamed")
        push = (
            f'token = "{TOKEN}"\ninterval_s = {PUSH_S}\nwait_for_clock_s = 0\nlevels = ["device_type", "device"]\n'
            'device_format = "snapshot"\ndevice_fields = "all"\nquality = true\nretry.dead_letter_after = 2\n'
        )
        self._path.write_text(
            f'[site]\nnode_id = "S"\ntimezone = "UTC"\n'
            f'[[push]]\nname = "main"\nurl = "{self.receiver.server.url()}"\n{push}'
            f"timeout_s = {20 if number == 2 else 30}\n"
            f'[[push]]\nname = "{name}"\nformerly = "{formerly}"\nurl = "{self.renamed.server.url()}"\n{push}'
            f"gzip = true\nenabled = {str(number != 3).lower()}\n"
            f"[poll]\ninterval_s = {5 if number == 1 else 10}\n"
            f'[status]\nlisten = "127.0.0.1:{self._ports[number == 1]}"\n'
            f'[outbox]\npath = "{self._state}/outbox.sqlite3"\nbacklog_rate_per_s = 20\n'
            f"max_size_mb = {1 if number == 2 else 2}\n"
            f"{self.devices.tables(without_last=number == 1)}"
        )

    async def reload(self, number: int) -> None:
        self.configure(number)
        await self._hang_up()

    async def reload_mistake(self) -> None:
        self._path.write_text("[site]\nnode_id = 7\n")
        await self._hang_up()

    async def _hang_up(self) -> None:
        before = self.notified["READY"]
        os.kill(os.getpid(), signal.SIGHUP)
        while self.notified["READY"] == before:
            await asyncio.sleep(0.1)

    async def round(self, minutes: int) -> None:
        """One round of faults in so many minutes; the last third is for the recovery."""
        number = round((self._clock.monotonic() - self._begun) / 60 / minutes)
        begin = self._clock.monotonic()

        async def until(share: float) -> None:
            await asyncio.sleep(begin + 60 * minutes * share - self._clock.monotonic())

        await until(0.05)
        answers = [(each, False) for each in FAILURES] + [(each, True) for each in ACCEPTANCES]
        for part, (behaviour, accepts) in enumerate(answers, 1):
            await self.receiver.set(behaviour, accepts=accepts)
            await until(0.05 + 0.25 * part / len(answers))
        await self.receiver.set()
        self.receiver.refuse_next()
        await until(0.32)
        await self.receiver.server.down()
        if self._small_disk:
            self.filler = disk.fill(self._state)
        await self.devices.break_down(number)
        await until(0.6)
        if self.filler is not None:
            self.filler.unlink()
        await self.receiver.server.up()
        await self.devices.heal()
        for share, change in ((0.62, 1), (0.66, 2), (0.7, 3)):
            await self.reload(change)
            await until(share)
            await self.reload_mistake()
        await self.reload(0)
        await until(1.0)

    async def figures(self) -> Figures:
        """What the process uses now."""
        self.receiver.settle(LEVELS, PUSH_S)
        self.renamed.settle(LEVELS, PUSH_S)
        self.devices.forget()
        gc.collect()
        rss = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
        return Figures(
            hours=(self._clock.monotonic() - self._begun) / 3600,
            rss_kib=int(rss.split()[1]),
            blocks=sys.getallocatedblocks(),
            objects=Counter(
                f"{kind.__module__}.{kind.__qualname__}"
                for kind in map(type, gc.get_objects())
                if kind.__module__.startswith(("agent.", "drivers."))
            ),
            descriptors=len(os.listdir("/proc/self/fd")),
            tasks=len(asyncio.all_tasks()),
            threads=threading.active_count(),
            disk_bytes=sum(each.stat().st_size for each in self._state.rglob("*") if each.is_file()),
            log_bytes=self.log.size,
        )

    async def counted(self) -> dict[str, int]:
        """What the agent says about the messages of the main endpoint that were not accepted, by reason."""
        assert self._daemon is not None
        backlog = await next(each for each in self._daemon.app.deliveries if each.push.name == "main").backlog()
        return {"waiting": backlog.waiting, "parked": backlog.parked, **backlog.dropped}

    async def _measure(self) -> None:
        while True:
            self.devices.show((self._clock.monotonic() - self._begun) / 3600)
            await asyncio.sleep(10)

    async def _look(self) -> None:
        """Poll the status listener, like Prometheus and a browser."""
        while True:
            await asyncio.sleep(15)
            for path in ("/", "/metrics", "/status.json", "/readyz", "/nothing"):
                for port in self._ports:  # one of them is closed
                    await get(port, path)

    @contextlib.contextmanager
    def _logging(self) -> Iterator[None]:
        before = structlog.get_config()
        try:
            structlog.configure(processors=[RepeatLimiter(self._clock.monotonic)])  # which `configure` keeps
            logging_setup.configure("info", "json", self.log)  # type: ignore[arg-type]  # it has what is used
            yield
        finally:
            structlog.configure(**before)
