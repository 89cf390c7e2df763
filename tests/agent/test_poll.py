"""Polling against devices that fail on real sockets, with time in the test's hands."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import structlog

from agent.node import Node
from agent.poll import BACKOFF_FIRST_S, BACKOFF_MAX_S, Connection, Device, Health, Poller, within
from drivers.base import Catalogue, ReadOptions
from drivers.bus import Link
from drivers.errors import SilentError
from drivers.model import Kind, NodeType, Scan, Table
from tests.faults.modbus import FaultServer, registers_from


class SteppedClock:
    """Monotonic time that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000 + self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


class Notes:
    """poll.Sink that remembers."""

    def __init__(self) -> None:
        self.observed: list[str] = []
        self.missing: list[str] = []

    def observe(self, device: Device, scan: Scan) -> None:
        self.observed.append(device.name)

    def missed(self, device: Device, error: Exception, at: float) -> None:
        self.missing.append(device.name)


def registers() -> dict[int, int]:
    words = registers_from(0, [0] * 100)
    words[12], words[13] = struct.unpack(">HH", struct.pack(">f", 5.0))
    return words


def device(link: Link, unit_id: int) -> Device:
    name = f"u{unit_id}"
    driver = Catalogue().create("eastron-sdm120", ReadOptions())
    node = Node(name, NodeType.VARIABLE_POWER_LOAD, Kind.METER)
    return Device(name, "eastron-sdm120", driver, link.unit(unit_id), (node,), "test")


@contextlib.asynccontextmanager
async def polling(links: dict[Link, list[Device]], clock: SteppedClock, notes: Notes) -> AsyncIterator[Poller]:
    poller = Poller([Connection(link, tuple(devices)) for link, devices in links.items()], clock, notes)
    task = asyncio.create_task(poller.run())
    try:
        yield poller
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_silent_unit_costs_its_neighbours_one_time_out_then_nothing() -> None:
    clock, notes = SteppedClock(), Notes()
    async with FaultServer({(unit, Table.INPUT): registers() for unit in (1, 3)}) as server:
        link = Link(server.link(timeout_s=0.1))
        async with polling({link: [device(link, unit) for unit in (1, 2, 3)]}, clock, notes) as poller:
            for _ in range(3):
                await asyncio.gather(*poller.request())
            assert notes.observed == ["u1", "u3"] * 3
            assert notes.missing == ["u2"] * 3
            assert sum(seen.unit_id == 2 for seen in server.requests) == 1
            clock.now += BACKOFF_FIRST_S
            await asyncio.gather(*poller.request())
            assert sum(seen.unit_id == 2 for seen in server.requests) == 2


async def test_loss_and_return_are_one_event_each() -> None:
    clock, notes = SteppedClock(), Notes()
    with structlog.testing.capture_logs() as events:
        async with FaultServer({(1, Table.INPUT): registers()}) as server:
            link = Link(server.link(timeout_s=0.1))
            async with polling({link: [device(link, 1)]}, clock, notes) as poller:
                await asyncio.gather(*poller.request())
                server.faults.silent = True
                for _ in range(3):
                    await asyncio.gather(*poller.request())
                    clock.now += 60
                server.faults.silent = False
                await asyncio.gather(*poller.request())
    told = [event for event in events if event["log_level"] != "debug"]
    assert [event["event"] for event in told] == ["device_found", "device_lost", "device_back"]
    assert told[1]["log_level"] == "warning"
    assert told[2]["after_s"] == 180


async def test_links_do_not_wait_for_each_other() -> None:
    clock, notes = SteppedClock(), Notes()
    async with (
        FaultServer({(1, Table.INPUT): registers()}) as good,
        FaultServer({(2, Table.INPUT): registers()}) as bad,
    ):
        bad.faults.silent = True
        first, second = Link(good.link()), Link(bad.link(timeout_s=30.0))
        links = {second: [device(second, 2)], first: [device(first, 1)]}
        async with polling(links, clock, notes) as poller:
            answers = poller.request()
            await answers[1]
            assert notes.observed == ["u1"]
            assert not answers[0].done()
            assert not await within(answers, RealClock(), 0.01)


class RealClock(SteppedClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def test_the_back_off_doubles_to_its_bound_and_one_answer_ends_it() -> None:
    health = Health()
    waits = []
    for _ in range(12):
        health.failed(SilentError("no answer"), 0.0)
        waits.append(health.due)
    assert waits[:3] == [BACKOFF_FIRST_S, 2 * BACKOFF_FIRST_S, 4 * BACKOFF_FIRST_S]
    assert waits[-1] == BACKOFF_MAX_S
    health.answered(5.0)
    assert (health.failures, health.due, health.since) == (0, 0.0, None)
