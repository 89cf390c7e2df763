"""Polling against devices that fail on real sockets, with time in the test's hands."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import struct
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from agent.domain.node import Node
from agent.polling.device import Connection, Device
from agent.polling.device_health import BACKOFF_FIRST_S, BACKOFF_MAX_S, DeviceHealth
from agent.polling.poller import Poller, done_within
from agent.polling.scheduler import Rhythm
from agent.runtime.watchdog import STUCK_S, Watchdog
from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.errors import DriverError, SilentError
from drivers.modbus.link import Link
from drivers.model import Kind, NodeType, Scan, Table
from drivers.profile.loader import BUILT_IN
from tests.faults import sunspec
from tests.faults.modbus import Faults, FaultServer, registers_from
from tests.support.polling import Channel, running
from tests.support.simulated_clock import DrivenClock, settled


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
    """A PollListener that remembers."""

    def __init__(self) -> None:
        self.observed: list[str] = []
        self.missing: list[str] = []
        self.errors: set[type[Exception]] = set()
        self.skips: Counter[str] = Counter()

    def observe(self, device: Device, scan: Scan) -> None:
        self.observed.append(device.name)

    def missed(self, device: Device, error: Exception, at: float) -> None:
        self.missing.append(device.name)
        self.errors.add(type(error))

    def skipped(self, device: Device, count: int) -> None:
        self.skips.update({device.name: count})


def registers() -> dict[int, int]:
    words = registers_from(0, [0] * 100)
    words[12], words[13] = struct.unpack(">HH", struct.pack(">f", 5.0))
    return words


TEN_REQUESTS = 'manufacturer = "Acme"\nmodels = ["Ten"]\nkind = "meter"\nsource = "this test"\n' + "".join(
    f'[[point]]\nquantity = "active_power"\ntable = "input"\naddress = {100 * number}\ntype = "int16"\nbarrier = true\n'
    for number in range(10)
)


def device(link: Link, unit_id: int, driver_name: str = "eastron-sdm120", profiles: Path = BUILT_IN) -> Device:
    name = f"u{unit_id}"
    driver = Catalogue((profiles,)).create(driver_name, ReadOptions())
    node = Node(name, NodeType.VARIABLE_POWER_LOAD, Kind.METER)
    return Device(name, driver_name, driver, link.unit(unit_id), (node,), "test", unit_id)


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
        link = Link(server.link(timeout_s=0.5))
        async with polling({link: [device(link, unit) for unit in (1, 2, 3)]}, clock, notes) as poller:
            for _ in range(3):
                await asyncio.gather(*poller.request())
            assert notes.observed == ["u1", "u3"] * 3
            assert notes.missing == ["u2"] * 3
            assert notes.errors == {SilentError}, "also in the rounds without a probe"
            assert sum(seen.unit_id == 2 for seen in server.requests) == 1
            clock.now += BACKOFF_FIRST_S
            await asyncio.gather(*poller.request())
            assert sum(seen.unit_id == 2 for seen in server.requests) == 2


async def test_of_several_dead_units_one_is_probed_in_a_round() -> None:
    """Or each of them would cost its neighbours a time-out at the same moment."""
    clock, notes = SteppedClock(), Notes()
    async with FaultServer({(1, Table.INPUT): registers()}) as server:
        link = Link(server.link(timeout_s=0.5))
        async with polling({link: [device(link, unit) for unit in (1, 2, 3, 4)]}, clock, notes) as poller:
            await asyncio.gather(*poller.request())
            server.requests.clear()
            probed = []
            for _ in range(3):
                clock.now += BACKOFF_MAX_S
                await asyncio.gather(*poller.request())
                probed.append([seen.unit_id for seen in server.requests if seen.unit_id != 1])
                server.requests.clear()
            assert sorted(probed) == [[2], [3], [4]]


@pytest.mark.parametrize("faults", [Faults(close_instead=True), Faults(reset_mid_frame=True)], ids=["closes", "resets"])
async def test_a_gateway_that_hangs_up_on_one_unit_costs_the_others_nothing(faults: Faults) -> None:
    clock, notes = SteppedClock(), Notes()
    async with FaultServer({(unit, Table.INPUT): registers() for unit in (1, 2, 3)}) as server:
        server.unit_faults[2] = faults
        link = Link(server.link())
        async with polling({link: [device(link, unit) for unit in (1, 2, 3)]}, clock, notes) as poller:
            for _ in range(4):
                await asyncio.gather(*poller.request())
                clock.now += 10
    assert notes.observed == ["u1", "u3"] * 4


@pytest.mark.parametrize("units", [(1, 2), (1,)], ids=["beside another", "alone"])
async def test_a_defect_of_a_driver_is_logged_and_costs_only_its_device(units: tuple[int, ...]) -> None:
    class Defective:
        async def poll(self, reader: object, now: object) -> Scan:
            raise ZeroDivisionError("division by zero")

    clock, notes = SteppedClock(), Notes()
    with structlog.testing.capture_logs() as events:
        async with FaultServer({(unit, Table.INPUT): registers() for unit in units}) as server:
            link = Link(server.link())
            devices = [device(link, unit) for unit in units]
            driver, devices[0].driver = devices[0].driver, Defective()  # type: ignore[assignment]
            async with asyncio.timeout(60), polling({link: devices}, clock, notes) as poller:
                for _ in range(2):
                    await asyncio.gather(*poller.request())
                    clock.now += BACKOFF_FIRST_S
                assert notes.missing == ["u1"] * 2
                assert devices[0].health.errors == {"defect": 2}
                devices[0].driver = driver
                clock.now += BACKOFF_MAX_S
                await asyncio.gather(*poller.request())
    assert Counter(notes.observed) == {"u1": 1} | {f"u{unit}": 3 for unit in units[1:]}
    defects = [event for event in events if event["event"] == "driver_defect"]
    assert defects == 2 * [
        {
            "event": "driver_defect",
            "log_level": "error",
            "exc_info": True,
            "device": "u1",
            "address": "test",
            "driver": "eastron-sdm120",
        }
    ]
    lost = [event for event in events if event["event"] == "device_lost"]
    assert [event["device"] for event in lost] == ["u1"]


async def test_a_push_waits_for_devices_that_were_never_polled() -> None:
    notes = Notes()
    units = range(1, 7)
    async with FaultServer({(unit, Table.INPUT): registers() for unit in units}) as server:
        link = Link(server.link())
        async with polling({link: [device(link, unit) for unit in units]}, SteppedClock(), notes) as poller:
            poller.request()
            await asyncio.gather(*poller.answers(5.0))
            assert notes.observed == [f"u{unit}" for unit in units]


async def test_a_link_that_cannot_be_opened_is_tried_once_a_round_for_all_its_devices() -> None:
    clock, notes = SteppedClock(), Notes()
    async with FaultServer({}) as server:
        await server.refuse()
        link = Link(server.link())
        async with polling({link: [device(link, unit) for unit in (1, 2, 3)]}, clock, notes) as poller:
            await asyncio.gather(*poller.request())
            assert notes.missing == ["u1", "u2", "u3"]
            clock.now += BACKOFF_FIRST_S
            await asyncio.gather(*poller.request())
            assert notes.missing == ["u1", "u2", "u3"] * 2


async def test_when_polling_ends_every_link_is_closed() -> None:
    """So that a device that takes one client only is free for the next one at once."""
    served = {(1, Table.INPUT): registers()}
    async with FaultServer(served) as one, FaultServer(served) as other:
        links = [Link(server.link()) for server in (one, other)]
        async with polling({link: [device(link, 1)] for link in links}, SteppedClock(), Notes()) as poller:
            await asyncio.gather(*poller.request())
            assert (one.connections, other.connections) == (1, 1)
        await one.wait(lambda: not one.connections)
        await other.wait(lambda: not other.connections)


async def test_loss_and_return_are_one_event_each() -> None:
    clock, notes = SteppedClock(), Notes()
    with structlog.testing.capture_logs() as events:
        async with FaultServer({(1, Table.INPUT): registers()}) as server:
            link = Link(server.link(timeout_s=0.5))
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
            assert not await done_within(answers, RealClock(), 0.01)


async def test_a_new_site_keeps_the_links_and_devices_that_are_still_there() -> None:
    clock, notes = SteppedClock(), Notes()
    served = {(unit, Table.INPUT): registers() for unit in (1, 2)}
    async with FaultServer(served) as kept, FaultServer(served) as gone, FaultServer(served) as new:
        silent = device(Link(kept.link()), 3)
        silent.health.failed(SilentError("no answer"), clock.now)
        stays, leaves, comes = Link(kept.link()), Link(gone.link()), Link(new.link())
        first = device(stays, 1)
        async with polling({stays: [first, silent], leaves: [device(leaves, 1)]}, clock, notes) as poller:
            await asyncio.gather(*poller.request())
            answers = poller.request()
            await poller.replace(
                [Connection(stays, (first, silent, device(stays, 2))), Connection(comes, (device(comes, 1),))]
            )
            await asyncio.gather(*answers)
            assert gone.connections == 0
            await asyncio.gather(*poller.request())
            assert (kept.total_connections, gone.total_connections, new.total_connections) == (1, 1, 1)
            assert {seen.unit_id for seen in kept.requests} == {1, 2}, "the silent one keeps its back-off"
            assert {seen.unit_id for seen in new.requests} == {1}


async def test_what_a_device_answers_after_it_was_taken_away_is_nobodys() -> None:
    clock, notes = SteppedClock(), Notes()
    async with FaultServer({(unit, Table.INPUT): registers() for unit in (1, 2)}) as server:
        server.faults.latency_s = 0.05
        link = Link(server.link())
        async with polling({link: [device(link, 1)]}, clock, notes) as poller:
            answers = poller.request()
            await server.wait(lambda: bool(server.requests))
            await poller.replace([Connection(link, (device(link, 2),))])
            await asyncio.gather(*answers)
            assert notes.observed == []
            await asyncio.gather(*poller.request())
            assert notes.observed == ["u2"]


@pytest.mark.parametrize("lost", [True, False])
async def test_a_silent_device_that_is_taken_away_in_the_middle_of_a_round_is_missed_by_nobody(lost: bool) -> None:
    """Nobody knows its nodes any more: to be told of them would end the agent."""
    clock, notes = SteppedClock(), Notes()
    async with FaultServer({(1, Table.INPUT): registers()}) as server:
        server.faults.latency_s = 0.05
        link = Link(server.link())
        first, silent = device(link, 1), device(link, 2)
        if lost:
            silent.health.failed(SilentError("no answer"), clock.now)
        async with polling({link: [first, silent]}, clock, notes) as poller:
            answers = poller.request()
            await server.wait(lambda: bool(server.requests))
            await poller.replace([Connection(link, (first,))])
            await asyncio.gather(*answers)
            assert (notes.observed, notes.missing) == (["u1"], [])
            await asyncio.gather(*poller.request())
            assert notes.observed == ["u1", "u1"]


async def test_a_poll_that_hangs_is_stuck_and_one_that_fails_is_not() -> None:
    class Hanging:
        async def poll(self, reader: object, now: object) -> Scan:
            await asyncio.Event().wait()
            raise AssertionError

    clock = SteppedClock()
    watchdog = Watchdog(clock)
    async with FaultServer({}) as server:
        link, other = Link(server.link(timeout_s=0.5)), Link(server.link())
        hanging = device(other, 1)
        hanging.driver = Hanging()  # type: ignore[assignment]
        connections = [Connection(link, (device(link, 2),)), Connection(other, (hanging,))]
        poller = Poller(connections, clock, Notes(), watchdog)
        task = asyncio.create_task(poller.run())
        try:
            await poller.request()[0]
            assert watchdog.overdue() == []
            clock.now += STUCK_S + 1
            assert watchdog.overdue() == ["poll of u1"]
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert watchdog.overdue() == []


class RealClock(SteppedClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def test_a_slow_device_does_not_hold_up_its_neighbours(tmp_path: Path) -> None:
    """Each answer of unit 2 is in time, but it has ten to give; the others wait for two of them at the most."""
    (tmp_path / "ten.toml").write_text(TEN_REQUESTS)
    notes = Notes()
    tables = {(unit, Table.INPUT): registers() for unit in (1, 3)}
    async with FaultServer({**tables, (2, Table.INPUT): registers_from(0, [0] * 1000)}) as server:
        server.unit_faults[2] = Faults(latency_s=0.05)
        link = Link(server.link(timeout_s=0.5))
        slow = device(link, 2, "ten", tmp_path)
        slow.patience_s = 0.08
        async with polling({link: [device(link, 1), slow, device(link, 3)]}, SteppedClock(), notes) as poller:
            await asyncio.gather(*poller.request())
            assert notes.observed == ["u1", "u3", "u2"]
            before_third = [seen.unit_id for seen in server.requests].index(3)
            assert sum(seen.unit_id == 2 for seen in server.requests[:before_third]) <= 3
            # Known to be slow, it is asked last; a round asked for meanwhile is for the others.
            asked = len(server.requests)
            first = poller.request()
            await server.wait(lambda: sum(seen.unit_id == 2 for seen in server.requests[asked:]) == 3)
            await asyncio.gather(*first, *poller.request())
            assert notes.observed[3:] == ["u1", "u3", "u1", "u3", "u2"]
            assert sum(seen.unit_id == 2 for seen in server.requests) == 20
            # It is fast again.
            server.heal()
            slow.patience_s = 3.0
            for _ in range(2):
                await asyncio.gather(*poller.request())
    assert notes.observed[8:] == ["u1", "u3", "u2", "u1", "u2", "u3"]
    assert not notes.missing


async def test_a_late_answer_of_a_lost_device_leaves_its_neighbours_to_their_back_off() -> None:
    """It comes after the round in which the device was asked, so another round may be under way."""

    class Late:
        def __init__(self) -> None:
            self.asked, self.answer = asyncio.Event(), asyncio.Event()

        async def poll(self, reader: object, now: object) -> Scan:
            self.asked.set()
            await self.answer.wait()
            return Scan((), clock.now, clock.now)

    class Two(Notes):
        missed_two = asyncio.Event()

        def missed(self, device: Device, error: Exception, at: float) -> None:
            super().missed(device, error, at)
            if self.missing == ["u2", "u3"]:
                self.missed_two.set()

    clock, notes, late = SteppedClock(), Two(), Late()
    async with FaultServer({(unit, Table.INPUT): registers() for unit in (2, 3)}) as server:
        link = Link(server.link())
        devices = [device(link, unit) for unit in (1, 2, 3)]
        devices[0].driver, devices[0].patience_s = late, 0.05  # type: ignore[assignment]
        for each, failures in zip(devices, (1, 5, 5), strict=True):
            for _ in range(failures):
                each.health.failed(SilentError("no answer"), clock.now)
        async with polling({link: devices}, clock, notes) as poller:
            clock.now += BACKOFF_FIRST_S
            answers = poller.request()
            await late.asked.wait()
            await notes.missed_two.wait()  # the round is over
            late.answer.set()
            await asyncio.gather(*answers)
            await asyncio.gather(*poller.request())
            assert notes.observed == ["u1", "u1"]
            assert not server.requests
            clock.now += BACKOFF_MAX_S
            await asyncio.gather(*poller.request())
            assert notes.observed[2:] == ["u1", "u2", "u3"]


@pytest.mark.simulated_time
async def test_a_poll_that_takes_longer_than_a_minute_is_ended(tmp_path: Path) -> None:
    (tmp_path / "ten.toml").write_text(TEN_REQUESTS)
    notes = Notes()
    async with FaultServer({(2, Table.INPUT): registers_from(0, [0] * 1000)}) as server:
        server.faults.latency_s = 7.0
        link = Link(server.link(timeout_s=10.0))
        slow = device(link, 2, "ten", tmp_path)
        async with polling({link: [slow]}, SteppedClock(), notes) as poller:
            await asyncio.sleep(1.0)  # the poll begins between two checks
            begun = asyncio.get_running_loop().time()
            await asyncio.gather(*poller.request())
            assert 60.0 <= asyncio.get_running_loop().time() - begun < 62.1
            assert notes.missing == ["u2"]
            assert str(slow.health.error) == "the poll was not complete within 60 s"


async def test_when_a_link_comes_back_all_its_devices_do() -> None:
    clock, notes = SteppedClock(), Notes()
    async with FaultServer({(unit, Table.INPUT): registers() for unit in (1, 2, 3)}) as server:
        link = Link(server.link(timeout_s=0.5))
        async with polling({link: [device(link, unit) for unit in (1, 2, 3)]}, clock, notes) as poller:
            server.faults.silent = True
            for _ in range(8):
                await asyncio.gather(*poller.request())
                clock.now += 3
            server.heal()
            asked = len(server.requests)
            clock.now += BACKOFF_FIRST_S
            while not notes.observed:
                await asyncio.gather(*poller.request())
                clock.now += 3
            assert sorted(notes.observed) == ["u1", "u2", "u3"]
    assert sorted(seen.unit_id for seen in server.requests[asked:]) == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_when_a_link_comes_back_a_slow_device_that_fails_is_probed_once(fails: str) -> None:
    """It fails while the next device is polled or later. The answer of that one is no second reason to probe it."""
    clock, notes = SteppedClock(), Notes()
    waits, failed, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()
    probes = 0

    class Slow:
        async def poll(self, reader: object, now: object) -> Scan:
            nonlocal probes
            probes += 1
            await waits.wait()
            failed.set()
            raise SilentError("no answer")

    class Next:
        async def poll(self, reader: object, now: object) -> Scan:
            if fails == "before":
                waits.set()
                await failed.wait()
            answered.set()
            return Scan((), clock.now, clock.now)

    async with FaultServer({(1, Table.INPUT): registers()}) as server:
        link = Link(server.link())
        devices = [device(link, unit) for unit in (1, 2, 3)]
        devices[1].driver, devices[1].patience_s = Slow(), 0.05  # type: ignore[assignment]
        devices[2].driver = Next()  # type: ignore[assignment]
        for each, failures in zip(devices, (1, 5, 5), strict=True):
            for _ in range(failures):
                each.health.failed(SilentError("no answer"), clock.now)
        async with polling({link: devices}, clock, notes) as poller:
            clock.now += BACKOFF_FIRST_S
            answers = poller.request()
            await answered.wait()
            waits.set()
            await asyncio.gather(*answers)
    assert notes.observed == ["u1", "u3"]
    assert notes.missing == ["u2"]
    assert probes == 1


async def test_an_inverter_that_sleeps_is_no_news_all_night_and_is_found_at_sunrise() -> None:
    clock, notes = SteppedClock(), Notes()
    with structlog.testing.capture_logs() as events:
        async with FaultServer({(1, Table.INPUT): registers()}) as server:
            await server.refuse()
            link = Link(server.link(timeout_s=0.5))
            inverter = device(link, 1)
            inverter.nodes = (replace(inverter.nodes[0], when_offline="zero"),)
            async with polling({link: [inverter]}, clock, notes) as poller:
                for _ in range(8 * 60):
                    await asyncio.gather(*poller.request())
                    clock.now += 60
                await server.listen()
                sunrise = clock.now
                while not notes.observed:
                    await asyncio.gather(*poller.request())
                    clock.now += 10
                assert clock.now - sunrise <= BACKOFF_MAX_S + 10
                for _ in range(5):  # the first light comes and goes
                    await server.refuse()
                    await asyncio.gather(*poller.request())
                    await server.listen()
                    clock.now += BACKOFF_FIRST_S
                    await asyncio.gather(*poller.request())
                await server.refuse()
                for _ in range(60):  # a cloud that stays
                    await asyncio.gather(*poller.request())
                    clock.now += 10
    told = [(event["event"], event["log_level"]) for event in events if event["log_level"] != "debug"]
    assert told == [("device_lost", "info"), ("device_back", "info"), ("device_lost", "info")]


async def test_a_node_for_which_the_device_has_nothing_is_told() -> None:
    clock, notes = SteppedClock(), Notes()
    with structlog.testing.capture_logs() as events:
        async with FaultServer(
            {(1, Table.HOLDING): sunspec.device(sunspec.common(), sunspec.meter(W=5, W_SF=0))}
        ) as server:
            link = Link(server.link())
            nodes = tuple(
                Node(type_.value, type_, Kind.HYBRID, of_hybrid=True) for type_ in (NodeType.GRID, NodeType.SOLAR)
            )
            driver = Catalogue().create("sunspec", ReadOptions())
            async with polling(
                {link: [Device("d", "sunspec", driver, link.unit(1), nodes, "test", 1)]}, clock, notes
            ) as poller:
                await asyncio.gather(*poller.request())
    (partial,) = [event for event in events if event["event"] == "device_partial"]
    assert partial["reason"] == "the device has nothing that a solar node can use (solar)"


def test_the_back_off_doubles_to_its_bound_and_one_answer_ends_it() -> None:
    health = DeviceHealth()
    assert (health.due, health.slow, health.answers) == (0.0, False, False)
    waits = []
    for _ in range(12):
        health.failed(SilentError("no answer"), 0.0)
        waits.append(health.due)
    assert waits[:3] == [BACKOFF_FIRST_S, 2 * BACKOFF_FIRST_S, 4 * BACKOFF_FIRST_S]
    assert waits[-1] == BACKOFF_MAX_S
    assert (health.polls, health.failed_polls, health.errors, health.answers) == (12, 12, {"silent": 12}, False)
    health.answered(Scan((), 4.0, 5.0), 5.0)
    assert (health.failures, health.due, health.since, health.error) == (0, 0.0, None, None)
    health.answered(last := Scan((), 8.0, 11.0), 11.0)
    assert (health.polls, health.failed_polls, health.answered_s, health.took_s) == (14, 12, 4.0, 3.0)
    assert (health.scan, health.last_answer, health.back_since, health.answers) == (last, 11.0, 5.0, True)
    health.failed(SilentError("no answer"), 12.0)
    assert (health.failures, health.since, health.due, health.answers) == (1, 12.0, 12.0 + BACKOFF_FIRST_S, False)


class Stub:
    """A driver without a device: notes its polls, waits for `answer`, and fails with `error`."""

    def __init__(self, polled: list[str], name: str) -> None:
        self.polled, self.name = polled, name
        self.asked, self.answer = asyncio.Event(), asyncio.Event()
        self.answer.set()
        self.error: DriverError | None = None

    async def poll(self, reader: object, now: object) -> Scan:
        self.polled.append(self.name)
        self.asked.set()
        await self.answer.wait()
        if self.error is not None:
            raise self.error
        return Scan((), 0.0, 0.0)


def stubs(*intervals_s: float, grid: int | None = None) -> tuple[list[str], list[Device], list[Stub]]:
    """Devices A, B, … with these intervals, one of which may be the grid meter."""
    polled: list[str] = []
    devices, drivers = [], []
    for unit, interval_s in enumerate(intervals_s):
        name = "ABCDEFG"[unit]
        node = Node(name, NodeType.GRID if unit == grid else NodeType.VARIABLE_POWER_LOAD, Kind.METER)
        drivers.append(Stub(polled, name))
        devices.append(Device(name, "stub", drivers[-1], Channel(), (node,), name, unit, interval_s))  # type: ignore[arg-type]
    return polled, devices, drivers


@pytest.mark.parametrize(
    ("intervals_s", "grid", "slow", "order"),
    [
        ((60.0, 60.0, 60.0, 1.0, 1.0), 3, 0, "DEA DBEC"),  # E is a device with a short interval, D is the grid meter
        ((60.0, 60.0, 60.0), None, 1, "AB CA"),  # all have the same rank
        ((60.0, 1.0, 60.0), 0, 2, "ABC AB"),
    ],
)
async def test_devices_of_a_higher_rank_and_those_of_the_round_take_turns(
    intervals_s: tuple[float, ...], grid: int | None, slow: int, order: str
) -> None:
    """While the slow one is polled, those that were polled before it become due again."""
    polled, devices, drivers = stubs(*intervals_s, grid=grid)
    drivers[slow].answer.clear()
    async with polling({Channel(): devices}, SteppedClock(), Notes()) as poller:  # type: ignore[dict-item]
        first = poller.request()
        await drivers[slow].asked.wait()
        again = poller.request()
        drivers[slow].answer.set()
        await asyncio.gather(*first, *again)
    assert "".join(polled) == order.replace(" ", "")


async def test_of_lost_devices_the_grid_meter_is_probed_first_then_the_one_that_waits_for_longest() -> None:
    polled, devices, drivers = stubs(1.0, 1.0, 1.0, grid=2)
    clock = SteppedClock()
    for each, driver, failures in zip(devices, drivers, (2, 1, 3), strict=True):
        driver.error = SilentError("no answer")
        for _ in range(failures):
            each.health.failed(driver.error, clock.now)
    async with polling({Channel(): devices}, clock, Notes()) as poller:  # type: ignore[dict-item]
        clock.now += 10
        for _ in range(3):
            await asyncio.gather(*poller.request())
    assert polled == ["C", "B", "A"]


async def test_a_device_alone_on_its_link_is_missed_each_time_that_its_back_off_lasts() -> None:
    polled, devices, (driver,) = stubs(1.0)
    driver.error = SilentError("no answer")
    clock, notes = SteppedClock(), Notes()
    async with polling({Channel(): devices}, clock, notes) as poller:  # type: ignore[dict-item]
        for _ in range(3):
            await asyncio.gather(*poller.request())
        assert (polled, notes.missing, notes.errors) == (["A"], ["A"] * 3, {SilentError})
        clock.now += BACKOFF_FIRST_S
        driver.error = None
        await asyncio.gather(*poller.request())
    assert (polled, notes.missing, notes.observed) == (["A"] * 2, ["A"] * 3, ["A"])


async def test_a_device_that_becomes_due_before_its_link_comes_back_is_polled_once() -> None:
    async with running(Rhythm(60, 0), [20.0, 30.0]) as site:
        first, second = site.drivers.values()
        first.error = second.error = SilentError("no answer")
        await site.clock.advance(10)
        first.error = second.error = None
        first.takes_s = 12.0
        await site.clock.advance(22)  # the first is polled at 19 s, the second is due at 29 s
        assert (site.polls("0.0"), site.polls("0.1")) == ([0, 19], [0, 31])
        first.takes_s = 0.0
        await site.clock.advance(30)
        assert site.polls("0.1") == [0, 31, 59]


async def test_a_link_that_stays_keeps_its_task() -> None:
    _, devices, _ = stubs(1.0, 1.0)
    link = Channel()
    async with polling({link: devices}, SteppedClock(), Notes()) as poller:  # type: ignore[dict-item]
        await asyncio.gather(*poller.request())
        before = len(asyncio.all_tasks())
        await poller.replace([Connection(link, tuple(devices))])
        await settled()
        assert len(asyncio.all_tasks()) == before


async def test_a_link_that_is_taken_away_is_closed_when_its_poll_has_ended() -> None:
    ended = []

    class Ending(Stub):
        async def poll(self, reader: object, now: object) -> Scan:
            try:
                return await super().poll(reader, now)
            finally:
                for _ in range(5):
                    await asyncio.sleep(0)
                ended.append("poll")

    class Closing(Channel):
        async def close(self) -> None:
            ended.append("link")

    _, devices, _ = stubs(1.0)
    devices[0].driver = driver = Ending([], "A")  # type: ignore[assignment]
    driver.answer.clear()
    async with polling({Closing(): devices}, SteppedClock(), Notes()) as poller:  # type: ignore[dict-item]
        answers = poller.request()
        await driver.asked.wait()
        await poller.replace([])
        assert ended == ["poll", "link"]
        assert all(answer.done() for answer in answers)


async def test_an_answer_at_the_moment_at_which_its_link_is_taken_away_is_nobodys() -> None:
    _, devices, (driver,) = stubs(1.0)
    driver.answer.clear()
    notes = Notes()
    async with polling({Channel(): devices}, SteppedClock(), notes) as poller:  # type: ignore[dict-item]
        poller.request()
        await driver.asked.wait()
        driver.answer.set()
        await poller.replace([])
        await settled()
    assert notes.observed == []


async def test_a_site_may_be_replaced_when_polling_has_ended() -> None:
    polled, devices, _ = stubs(1.0)
    async with polling({Channel(): devices}, SteppedClock(), Notes()) as poller:  # type: ignore[dict-item]
        await settled()
    await poller.replace([Connection(Channel(), tuple(devices))])
    await settled()
    assert polled == []


async def test_polls_that_are_due_are_made_whatever_changes_before_them() -> None:
    """As if the task that waits for the due time were late."""
    polled, devices, _ = stubs(10.0)
    link, clock = Channel(), SteppedClock()
    async with polling({link: devices}, clock, Notes()) as poller:  # type: ignore[dict-item]
        await settled()
        poller.align(10.0, clock.now)
        await asyncio.gather(*poller.answers(5.0))
        assert polled == ["A"]
        clock.now += 10.0
        poller.align(10.0, clock.now + 3.0)
        await settled()
        assert polled == ["A"] * 2
        clock.now += 3.0
        await poller.replace([Connection(link, tuple(devices))])
        await settled()
        assert polled == ["A"] * 3


async def test_answers_that_nobody_waits_for_are_forgotten() -> None:
    _, devices, drivers = stubs(1.0, 1.0)
    async with polling({Channel(): devices}, SteppedClock(), Notes()) as poller:  # type: ignore[dict-item]
        (answer,) = poller.request()
        await answer
        answered = weakref.ref(answer)
        drivers[0].answer.clear()
        (answer,) = poller.request()
        answer.cancel()
        cancelled = weakref.ref(answer)
        (answer,) = poller.request()
        await settled()
        gc.collect()
        assert (answered(), cancelled()) == (None, None)
        drivers[0].answer.set()
        await answer


async def test_a_wait_for_answers_lasts_as_long_as_it_may_and_leaves_nothing_behind() -> None:
    loop, clock = asyncio.get_running_loop(), DrivenClock()
    reported: list[object] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    never: asyncio.Future[None] = loop.create_future()
    waiting = asyncio.create_task(done_within([never], clock, 5.0))
    await clock.advance(4.9)
    assert not waiting.done()
    await clock.advance(0.2)
    assert waiting.done()
    assert not await waiting
    assert never.cancelled(), "nobody needs the answer any more"
    late: asyncio.Future[None] = loop.create_future()
    async with asyncio.timeout(60):
        assert not await done_within([late], clock, -1.0)
    done: asyncio.Future[None] = loop.create_future()
    done.set_result(None)
    assert await done_within([done], clock, 5.0)
    await settled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    del waiting
    gc.collect()
    assert not reported


async def test_a_device_that_was_added_by_a_reload_waits_for_those_of_a_higher_rank() -> None:
    polled, devices, drivers = stubs(1.0, 1.0, 60.0, 5.0)
    link = Channel()
    drivers[0].answer.clear()
    async with polling({link: devices[:3]}, SteppedClock(), Notes()) as poller:  # type: ignore[dict-item]
        first = poller.request()
        await drivers[0].asked.wait()
        await poller.replace([Connection(link, tuple(devices))])
        again = poller.request()
        drivers[0].answer.set()
        await asyncio.gather(*first, *again)
    assert polled == ["A", "B", "D", "C"]


async def test_when_a_link_comes_back_a_device_that_is_still_being_probed_is_not_probed_again() -> None:
    polled, devices, drivers = stubs(1.0, 1.0, 1.0)
    clock, silent = SteppedClock(), SilentError("no answer")
    devices[0].patience_s, drivers[0].error = 0.05, silent
    drivers[0].answer.clear()
    for each in devices:
        each.health.failed(silent, clock.now)
    async with polling({Channel(): devices}, clock, Notes()) as poller:  # type: ignore[dict-item]
        clock.now += BACKOFF_FIRST_S
        answers = poller.request()
        await drivers[2].asked.wait()
        await settled()
        drivers[0].answer.set()
        await asyncio.gather(*answers)
    assert polled == ["A", "B", "C"]


async def test_without_devices_the_poller_sleeps_for_an_hour_at_a_time() -> None:
    slept: list[float] = []

    class Hours(SteppedClock):
        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                await super().sleep(seconds)
            self.now += seconds

    async with polling({}, Hours(), Notes()):
        await settled()
    assert slept == [3600.0] * 3
