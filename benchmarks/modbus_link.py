"""What the care of a link costs, beside a bare asyncio client and pymodbus' own.

- CPU per read, from socket to words and from socket to readings.
- The time for one cycle over many devices, each of which thinks before it answers.

Devices are a process of their own; the clients take turns in this one, and the best of several rounds counts, so that a
busy machine disturbs the ratios little.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import cache, partial
from multiprocessing import Queue, get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from pymodbus.client import AsyncModbusTcpClient

from benchmarks._daemon import Bare, profile
from drivers.catalogue import driver_of
from drivers.driver import Driver, ReadOptions
from drivers.modbus.link import Link
from drivers.modbus.settings import LinkSettings
from drivers.model import Table
from drivers.profile.loader import Profile, load

COUNTS = (2, 40, 125)
VALUES = 20
"""In the profile of `daemon_load`: float32, two registers each, adjacent."""
DEVICES = 200
LATENCY_S = 0.02
CYCLE_READS = 2
READS = 300
ROUNDS = 25
_CONTEXT = get_context("spawn")
Read = Callable[[int], Awaitable[object]]


class Device(asyncio.Protocol):
    """Answers every request with as many float32 of 50.0 as fit."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        size = 2 * int.from_bytes(data[10:12], "big")
        payload = (struct.pack(">f", 50.0) * size)[:size]
        frame = data[:4] + (3 + size).to_bytes(2, "big") + data[6:8] + bytes([size]) + payload
        if self._latency_s:
            asyncio.get_running_loop().call_later(self._latency_s, self._write, frame)
        else:
            self._write(frame)

    def _write(self, frame: bytes) -> None:
        self.transport.write(frame)  # type: ignore[attr-defined]  # a stream transport


def serve(ports: Queue[tuple[int, int]]) -> None:
    """A prompt device, and one that thinks and can be many."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        servers = [
            await loop.create_server(partial(Device, latency_s), "127.0.0.1", 0, backlog=2 * DEVICES)
            for latency_s in (0.0, LATENCY_S)
        ]
        prompt, thinking = (server.sockets[0].getsockname()[1] for server in servers)
        ports.put((prompt, thinking))
        await asyncio.Event().wait()

    asyncio.run(run())


async def cpu_us(read: Read, count: int) -> float:
    """Microseconds of CPU for one read."""
    before = time.process_time()
    for _ in range(READS):
        await read(count)
    return 1e6 * (time.process_time() - before) / READS


def benchmark_driver() -> Driver:
    return driver_of(_family(), ReadOptions())


@cache
def _family() -> Profile:
    """One for all its devices, as in the daemon."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "benchmark.toml")
        path.write_text(profile())
        return load(path)


async def clients(port: int, stack: AsyncExitStack) -> dict[str, Read]:
    """Reads of `count` input registers; "readings" also decodes a profile and has its own count."""
    transport, bare = await asyncio.get_running_loop().create_connection(Bare, "127.0.0.1", port)
    stack.callback(transport.close)
    pymodbus = AsyncModbusTcpClient("127.0.0.1", port=port)
    await pymodbus.connect()
    stack.callback(pymodbus.close)
    link = Link(LinkSettings(host="127.0.0.1", port=port))
    stack.push_async_callback(link.close)
    unit = link.unit(1)
    driver = benchmark_driver()
    return {
        "bare": lambda count: bare.read(0, count),
        "link": lambda count: unit.read(Table.INPUT, 0, count),
        "pymodbus": lambda count: pymodbus.read_input_registers(0, count=count),
        "readings": lambda _: driver.poll(unit, time.monotonic),
    }


async def compare_cpu(port: int) -> None:
    async with AsyncExitStack() as stack:
        reads = await clients(port, stack)
        for count in COUNTS:
            names = [name for name in reads if name != "readings" or count == 2 * VALUES]
            rounds = [{name: await cpu_us(reads[name], count) for name in names} for _ in range(ROUNDS)]
            best = {name: min(round_[name] for round_ in rounds) for name in names}
            ratios = ", ".join(f"{name} {us / best['bare']:.2f} x" for name, us in best.items() if name != "bare")
            print(f"{count:3} registers: bare {best['bare']:.1f} us CPU a read; {ratios}", flush=True)


async def cycle_s(reads: list[Read]) -> float:
    """Seconds until every device has answered all its requests."""

    async def device(read: Read) -> None:
        for _ in range(CYCLE_READS):
            await read(2 * VALUES)

    started = time.perf_counter()
    await asyncio.gather(*(device(read) for read in reads))
    return time.perf_counter() - started


async def compare_cycles(port: int) -> None:
    async with AsyncExitStack() as stack:
        devices = [await clients(port, stack) for _ in range(DEVICES)]
        best = {}
        for name in ("bare", "link", "pymodbus"):
            reads = [device[name] for device in devices]
            await cycle_s(reads)  # links connect on their first read
            best[name] = min([await cycle_s(reads) for _ in range(ROUNDS)])
    ideal = CYCLE_READS * LATENCY_S
    figures = ", ".join(f"{name} {s / best['bare']:.2f} x" for name, s in best.items() if name != "bare")
    print(
        f"{DEVICES} devices, {CYCLE_READS} reads of {1e3 * LATENCY_S:.0f} ms each: bare {1e3 * best['bare']:.0f} ms"
        f" ({best['bare'] / ideal:.2f} x the waiting alone); {figures}"
    )


def main() -> None:
    ports: Queue[tuple[int, int]] = _CONTEXT.Queue()
    devices = _CONTEXT.Process(target=serve, args=(ports,), daemon=True)
    devices.start()
    prompt, thinking = ports.get()
    asyncio.run(compare_cpu(prompt))
    asyncio.run(compare_cycles(thinking))
    devices.terminate()


if __name__ == "__main__":
    main()
