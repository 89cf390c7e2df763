"""How long a round of polls takes, from the request to the last reading, as the daemon asks for it.

- Some links with several devices each: beside the waiting that the slowest link cannot avoid.
- Many devices with a link each: beside a bare asyncio client that only unpacks words.
- The links that are well while others are silent: beside the same links while all are well.

Devices are a process of their own and think before each answer. All that is compared makes the same requests to the
same devices in turn; the best of several rounds counts, and where devices are many the median of several such bests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from multiprocessing import Queue, get_context
from statistics import median

import structlog

from agent.domain.node import Node
from agent.polling.device import Connection, Device
from agent.polling.poller import Poller
from agent.runtime.clock import SystemClock
from agent.service.supervisor import collect_rarely
from benchmarks._daemon import Bare
from benchmarks.modbus_link import VALUES, benchmark_driver
from benchmarks.modbus_link import Device as Answering
from drivers.modbus.link import Link
from drivers.modbus.settings import LinkSettings
from drivers.model import Kind, NodeType, Scan, Table

LINKS, SLOWEST, LATENCY_S = 20, 6, 0.05
MANY, MANY_LATENCY_S = 200, 0.02
SILENT = 8
ROUNDS = 20
REPETITIONS = 5
_CONTEXT = get_context("spawn")


class Silent(asyncio.Protocol):
    """Takes requests and never answers."""


def serve(ports: Queue[list[int]]) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        kinds = (partial(Answering, LATENCY_S), partial(Answering, MANY_LATENCY_S), Silent)
        servers = [await loop.create_server(kind, "127.0.0.1", 0, backlog=2 * MANY) for kind in kinds]
        ports.put([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.Event().wait()

    asyncio.run(run())


class Nobody:
    """A `PollListener`."""

    def observe(self, device: Device, scan: Scan) -> None:
        assert scan.complete

    def missed(self, device: Device, error: Exception, at: float) -> None:
        pass

    def skipped(self, device: Device, count: int) -> None:
        pass


def connection(port: int, devices: int) -> Connection:
    link = Link(LinkSettings(host="127.0.0.1", port=port))
    node = Node("m", NodeType.VARIABLE_POWER_LOAD, Kind.METER)
    units = range(1, devices + 1)
    return Connection(
        link, tuple(Device("m", "benchmark", benchmark_driver(), link.unit(unit), (node,), "", unit) for unit in units)
    )


Round = Callable[[], Awaitable[float]]


async def polled(connections: list[Connection], stack: AsyncExitStack, counted: int | None = None) -> Round:
    """Seconds until the first `counted` links have answered; the round ends with the others."""
    poller = Poller(connections, SystemClock(), Nobody())
    polling = asyncio.create_task(poller.run())

    async def end() -> None:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)

    async def round_s() -> float:
        started = time.perf_counter()
        answers = poller.request()
        await asyncio.gather(*answers[:counted])
        taken = time.perf_counter() - started
        await asyncio.gather(*answers)
        return taken

    stack.push_async_callback(end)
    await round_s()  # links connect in the first
    return round_s


async def bare(port: int, stack: AsyncExitStack) -> Round:
    """Seconds for a read of as many bare clients as there are devices."""
    clients = []
    for _ in range(MANY):
        transport, client = await asyncio.get_running_loop().create_connection(Bare, "127.0.0.1", port)
        stack.callback(transport.close)
        clients.append(client)

    return lambda: timed(*(client.read(0, 2 * VALUES) for client in clients))


async def timed(*reads: Awaitable[object]) -> float:
    """Seconds until all have ended."""
    started = time.perf_counter()
    await asyncio.gather(*reads)
    return time.perf_counter() - started


async def read_by_links(port: int, stack: AsyncExitStack) -> Round:
    """Links alone."""
    links = [Link(LinkSettings(host="127.0.0.1", port=port)) for _ in range(MANY)]
    for link in links:
        stack.push_async_callback(link.close)
    await timed(*(link.read(1, Table.INPUT, 0, 1) for link in links))
    return lambda: timed(*(link.read(1, Table.INPUT, 0, 2 * VALUES) for link in links))


async def read_by_drivers(devices: list[Device]) -> Round:
    """Drivers on links, without the poller."""
    await timed(*(device.driver.poll(device.reader, time.monotonic) for device in devices))
    return lambda: timed(*(device.driver.poll(device.reader, time.monotonic) for device in devices))


async def best_of(*rounds: Round) -> list[float]:
    """The best of each, taking turns, so that a busy machine disturbs all alike."""
    times = [[await round_s() for round_s in rounds] for _ in range(ROUNDS)]
    return [min(each) for each in zip(*times, strict=True)]


def spread(ratios: list[float]) -> str:
    """The median, and how far it varied."""
    return f"{median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"


async def compare(port: int, many_port: int, silent_port: int) -> None:
    async with AsyncExitStack() as stack:
        several = await polled([connection(port, 1 + number % SLOWEST) for number in range(LINKS)], stack)
        (taken,) = await best_of(several)
        print(
            f"{LINKS} links with up to {SLOWEST} requests of {1e3 * LATENCY_S:.0f} ms: {1e3 * taken:.0f} ms,"
            f" {taken / (SLOWEST * LATENCY_S):.2f} x the waiting of the slowest link",
            flush=True,
        )
        many = [connection(many_port, 1) for _ in range(MANY)]
        drivers = await read_by_drivers([device for each in many for device in each.devices])
        rounds = await read_by_links(many_port, stack), drivers, await polled(many, stack), await bare(many_port, stack)
        bests = [await best_of(*rounds) for _ in range(REPETITIONS)]
        links, readings, poller, _ = (spread([times[of] / times[-1] for times in bests]) for of in range(len(rounds)))
        print(
            f"{MANY} devices with {1e3 * MANY_LATENCY_S:.0f} ms: the bare client takes"
            f" {1e3 * min(times[-1] for times in bests):.0f} ms; links {links}, with readings {readings},"
            f" with the poller {poller}",
            flush=True,
        )
        well = LINKS - SILENT
        all_well = await polled([connection(port, 1) for _ in range(LINKS)], stack, well)
        mixed = [connection(port if number < well else silent_port, 1) for number in range(LINKS)]
        taken, least = await best_of(await polled(mixed, stack, well), all_well)
        print(f"{well} links while {SILENT} more are silent: {taken / least:.2f} x their round while all are well")


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    ports: Queue[list[int]] = _CONTEXT.Queue()
    devices = _CONTEXT.Process(target=serve, args=(ports,), daemon=True)
    devices.start()
    collect_rarely()  # as the daemon does
    asyncio.run(compare(*ports.get()))
    devices.terminate()


if __name__ == "__main__":
    main()
