"""What a device does not tell as a whole is the sum of what it tells in parts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drivers.driver import ReadOptions
from drivers.dump.file import Dump
from drivers.model import Kind, NodeType, Phase, Quality, Quantity, Reading, Resolution, Table
from drivers.profile.loader import Profile
from drivers.profile.point import Point
from drivers.profile.register_driver import RegisterDriver
from drivers.registers.codec import Encoding
from drivers.registers.combine import combiner

POWER, IMPORTED, CURRENT = Quantity.ACTIVE_POWER, Quantity.IMPORTED_ENERGY, Quantity.CURRENT
PHASES = tuple(Phase)


async def read(words: dict[int, int], *points: Point) -> dict[tuple[Quantity, Phase | None], object]:
    profile = Profile("x", "x", ("x",), Kind.METER, "x", points)
    scan = await RegisterDriver(profile, ReadOptions()).poll(Dump({Table.HOLDING: words}), lambda: 0.0)
    return {(r.quantity, r.phase): r.quality if r.value is None else r.value for r in scan.readings}


def by_phase(quantity: Quantity, first: int, *, optional: bool = False) -> list[Point]:
    encoding = Encoding("uint16", invalid=(0xFFFF,))
    return [
        Point(quantity, Table.HOLDING, first + number, encoding, phase, optional=optional)
        for number, phase in enumerate(PHASES)
    ]


@pytest.mark.parametrize("quantity", [POWER, IMPORTED, Quantity.TODAY_IMPORTED_ENERGY])
async def test_a_meter_with_phases_alone_has_a_total(quantity: Quantity) -> None:
    found = await read({0: 1, 1: 2, 2: 4}, *by_phase(quantity, 0))
    assert found == {(quantity, None): 7.0} | {
        (quantity, phase): value for phase, value in zip(PHASES, (1.0, 2.0, 4.0), strict=True)
    }


async def test_a_meter_with_one_phase_has_a_total() -> None:
    assert await read({0: 7}, *by_phase(IMPORTED, 0)[:1]) == {(IMPORTED, Phase.L1): 7.0, (IMPORTED, None): 7.0}


async def test_two_points_of_one_phase_are_added_there_and_in_the_total() -> None:
    twice = [*by_phase(POWER, 0)[:2], replace(by_phase(POWER, 0)[0], address=2)]
    assert await read({0: 1, 1: 2, 2: 4}, *twice) == {
        (POWER, Phase.L1): 5.0,
        (POWER, Phase.L2): 2.0,
        (POWER, None): 7.0,
    }


async def test_a_total_power_that_the_device_does_not_have_is_the_sum_of_its_phases_and_a_counter_is_none() -> None:
    words = {0: 1, 1: 2, 2: 4, 3: 0xFFFF, 4: 0xFFFF}
    invalid = Encoding("uint16", invalid=(0xFFFF,))
    for quantity, total in ((POWER, 7.0), (IMPORTED, Quality.MISSING)):
        whole = [Point(quantity, Table.HOLDING, address, invalid, optional=True) for address in (3, 4)]
        assert (await read(words, *by_phase(quantity, 0), whole[0]))[quantity, None] == total
        assert (await read(words, *by_phase(quantity, 0), *whole))[quantity, None] == total
        assert (await read(words | {4: 9}, *by_phase(quantity, 0), *whole))[quantity, None] == 9.0


def test_a_part_that_the_device_does_not_have_is_a_missing_reading() -> None:
    keys = [(None, Quantity.VOLTAGE, None), (None, CURRENT, None)]
    current = Reading(CURRENT, None, 5.0, Quality.GOOD, 3.0)
    missing = Reading(Quantity.VOLTAGE, None, None, Quality.MISSING, 8.0)
    assert combiner(keys)([None, current], 8.0) == (missing, current)
    assert combiner([*keys, keys[1]])([None, current, None], 8.0) == (missing, current)


async def test_percentages_are_averaged() -> None:
    soc = [Point(Quantity.SOC, Table.HOLDING, address, Encoding("uint16")) for address in (0, 1)]
    assert await read({0: 40, 1: 70}, *soc) == {(Quantity.SOC, None): 55.0}


def test_phases_without_a_total_have_no_resolution() -> None:
    points = tuple(by_phase(CURRENT, 0))
    driver = RegisterDriver(Profile("x", "x", ("x",), Kind.METER, "x", points), ReadOptions())
    assert driver.resolutions == {}


async def test_currents_of_phases_have_no_sum() -> None:
    assert (CURRENT, None) not in await read({0: 1, 1: 2, 2: 4}, *by_phase(CURRENT, 0))


async def test_a_part_that_is_missing_makes_the_sum_missing_and_keeps_its_name() -> None:
    found = await read({0: 1, 1: 0xFFFF, 2: 4}, *by_phase(POWER, 0))
    assert found == {
        (POWER, Phase.L1): 1.0,
        (POWER, Phase.L2): Quality.MISSING,
        (POWER, Phase.L3): 4.0,
        (POWER, None): Quality.MISSING,
    }
    found = await read({0: 1, 1: 0xFFFF, 2: 4}, *by_phase(POWER, 0, optional=True))
    assert found[POWER, Phase.L2] is Quality.MISSING
    assert found[POWER, None] == 5.0


@pytest.mark.parametrize("swapped", [False, True])
async def test_a_sum_with_a_missing_and_an_invalid_part_is_invalid(*, swapped: bool) -> None:
    parts = [
        replace(point, encoding=Encoding("uint16", invalid=(0xFFFF,), maximum=100.0)) for point in by_phase(POWER, 0)
    ]
    found = await read({0: 500, 1: 0xFFFF, 2: 4}, *(reversed(parts) if swapped else parts))
    assert found[POWER, None] is Quality.INVALID


def at(address: int, encoding: Encoding, phase: Phase | None = None, node: NodeType | None = None) -> Point:
    return Point(IMPORTED, Table.HOLDING, address, encoding, phase, node)


TENTHS, WHOLE, FLOAT = Encoding("uint16", scale=-0.1), Encoding("uint32"), Encoding("float32")


@pytest.mark.parametrize(
    ("points", "resolution"),
    [
        ([at(0, TENTHS)], Resolution(0.1, 6553.6)),
        ([at(0, WHOLE)], Resolution(1.0, 2.0**32)),
        ([at(0, TENTHS), at(1, WHOLE)], Resolution(0.1)),  # a sum returns to zero at no known amount
        ([at(0, TENTHS, Phase.L1), at(1, WHOLE, Phase.L2)], Resolution(0.1)),
        ([at(0, WHOLE, Phase.L1)], Resolution(1.0, 2.0**32)),
        ([at(0, FLOAT)], None),
        ([at(0, TENTHS), at(2, FLOAT)], None),
    ],
)
@pytest.mark.parametrize("node", [None, NodeType.STORAGE])
def test_the_resolution_of_a_total(points: list[Point], resolution: Resolution | None, node: NodeType | None) -> None:
    points = [replace(point, node=node) for point in points]
    driver = RegisterDriver(Profile("x", "x", ("x",), Kind.METER, "x", tuple(points)), ReadOptions())
    assert driver.resolutions == ({} if resolution is None else {(node, IMPORTED): resolution})
