"""Measures the cost of a second endpoint: a daemon with one endpoint beside one with two.

Both daemons run at the same time, each with its own 50 devices, so that the load of the machine is the same for both.
Every endpoint receives the device types every 5 s. The bounds: 1.2 x the CPU of one endpoint, 3 MB more memory, and the
same number of requests to devices.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing import Process, Queue
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from benchmarks._daemon import CONTEXT, cpu_s, memory_mb, serve_devices, serve_endpoint, site
from benchmarks._figures import Figure, table

WARM_UP_S = 10.0  # the first push of each endpoint loads modules
MEASURED_S = 40.0


class Daemon:
    """A daemon with its own devices and its own endpoints."""

    def __init__(self, endpoints: int) -> None:
        self.endpoints = endpoints
        self._counts: Queue[int] = CONTEXT.Queue()
        ports: Queue[list[int]] = CONTEXT.Queue()
        port: Queue[int] = CONTEXT.Queue()
        self._servers: list[Process] = [
            CONTEXT.Process(target=serve_devices, args=(ports, self._counts), daemon=True),  # type: ignore[list-item]
            CONTEXT.Process(target=serve_endpoint, args=(port,), daemon=True),  # type: ignore[list-item]
        ]
        for server in self._servers:
            server.start()
        self._folder = TemporaryDirectory()
        config = site(Path(self._folder.name), ports.get(), port.get(), endpoints)
        command = [sys.executable, "-m", "agent", "run", "--config", str(config)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)
        for server in self._servers:
            server.terminate()
        self._folder.cleanup()

    def begin(self) -> None:
        """Start the measurement."""
        while not self._counts.empty():
            self._counts.get()
        self._cpu_s, self._began = cpu_s(self._process.pid), time.monotonic()

    def figures(self) -> tuple[float, float, float]:
        """Per cent of one core, MB of PSS, and requests to devices a second, since `begin`."""
        used = 100 * (cpu_s(self._process.pid) - self._cpu_s) / (time.monotonic() - self._began)
        seen = []
        while not self._counts.empty():
            seen.append(self._counts.get())
        return used, memory_mb(self._process.pid, "Pss"), median(seen)


def run(endpoints: tuple[int, ...]) -> list[tuple[float, float, float]]:
    """The figures of a daemon for each number of endpoints."""
    with ExitStack() as stack:
        daemons = [stack.enter_context(Daemon(number)) for number in endpoints]
        time.sleep(WARM_UP_S)
        for daemon in daemons:
            daemon.begin()
        time.sleep(MEASURED_S)
        return [daemon.figures() for daemon in daemons]


def figures() -> Iterator[Figure]:
    (cpu_1, memory_1, requests_1), (cpu_2, memory_2, requests_2) = run((1, 2))
    yield Figure("CPU with two endpoints / one", cpu_2 / cpu_1, "x", 1.2)
    yield Figure("memory of a further endpoint", memory_2 - memory_1, "MB PSS", 3)
    yield Figure("requests to devices with two endpoints / one", requests_2 / requests_1, "x", 1.01)


def main() -> None:
    print(table(list(figures())))


if __name__ == "__main__":
    main()
