"""Runs the daemon for simulated hours, with faults of endpoint, devices and disk, and measures its resources.

Daemon, devices and endpoint share one loop whose time jumps (`tests.support.simulated_loop`); sockets, files and
threads are real. Each round has the same faults and ends without faults, so that the figures at the ends of two rounds
can be compared. A figure that grows from round to round would grow without a limit.
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
from agent.config.apart import plain
from agent.runtime import logging_setup
from agent.runtime.log_dedup import RepeatLimiter
from agent.service.daemon import Daemon
from agent.site.builder import build
from agent.storage import alone
from tests.faults import disk
from tests.faults.http import Behaviour
from tests.support.ports import free_port
from tests.support.soak_peers import ACCEPTANCES, FAILURES, Devices, Log, Receiver, get, service_manager

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
    """What the process uses at the end of a round, and what the daemon has written to its log since the start."""

    hours: float
    rss_kib: int
    blocks: int
    """Allocated blocks of Python's memory."""
    objects: Counter[str]
    """Objects of classes of the agent and its drivers, by class, without those of `VARIES`."""
    descriptors: int
    tasks: int
    threads: int
    """Without the pool of asyncio, which starts its threads when they are needed."""
    disk_bytes: int
    """Size of all files in the state directory."""
    log_bytes: int


VARIES = ("agent.energy.candidate.Candidate", "agent.runtime.log_dedup._Seen")
"""Their numbers depend on the last half hour (undecided readings) and on the last hour (events of the log)."""
BOUNDS = {
    # Two more objects for each of 20 devices, such as the day of a counter after its first midnight.
    "objects of the agent": 40,
    # Three for each object of the agent, and those of the classes that vary.
    "blocks of memory": 3000,
    # One kept-alive connection more. Both of its ends are in this process, and the endpoint has a task for it.
    "descriptors": 2,
    "tasks": 1,
    "threads": 0,
    # The queue keeps the size that it had in the longest outage: the reserve, as the disk was full meanwhile.
    "KiB of files": 512,
}
"""Maximum growth of a figure from the end of a round to the end of a later round."""


def growth(before: Figures, after: Figures) -> dict[str, float]:
    """The growth of the figures, with the names of `BOUNDS`."""
    return {
        "objects of the agent": sum((after.objects - before.objects).values()),
        "blocks of memory": after.blocks - before.blocks,
        "descriptors": after.descriptors - before.descriptors,
        "tasks": after.tasks - before.tasks,
        "threads": after.threads - before.threads,
        "KiB of files": (after.disk_bytes - before.disk_bytes) / 1024,
    }


def _name(each: object) -> str:
    """The class, with its module; nothing for the classes whose number varies."""
    name = f"{type(each).__module__}.{type(each).__qualname__}"
    return "" if name in VARIES else name


def rss_kib() -> int:
    """The memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


class Soak:
    """A daemon with its peers, in a `SimulatedLoop`. It works while `running`."""

    def __init__(self, folder: Path, state: Path, *, small_disk: bool) -> None:
        """`state` is the state directory. If it is on a `small_disk`, each round fills the disk."""
        self.receiver = Receiver()
        self.renamed = Receiver()
        """A second endpoint. Reloads rename, disable and change it."""
        self.devices = Devices()
        self.log = Log()
        self.notified: Counter[str] = Counter()
        """Number of notifications to the service manager, by key."""
        self._path = folder / "config.toml"
        self._state = state
        self._small_disk = small_disk
        self._notify = folder / "notify"
        self._ports = (free_port(), free_port())
        self._clock = LoopClock()
        self._begun = self._clock.monotonic()
        self._rounds = 0
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
            config = plain(load(self._path, environ))  # reloads read it in a process of its own
            site = build(config, str(self._path))
            self._daemon = Daemon(self._path, config, site, environ, lambda _: None, self._clock)
            tasks = [
                asyncio.create_task(each) for each in (self._daemon.run(lambda: None), self._measure(), self._look())
            ]
            self._running = tasks[0]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(each, asyncio.CancelledError) for each in results), results

    def configure(self, number: int) -> None:
        """Write a configuration: 0 is the usual one; 1, 2 and 3 differ in devices, endpoints, listener or queue."""
        name, formerly = ("renamed", "second") if number == 1 else ("second", "renamed")
        push = (
            f'token = "{TOKEN}"\ninterval_s = {PUSH_S}\nwait_for_clock_s = 0\nlevels = ["device_type", "device"]\n'
            'device_format = "snapshot"\ndevice_fields = "all"\nquality = true\n'
            "retry = {dead_letter_after = 2, max_s = 20}\n"
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

    async def round(self, minutes: int, mistakes: int = 4) -> None:
        """Run all faults within this number of minutes. The last third of the time is for the recovery.

        Before each of the first `mistakes` of the four reloads is one with a mistake. Each reload starts a process.
        """
        begin = self._clock.monotonic()

        async def until(share: float) -> None:
            await asyncio.sleep(begin + 60 * minutes * share - self._clock.monotonic())

        for part, behaviour in enumerate(self._rotated(FAILURES + ACCEPTANCES)):
            await until(0.05 + 0.25 * part / len(FAILURES + ACCEPTANCES))
            await self.receiver.change(behaviour)
        await until(0.3)
        await self.receiver.change(None)
        self.receiver.refuse_next()
        await until(0.34)
        await self.receiver.server.down()
        await self.devices.break_down()
        filler = disk.fill(self._state) if self._small_disk else None
        await until(0.6)
        if filler is not None:
            filler.unlink()
        await self.devices.heal()
        await self.receiver.server.up()
        for part, change in enumerate((1, 2, 3, 0)):
            await until(0.6 + 0.02 * part)
            if part < mistakes:
                self._path.write_text("[site]\nnode_id = 7\n")
                await self._reload()
            self.configure(change)
            await self._reload()
        await until(1.0)

    async def _reload(self) -> None:
        before = self.notified["READY"]
        assert not self._running.done(), self._running  # the signal would end this process
        os.kill(os.getpid(), signal.SIGHUP)
        while self.notified["READY"] == before:  # noqa: ASYNC110 - the loop counts what arrives at the socket
            await asyncio.sleep(0.1)

    def _rotated(self, behaviours: tuple[Behaviour, ...]) -> tuple[Behaviour, ...]:
        """Change the order in each round, because the answers during a `Retry-After` pause are not requested."""
        self._rounds += 1
        begin = 7 * self._rounds % len(behaviours)
        return behaviours[begin:] + behaviours[:begin]

    async def figures(self) -> Figures:
        """Measure the process now."""
        self.receiver.settle(LEVELS, PUSH_S)
        self.renamed.settle(LEVELS, PUSH_S)
        self.devices.forget()
        gc.collect()
        return Figures(
            hours=(self._clock.monotonic() - self._begun) / 3600,
            rss_kib=rss_kib(),
            blocks=sys.getallocatedblocks(),
            objects=Counter(name for name in map(_name, gc.get_objects()) if name.startswith(("agent.", "drivers."))),
            descriptors=sum(1 for _ in os.scandir("/proc/self/fd")),
            tasks=len(asyncio.all_tasks()),
            threads=sum(not each.name.startswith("asyncio_") for each in threading.enumerate()),
            disk_bytes=sum(each.stat().st_size for each in self._state.rglob("*") if each.is_file()),
            log_bytes=self.log.size,
        )

    async def counted(self) -> dict[str, int]:
        """Return the numbers of messages of the main endpoint that were not accepted, as the agent counts them."""
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
            await asyncio.sleep(60)
            for path in ("/", "/metrics", "/status.json", "/readyz", "/nothing"):
                for port in self._ports:  # one of them is closed
                    await get(port, path)

    @contextlib.contextmanager
    def _logging(self) -> Iterator[None]:
        before = structlog.get_config()
        try:
            structlog.configure(processors=[RepeatLimiter(self._clock.monotonic)])  # `configure` keeps it
            logging_setup.configure("info", "json", self.log)  # type: ignore[arg-type]  # it has the methods that are used
            yield
        finally:
            structlog.configure(**before)
