"""How long a round of polls takes, from the request to the last reading, as the daemon asks for it.

- Some links with several devices each: beside the waiting that the slowest link cannot avoid.
- Many devices with a link each: beside a bare asyncio client that only unpacks words.
- The links that are well while others are silent: beside the same links while all are well.

Devices are a process of their own and think before each answer; the best of several rounds counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from functools import partial
from multiprocessing import Queue, get_context

import structlog

from agent.clock import SystemClock
from agent.node import Node
from agent.poll import Connection, Device, Poller
from benchmarks.daemon_load import Bare
from benchmarks.modbus_link import VALUES, benchmark_driver
from benchmarks.modbus_link import Device as Answering
from drivers.bus import Link, LinkSettings
from drivers.model import Kind, NodeType, Scan

LINKS, SLOWEST, LATENCY_S = 20, 6, 0.05
MANY, MANY_LATENCY_S = 200, 0.02
SILENT = 8
ROUNDS = 10
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
    """poll.Sink"""

    def observe(self, device: Device, scan: Scan) -> None:
        assert scan.complete

    def missed(self, device: Device, error: Exception, at: float) -> None:
        pass


def connection(port: int, devices: int) -> Connection:
    link = Link(LinkSettings(host="127.0.0.1", port=port))
    node = Node("m", NodeType.VARIABLE_POWER_LOAD, Kind.METER)
    units = range(1, devices + 1)
    return Connection(
        link, tuple(Device("m", "benchmark", benchmark_driver(), link.unit(unit), (node,), "") for unit in units)
    )


async def best_round_s(connections: list[Connection], counted: int | None = None) -> float:
    """Seconds until the first `counted` links have answered, in the best of several rounds."""
    poller = Poller(connections, SystemClock(), Nobody())
    polling = asyncio.create_task(poller.run())
    times = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        answers = poller.request()
        await asyncio.gather(*answers[:counted])
        times.append(time.perf_counter() - started)
        await asyncio.gather(*answers)
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    return min(times[1:])  # links connect in the first


async def best_bare_s(port: int) -> float:
    """The same for as many bare clients as there are devices, a read each."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(MANY):
            transport, client = await asyncio.get_running_loop().create_connection(Bare, "127.0.0.1", port)
            stack.callback(transport.close)
            clients.append(client)
        times = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            await asyncio.gather(*(client.read(0, 2 * VALUES) for client in clients))
            times.append(time.perf_counter() - started)
    return min(times)


async def compare(port: int, many_port: int, silent_port: int) -> None:
    several = await best_round_s([connection(port, 1 + number % SLOWEST) for number in range(LINKS)])
    print(
        f"{LINKS} links with up to {SLOWEST} requests of {1e3 * LATENCY_S:.0f} ms: {1e3 * several:.0f} ms,"
        f" {several / (SLOWEST * LATENCY_S):.2f} x the waiting of the slowest link",
        flush=True,
    )
    bare = await best_bare_s(many_port)
    many = await best_round_s([connection(many_port, 1) for _ in range(MANY)])
    print(
        f"{MANY} devices with {1e3 * MANY_LATENCY_S:.0f} ms: {1e3 * many:.0f} ms,"
        f" {many / bare:.2f} x the bare client's {1e3 * bare:.0f} ms",
        flush=True,
    )
    well = LINKS - SILENT
    alone = await best_round_s([connection(port, 1) for _ in range(LINKS)], well)
    beside = await best_round_s(
        [connection(port if number < well else silent_port, 1) for number in range(LINKS)], well
    )
    print(f"{well} links while {SILENT} more are silent: {beside / alone:.2f} x their round while all are well")


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    ports: Queue[list[int]] = _CONTEXT.Queue()
    devices = _CONTEXT.Process(target=serve, args=(ports,), daemon=True)
    devices.start()
    asyncio.run(compare(*ports.get()))
    devices.terminate()


if __name__ == "__main__":
    main()
