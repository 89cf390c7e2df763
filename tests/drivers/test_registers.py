from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Catalogue, ReadOptions
from drivers.bus import Link
from drivers.codec import FORMATS, Encoding, decoder, encode
from drivers.errors import SilentError
from drivers.model import Phase, Quality, Quantity, Reading, Table
from drivers.plan import Block, Limits, Span, plan
from drivers.profile import profile_files
from tests.faults.modbus import FaultServer, registers_from


def floats(values: dict[int, float], size: int = 100) -> dict[int, int]:
    registers = registers_from(0, [0] * size)
    for address, value in values.items():
        registers[address], registers[address + 1] = struct.unpack(">HH", struct.pack(">f", value))
    return registers


def found(readings: Sequence[Reading]) -> dict[tuple[Quantity, Phase | None], Reading]:
    return {(reading.quantity, reading.phase): reading for reading in readings}


async def test_sdm630_values_equal_the_registers_of_an_independent_server() -> None:
    driver = Catalogue().create("eastron-sdm630", ReadOptions())
    registers = floats({0: 231.5, 12: 100.25, 14: -50.5, 52: -1234.5, 70: 50.0, 72: 12.5, 74: 0.25})
    async with FaultServer({(1, Table.INPUT): registers}) as server:
        link = Link(server.link())
        scan = await driver.poll(link.unit(1), time.monotonic)
        await link.close()
    readings = found(scan.readings)
    assert scan.complete
    assert readings[Quantity.ACTIVE_POWER, None].value == -1234.5
    assert readings[Quantity.ACTIVE_POWER, Phase.L2].value == -50.5
    assert readings[Quantity.VOLTAGE, Phase.L1].value == 231.5
    assert readings[Quantity.IMPORTED_ENERGY, None].value == 12_500
    assert readings[Quantity.EXPORTED_ENERGY, None].value == 250
    assert server.functions == {4}
    assert scan.requests == len(server.requests) == 2


async def test_a_hole_is_read_around_and_remembered() -> None:
    driver = Catalogue().create("eastron-sdm120", ReadOptions(max_gap=100))
    registers = floats({12: 7.0, 70: 50.0, 72: 1.0})
    for address in (6, 7):
        del registers[address]
    async with FaultServer({(1, Table.INPUT): registers}) as server:
        link = Link(server.link())
        first = await driver.poll(link.unit(1), time.monotonic)
        requests = len(server.requests)
        second = await driver.poll(link.unit(1), time.monotonic)
        await link.close()
    for scan in (first, second):
        readings = found(scan.readings)
        assert readings[Quantity.ACTIVE_POWER, None].value == 7
        assert readings[Quantity.IMPORTED_ENERGY, None].value == 1000
        assert readings[Quantity.CURRENT, None].quality is Quality.MISSING
        assert not scan.complete
    assert len(server.requests) - requests < requests


async def test_a_smaller_limit_is_learned() -> None:
    driver = Catalogue().create("eastron-sdm630", ReadOptions(max_gap=100))
    async with FaultServer({(1, Table.INPUT): floats({52: 9.0, 74: 2.0})}) as server:
        server.faults.max_registers = 20
        link = Link(server.link())
        await driver.poll(link.unit(1), time.monotonic)
        before = len(server.requests)
        scan = await driver.poll(link.unit(1), time.monotonic)
        await link.close()
    assert found(scan.readings)[Quantity.EXPORTED_ENERGY, None].value == 2000
    assert scan.complete
    assert all(seen.count <= 20 for seen in server.requests[before:])


async def test_silence_ends_the_poll() -> None:
    driver = Catalogue().create("eastron-sdm630", ReadOptions())
    async with FaultServer({(1, Table.INPUT): floats({})}) as server:
        server.faults.silent = True
        link = Link(server.link(timeout_s=0.1))
        with pytest.raises(SilentError):
            await driver.poll(link.unit(1), time.monotonic)
        await link.close()
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", sorted(profile_files()))
def test_every_profile_loads_and_plans(name: str) -> None:
    driver = Catalogue().create(name, ReadOptions())
    assert driver.kind


NUMERIC = sorted(set(FORMATS) - {"bool", "bitfield", "float32", "float64"})
ORDERS = st.sampled_from(["big", "little", "big_swapped", "little_swapped"])


@given(st.sampled_from(NUMERIC), ORDERS, st.data())
def test_integers_round_trip(type_: str, order: str, data: st.DataObject) -> None:
    bits = 16 * Encoding(type_).width
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if type_.startswith("int") else (0, 2**bits - 1)
    value = data.draw(st.integers(low, high))
    encoding = Encoding(type_, word_order=order)  # type: ignore[arg-type]  # drawn from the four
    if abs(value) < 2**53:
        assert decoder(encoding)(encode(encoding, float(value))) == (value, Quality.GOOD)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), ORDERS)
def test_floats_round_trip(value: float, order: str) -> None:
    encoding = Encoding("float32", word_order=order)  # type: ignore[arg-type]  # drawn from the four
    assert decoder(encoding)(encode(encoding, value)) == (value, Quality.GOOD)


@pytest.mark.parametrize(
    ("encoding", "words", "expected"),
    [
        (Encoding("uint16", scale=0.1), [2301], 230.1),
        (Encoding("int32", word_order="little"), [0xFFFE, 0xFFFF], -2),
        (Encoding("int32", invalid=(0x80000000,)), [0x8000, 0], None),
        (Encoding("uint16", invalid=(0xFFFF,), on_invalid="zero"), [0xFFFF], 0),
        (Encoding("float32"), [0x7FC0, 0], None),
        (Encoding("uint16", bit=3), [0b1000], True),
        (Encoding("uint16", values={2: "on"}), [2], "on"),
        (Encoding("uint16", values={2: "on"}), [3], None),
        (Encoding("uint16", maximum=100), [101], None),
        (Encoding("string", length=2), [0x4142, 0x4300], "ABC"),
    ],
)
def test_decoding(encoding: Encoding, words: list[int], expected: object) -> None:
    assert decoder(encoding)(words)[0] == expected


spans = st.lists(
    st.builds(Span, st.just(Table.INPUT), st.integers(0, 30), st.integers(1, 3), st.booleans()), min_size=1, max_size=6
)


def cheapest(ordered: list[Span], limits: Limits) -> tuple[int, int]:
    """The least (requests, registers) over every way to cut the sorted spans, by trying them all."""
    best = (999, 999)
    for cuts in range(2 ** (len(ordered) - 1)):
        groups, group = [], [ordered[0]]
        for index, span in enumerate(ordered[1:]):
            if cuts >> index & 1:
                groups.append(group)
                group = []
            group.append(span)
        groups.append(group)
        if all(allowed(group, limits) for group in groups):
            best = min(best, (len(groups), sum(group[-1].end - group[0].address for group in groups)))
    return best


def allowed(group: list[Span], limits: Limits) -> bool:
    joined = all(
        right.address - left.end <= limits.max_gap
        and not right.barrier
        and not any((left.table, address) in limits.holes for address in range(left.end, right.address))
        for left, right in itertools.pairwise(group)
    )
    return joined and group[-1].end - group[0].address <= limits.max_registers


@given(spans, st.integers(3, 12), st.integers(0, 8), st.frozensets(st.integers(0, 33), max_size=4))
def test_no_plan_has_fewer_requests_or_fewer_registers(
    drawn: list[Span], most: int, gap: int, holes: frozenset[int]
) -> None:
    ordered: list[Span] = []
    for span in sorted(drawn):
        if not ordered or span.address >= ordered[-1].end:
            ordered.append(span)
    limits = Limits(most, gap, frozenset((Table.INPUT, hole) for hole in holes))
    blocks = plan(ordered, limits)
    assert (len(blocks), sum(block.count for block in blocks)) == cheapest(ordered, limits)
    assert all(any(block.address <= span.address and span.end <= block.end for block in blocks) for span in ordered)


def test_adjacent_values_are_one_request() -> None:
    twenty = [Span(Table.INPUT, 2 * number, 2) for number in range(20)]
    assert plan(twenty, Limits()) == (Block(Table.INPUT, 0, 40),)
