"""What a profile's driver learns from refusals, against devices that refuse in every way seen in the field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from math import fsum
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.driver import ReadOptions
from drivers.errors import BusyError, IllegalAddressError, RefusedError, SilentError, exception_reply
from drivers.modbus.link import Link
from drivers.model import Kind, Phase, Quality, Quantity, Scan, Table
from drivers.profile.loader import Profile
from drivers.profile.point import Point
from drivers.profile.register_driver import RegisterDriver
from drivers.registers.codec import Encoding
from drivers.registers.read_plan import Block, Limits, Span
from drivers.registers.refusals import RECHECK_FIRST_S, RECHECK_MAX_S, RefusalMemory
from tests.faults.modbus import FaultServer

WIDTHS = {1: "uint16", 2: "uint32", 4: "uint64"}
# Quantities that need no group with others, so that each point stands for itself.
NAMES = [
    (quantity, phase)
    for quantity in (Quantity.VOLTAGE, Quantity.DC_VOLTAGE, Quantity.TEMPERATURE, Quantity.FREQUENCY, Quantity.SOC)
    for phase in (None, *Phase)
]


@dataclass
class Device:
    """One unit without a wire; `value` of a register is its address."""

    missing: frozenset[int] = frozenset()
    limit: int = 125
    cuts: frozenset[int] = frozenset()
    """Addresses that no request may reach across."""
    missing_code: int = 2
    asked: list[tuple[int, int]] = field(default_factory=list)
    refused: int = 0
    failure: Exception | None = None

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        self.asked.append((address, count))
        covered = range(address, address + count)
        try:
            if self.failure is not None:
                raise self.failure
            if count > self.limit:
                raise exception_reply(3, "limit")
            if self.missing.intersection(covered):
                raise exception_reply(self.missing_code, "missing")
            if self.cuts.intersection(covered[1:]):
                raise exception_reply(2, "cut")
        except RefusedError:
            self.refused += 1
            raise
        return list(covered)


def driver(*places: tuple[int, int], gap: int = 31, same: bool = False) -> RegisterDriver:
    """Points at (address, width); all of one key, if they are the `same`."""
    names = [(Quantity.ACTIVE_POWER, None)] * len(places) if same else NAMES
    points = [
        Point(quantity, Table.HOLDING, address, Encoding(WIDTHS[width]), phase)
        for (quantity, phase), (address, width) in zip(names, places, strict=False)
    ]
    profile = Profile("x", "x", ("x",), Kind.METER, "x", tuple(points), max_gap=gap)
    return RegisterDriver(profile, ReadOptions())


async def poll(driver: RegisterDriver, device: Device, at: float = 0.0) -> Scan:
    device.asked.clear()
    device.refused = 0
    return await driver.poll(device, lambda: at)


def usable(scan: Scan) -> list[bool]:
    return [reading.quality is Quality.GOOD for reading in scan.readings]


def number(address: int, width: int) -> int:
    value = 0
    for word in range(address, address + width):
        value = value << 16 | word
    return value


def within(found: Sequence[tuple[int, int]]) -> frozenset[int]:
    """Where no device could cut without cutting a value in two."""
    return frozenset(place for address, width in found for place in range(address + 1, address + width))


places = st.lists(st.tuples(st.integers(0, 60), st.sampled_from([1, 2, 4])), min_size=1, max_size=10, unique=True)
addresses = st.frozensets(st.integers(0, 64), max_size=6)


@given(places, addresses, st.integers(4, 40), addresses, st.sampled_from([2, 3]), st.integers(0, 20))
@example([(16, 4), (18, 1)], frozenset({17}), 6, frozenset(), 3, 3)  # one value within another
async def test_whatever_a_device_can_give_is_read_and_then_without_a_refusal(
    found: list[tuple[int, int]], missing: frozenset[int], limit: int, cuts: frozenset[int], code: int, gap: int
) -> None:
    device = Device(missing, limit, cuts - within(found), code)
    reader = driver(*found, gap=gap)
    good = [not missing.intersection(range(address, address + width)) for address, width in found]
    if not any(good):
        with pytest.raises(RefusedError):
            await poll(reader, device)
        return
    for _ in range(4):
        scan = await poll(reader, device)
        assert usable(scan) == good
        values = [reading.value for reading in scan.readings if reading.value is not None]
        assert values == [float(number(*place)) for place, is_good in zip(found, good, strict=True) if is_good]
        assert len(device.asked) == scan.requests
        assert scan.complete == all(good)
    assert device.refused == 0


@given(places, addresses, st.integers(4, 40), addresses, st.sampled_from([2, 3]))
@example([(17, 2), (18, 4)], frozenset({19}), 17, frozenset(), 2)
async def test_a_sum_has_every_part_or_is_missing(
    found: list[tuple[int, int]], missing: frozenset[int], limit: int, cuts: frozenset[int], code: int
) -> None:
    device = Device(missing, limit, cuts - within(found), code)
    reader = driver(*found, same=True)
    good = [not missing.intersection(range(address, address + width)) for address, width in found]
    if not any(good):
        return
    for _ in range(4):
        (reading,) = (await poll(reader, device)).readings
        assert reading.value == (fsum(float(number(*place)) for place in found) if all(good) else None)
    assert device.refused == 0


async def test_a_hole_costs_a_few_requests_once() -> None:
    device = Device(missing=frozenset({40}))
    reader = driver(*[(address, 1) for address in range(0, 60, 4)])
    await poll(reader, device)
    assert len(device.asked) <= 10
    await poll(reader, device)
    assert device.asked == [(0, 37), (44, 13)]


async def test_an_address_that_is_refused_with_exception_3_leaves_the_requests_large() -> None:
    device = Device(missing=frozenset({40}), missing_code=3)
    reader = driver(*[(address, 1) for address in range(0, 60, 4)])
    await poll(reader, device)
    await poll(reader, device)
    assert device.asked == [(0, 37), (44, 13)]


async def test_what_cannot_be_read_across_is_read_in_two() -> None:
    """All values can be read, but not in one request: some devices keep their tables apart."""
    device = Device(cuts=frozenset({10}))
    reader = driver((8, 1), (9, 1), (10, 1), (11, 1))
    assert (await poll(reader, device)).complete
    await poll(reader, device)
    assert (device.asked, device.refused) == ([(8, 2), (10, 2)], 0)


async def test_points_that_add_up_are_read_together_while_that_is_possible() -> None:
    device = Device()
    reader = driver((0, 1), (90, 1), gap=0, same=True)
    await poll(reader, device)
    assert device.asked == [(0, 91)]
    device.limit = 50
    scan = await poll(reader, device)
    assert [reading.value for reading in scan.readings] == [90.0]
    await poll(reader, device)
    assert (device.asked, device.refused) == ([(0, 1), (90, 1)], 0)


async def test_what_was_learned_is_put_to_the_test_more_and_more_rarely() -> None:
    device = Device(missing=frozenset({2}))
    reader = driver((0, 1), (2, 1))
    await poll(reader, device)
    tested = []
    for at in range(1, 3 * int(RECHECK_MAX_S), 60):
        await poll(reader, device, at)
        if device.refused:
            tested.append(at)
    waits = [after - before for before, after in zip([0, *tested], tested, strict=False)]
    assert waits == [301, 600, 1200, 2400, 4800, 9600, 19_200, 21_600], "5 minutes to 6 hours"


async def test_a_register_that_comes_into_being_is_found() -> None:
    device = Device(missing=frozenset({2}))
    reader = driver((0, 1), (2, 1))
    assert usable(await poll(reader, device)) == [True, False]
    device.missing = frozenset()
    assert usable(await poll(reader, device, RECHECK_FIRST_S - 1)) == [True, False]
    assert usable(await poll(reader, device, RECHECK_FIRST_S)) == [True, True]


@pytest.mark.parametrize("refusing", [{"missing": frozenset({20})}, {"limit": 25}, {"cuts": frozenset({20})}])
async def test_a_device_that_refuses_nothing_any_more_is_read_as_before(refusing: dict[str, Any]) -> None:
    device = Device(**refusing)
    reader = driver((0, 1), (20, 1), (40, 1))
    for _ in range(2):
        await poll(reader, device)
    assert len(device.asked) > 1
    await poll(reader, Device(), RECHECK_FIRST_S)
    await poll(reader, device := Device(), RECHECK_FIRST_S + 1)
    assert device.asked == [(0, 41)]


async def test_after_a_recovery_the_next_refusal_is_tested_soon_again() -> None:
    device = Device(missing=frozenset({2}))
    reader = driver((0, 1), (2, 1))
    await poll(reader, device)
    device.missing = frozenset()
    recovered = RECHECK_FIRST_S
    assert usable(await poll(reader, device, recovered)) == [True, True]
    await poll(reader, device, 10 * RECHECK_FIRST_S)
    device.missing = frozenset({2})
    refused_again = 10 * RECHECK_FIRST_S + 1
    assert usable(await poll(reader, device, refused_again)) == [True, False]
    device.missing = frozenset()
    assert usable(await poll(reader, device, refused_again + RECHECK_FIRST_S)) == [True, True]


async def test_a_request_that_is_too_large_is_halved() -> None:
    device = Device(limit=55)
    reader = driver(*[(address, 1) for address in range(0, 100, 10)])
    assert (await poll(reader, device)).complete
    await poll(reader, device)
    assert device.asked == [(0, 41), (50, 41)], "of at most 45 registers, half of 91"


ON = [(Quantity.ON, phase) for phase in Phase]


async def test_a_relay_board_that_refuses_large_reads_is_read_in_parts() -> None:
    coils = {(1, Table.COIL): {address: address % 2 for address in range(16)}}
    points = [Point(quantity, Table.COIL, 5 * n, Encoding("bool"), phase) for n, (quantity, phase) in enumerate(ON)]
    board = RegisterDriver(Profile("x", "x", ("x",), Kind.RELAY, "x", tuple(points)), ReadOptions())
    async with FaultServer(coils) as server:
        server.faults.max_registers = 8
        link = Link(server.link())
        for _ in range(2):
            server.requests.clear()
            scan = await board.poll(link.unit(1), lambda: 0.0)
            assert [reading.value for reading in scan.readings] == [False, True, False]
        await link.close()
    assert [seen.count for seen in server.requests] == [1, 1, 1], "at most 5, half of 11"


async def test_a_device_that_refuses_everything_teaches_nothing() -> None:
    device = Device(missing=frozenset({0, 2}))
    reader = driver((0, 1), (2, 1))
    with pytest.raises(IllegalAddressError):
        await poll(reader, device)
    device.missing = frozenset({2})
    assert usable(await poll(reader, device, RECHECK_FIRST_S)) == [True, False]
    device.missing = frozenset()
    assert usable(await poll(reader, device, 2 * RECHECK_FIRST_S)) == [True, True], "its first refusal is tested soon"


async def test_a_busy_device_is_asked_once_more_and_teaches_nothing() -> None:
    device = Device(failure=BusyError(6, "busy"))
    reader = driver((0, 1), (50, 1), gap=0)
    scan = await poll(reader, device)
    assert usable(scan) == [False, False]
    assert [str(error) for error in scan.errors] == ["busy: Modbus exception 6 (server device busy)"] * 2
    assert device.asked == [(0, 1), (0, 1), (50, 1), (50, 1)]
    device.failure = None
    assert usable(await poll(reader, device)) == [True, True]


async def test_a_busy_device_is_not_taken_for_one_that_refuses_what_it_refused_before() -> None:
    device = Device(missing=frozenset({0}))
    reader = driver((0, 1), (2, 1))
    assert usable(await poll(reader, device)) == [False, True]
    device.failure = BusyError(6, "busy")
    scan = await poll(reader, device, 1)
    assert "busy: Modbus exception 6 (server device busy)" in [str(error) for error in scan.errors]
    device.failure = None
    device.asked.clear()
    assert usable(await poll(reader, device, 2)) == [False, True]
    assert device.asked == [(2, 1)], "the register that it lacks is still known"


async def test_a_device_that_falls_silent_while_it_teaches_is_learned_from_all_the_same() -> None:
    device = Device(limit=10)
    reader = driver(*[(address, 1) for address in range(0, 40, 4)])

    class Falling(Device):
        async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
            if len(self.asked) > 3:
                raise SilentError("gone")
            return await super().read(table, address, count)

    with pytest.raises(SilentError):
        await poll(reader, Falling(limit=10))
    assert (await poll(reader, device)).complete
    assert device.refused == 0


async def test_each_reading_keeps_the_time_of_its_own_request() -> None:
    apart = driver((0, 1), (90, 1), gap=0)
    scan = await apart.poll(Device(), count().__next__)  # the start, a request, a request, the end
    assert [reading.at for reading in scan.readings] == [1, 2]
    assert (scan.started, scan.finished) == (0, 3)
    summed = driver((0, 1), (90, 1), gap=0, same=True)
    scan = await summed.poll(Device(limit=50), count().__next__)
    assert [reading.at for reading in scan.readings] == [1]  # as old as its oldest part


def test_a_limit_is_never_smaller_than_the_widest_value_of_its_kind() -> None:
    groups = [
        [Span(Table.HOLDING, 0, 2)],
        [Span(Table.HOLDING, 2, 4)],
        [Span(Table.COIL, 0, 7)],
        [Span(Table.COIL, 7, 3)],
    ]
    memory = RefusalMemory(groups, Limits(max_registers=1, max_bits=1))
    assert sorted((block.table, block.address, block.count) for block in memory.blocks) == [
        (Table.COIL, 0, 7),
        (Table.COIL, 7, 3),
        (Table.HOLDING, 0, 2),
        (Table.HOLDING, 2, 4),
    ]
    wider = RefusalMemory(groups, Limits(max_registers=5, max_bits=8))
    assert len(wider.blocks) == 4
    assert len(RefusalMemory(groups, Limits(max_registers=6, max_bits=10)).blocks) == 2


def test_a_refused_request_is_divided_in_the_middle() -> None:
    memory = RefusalMemory([[Span(Table.HOLDING, address, 1)] for address in range(12)], Limits())
    assert memory.divide(memory.blocks[0], IllegalAddressError(2, "missing")) == (
        Block(Table.HOLDING, 0, 6),
        Block(Table.HOLDING, 6, 6),
    )


def test_a_memory_knows_what_the_present_poll_and_earlier_ones_learned() -> None:
    memory = RefusalMemory([[Span(Table.HOLDING, address, 1)] for address in (0, 2)], Limits())
    states = [(memory.changed, memory.learned)]
    memory.begin(0.0)
    memory.divide(Block(Table.HOLDING, 2, 1), IllegalAddressError(2, "missing"))
    states.append((memory.changed, memory.learned))
    memory.end(0.0)
    states.append((memory.changed, memory.learned))
    memory.begin(RECHECK_FIRST_S)
    states.append((memory.changed, memory.learned))
    assert states == [(False, False), (True, False), (False, True), (False, False)]
