from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Sequence

import pytest

from drivers.catalogue import Catalogue
from drivers.driver import ReadOptions
from drivers.errors import GatewayError, SilentError
from drivers.modbus.link import Link
from drivers.model import Kind, Phase, Quality, Quantity, Reading, Table
from drivers.profile.loader import Profile, profile_files
from drivers.profile.point import Point
from drivers.profile.register_driver import RegisterDriver
from drivers.protocol import MAX_REGISTERS
from drivers.registers import Encoding
from tests.faults.modbus import FaultServer, registers_from
from tests.support.cases import for_each


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


@pytest.mark.simulated_time
async def test_a_device_that_is_busy_for_a_moment_is_read_all_the_same() -> None:
    driver = Catalogue().create("eastron-sdm120", ReadOptions(max_gap=100))
    async with FaultServer({(1, Table.INPUT): floats({12: 7.0})}) as server:
        server.faults.exception = 6
        link = Link(server.link())
        poll = asyncio.ensure_future(driver.poll(link.unit(1), asyncio.get_running_loop().time))
        await server.wait(lambda: len(server.requests) == 1)
        await asyncio.sleep(0.25)
        server.heal()
        scan = await poll
        await link.close()
    assert scan.complete
    assert found(scan.readings)[Quantity.ACTIVE_POWER, None].value == 7
    assert scan.requests == len(server.requests) == 2
    assert scan.finished - scan.started < 0.35


async def test_silence_ends_the_poll() -> None:
    driver = Catalogue().create("eastron-sdm630", ReadOptions())
    async with FaultServer({(1, Table.INPUT): floats({})}) as server:
        server.faults.silent = True
        link = Link(server.link(timeout_s=0.5))
        with pytest.raises(SilentError):
            await driver.poll(link.unit(1), time.monotonic)
        await link.close()
    assert len(server.requests) == 1


async def test_the_word_order_of_the_site_is_that_of_every_value() -> None:
    """Where it is a setting of the device."""
    registers = floats({12: 100.25, 52: -1234.5, 72: 12.5})
    swapped = {address: registers[address ^ 1] for address in registers}
    async with FaultServer({(1, Table.INPUT): swapped}) as server:
        link = Link(server.link())
        driver = Catalogue().create("eastron-sdm630", ReadOptions(word_order="little"))
        readings = found((await driver.poll(link.unit(1), time.monotonic)).readings)
        await link.close()
    assert readings[Quantity.ACTIVE_POWER, None].value == -1234.5
    assert readings[Quantity.ACTIVE_POWER, Phase.L1].value == 100.25
    assert readings[Quantity.IMPORTED_ENERGY, None].value == 12_500


@pytest.mark.parametrize("code", [10, 11])
async def test_a_gateway_that_answers_for_a_dead_unit_ends_the_poll_as_silence_does(code: int) -> None:
    driver = Catalogue().create("eastron-sdm630", ReadOptions())
    async with FaultServer({(1, Table.INPUT): floats({})}) as server:
        server.faults.exception = code
        link = Link(server.link())
        with pytest.raises(GatewayError):
            await driver.poll(link.unit(1), time.monotonic)
        await link.close()
    assert len(server.requests) == 1


@for_each("name", sorted(profile_files()))
def test_every_profile_loads_and_plans(name: str) -> None:
    driver = Catalogue().create(name, ReadOptions())
    assert driver.kind


@pytest.mark.parametrize(
    ("of_the_site", "of_the_profile", "used"), [(None, None, None), (None, 7, 7), (5, None, 5), (5, 7, 5)]
)
def test_an_option_of_the_site_overrides_that_of_the_profile(
    of_the_site: int | None, of_the_profile: int | None, used: int | None
) -> None:
    profile = Profile("x", "x", ("x",), Kind.METER, "x", (), max_registers=of_the_profile, max_gap=of_the_profile)
    options = profile.options(site := ReadOptions(max_registers=of_the_site))
    assert (options.max_registers, options.max_gap) == (used, of_the_profile)
    assert RegisterDriver(profile, site).max_registers == (used or MAX_REGISTERS)
    options = profile.options(ReadOptions(max_gap=of_the_site))
    assert (options.max_registers, options.max_gap) == (of_the_profile, used)


@pytest.mark.parametrize(("of_the_site", "of_the_profile", "requests"), [(None, None, 1), (None, 0, 2), (1, 0, 1)])
def test_a_gap_is_read_across_as_the_site_or_the_profile_says(
    of_the_site: int | None, of_the_profile: int | None, requests: int
) -> None:
    points = tuple(
        Point(quantity, Table.HOLDING, address, Encoding("int16"))
        for quantity, address in ((Quantity.VOLTAGE, 0), (Quantity.CURRENT, 2))
    )
    profile = Profile("x", "x", ("x",), Kind.METER, "x", points, max_gap=of_the_profile)
    assert len(RegisterDriver(profile, ReadOptions(max_gap=of_the_site)).blocks) == requests
