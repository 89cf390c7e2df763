"""Units that are one device, and units that only look alike: what scan proposes counts each device once."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from agent.commissioning.config_snippets import device_tables
from agent.commissioning.proposals import without_configured
from agent.config import parse
from agent.site import build
from drivers.model import NodeType, Phase, Quantity, Table, Value
from drivers.registers.codec import encode
from drivers.scan.identify import Identifier
from drivers.scan.scanner import Scanner
from drivers.scan.targets import Targets
from drivers.scan.unit_search import SearchLocation
from drivers.simulator.register_image import profile_unit
from tests.drivers.scan.test_scanner import LOCAL, QUICK, at, gateway, marked
from tests.faults.device import Faults
from tests.faults.modbus import FaultServer
from tests.faults.sunspec import common, device, inverter, meter, text
from tests.support.profiles import PROFILES, families

# Every unit replies, so no time-out passes. A slow machine changes nothing.
PATIENT = replace(QUICK, timeout_s=60.0, gateway_timeout_s=60.0)
CASES = Path(__file__).parents[2] / "fixtures" / "cases"


def words_of(runs: Mapping[str, list[int]]) -> dict[int, int]:
    return {int(first) + offset: word for first, words in runs.items() for offset, word in enumerate(words)}


def sma(serial: int = 123_456, energy: int = 15_969_855, power: int = 4200) -> dict[int, int]:
    numbers = {30_051: 8001, 30_053: 9344, 30_057: serial, 30_513: 0, 30_515: energy, 30_775: power}
    return {a: w for first, value in numbers.items() for a, w in ((first, value >> 16), (first + 1, value & 0xFFFF))}


async def scanned(registers: dict[tuple[int, Table], dict[int, int]], units: tuple[int, ...]) -> SearchLocation:
    async with FaultServer(registers) as server:
        for unit in range(256):
            if (unit, Table.HOLDING) not in registers:
                server.unit_faults[unit] = Faults(exception=11)
        scanner = Scanner(replace(at(server), units=units), Identifier(families(), time.monotonic))
        await scanner.run(LOCAL)
        (place,) = scanner.places
    return place


async def test_an_sma_inverter_that_answers_as_two_units_is_proposed_once() -> None:
    case = json.loads((CASES / "sma_units_3_and_126.json").read_text())
    registers = {(int(unit), Table.HOLDING): words_of(tables["holding"]) for unit, tables in case["units"].items()}
    place = await scanned(registers, (3, 126))
    assert [unit.unit_id for unit in place.units] == [3]
    text = device_tables([place])
    assert text.count("[[device]]") == 1
    assert 'driver = "sma-inverter"' in text
    assert "unit 126 is the same device as" in text
    assert "(the same serial number); omitted" in text


@pytest.mark.parametrize(
    ("second", "units"),
    [
        (sma(), [3]),
        (sma(serial=0), [3]),  # no serial number, but the same counter and power
        (sma(serial=0, energy=15_969_859, power=4210), [3]),
        (sma(serial=123_457), [3, 4]),  # twins
        (sma(serial=0, energy=15_971_000), [3, 4]),
        (sma(serial=0, power=2000), [3, 4]),
    ],
)
async def test_two_units_of_one_family(second: dict[int, int], units: list[int]) -> None:
    place = await scanned({(3, Table.HOLDING): sma(), (4, Table.HOLDING): second}, (3, 4))
    assert [unit.unit_id for unit in place.units] == units


def chain_of(*serials: str) -> dict[int, int]:
    """A SunSpec chain of inverters with these serial numbers, each with another power and counter."""
    made = [
        each
        for serial in serials
        for each in (common(serial=serial), inverter(W=ord(serial), W_SF=1, WH=[ord(serial), 0], WH_SF=0))
    ]
    return device(*made)


@pytest.mark.parametrize(
    ("chains", "kept", "doubted"),
    [
        (["AB", "B"], [1], []),
        (["B", "AB"], [2], []),
        (["A", "B", "AB"], [3], []),
        (["AB", "BA"], [1], []),
        (["AB", "C"], [1, 2], []),
        (["AB", "BC"], [1, 2], [2]),
    ],
)
async def test_an_inverter_in_the_chain_of_another_unit_counts_once(
    chains: list[str], kept: list[int], doubted: list[int]
) -> None:
    registers = {(unit, Table.HOLDING): chain_of(*serials) for unit, serials in enumerate(chains, 1)}
    place = await scanned(registers, tuple(range(1, len(chains) + 1)))
    assert [unit.unit_id for unit in place.units] == kept
    assert [unit.unit_id for unit in place.units if unit.doubt] == doubted


async def test_new_twins_that_have_counted_nothing_are_two() -> None:
    new = sma(serial=0, energy=0, power=0)
    place = await scanned({(3, Table.HOLDING): new, (4, Table.HOLDING): new}, (3, 4))
    assert [unit.unit_id for unit in place.units] == [3, 4]


@pytest.mark.parametrize("meters", [0, 1, 2])
async def test_a_solaredge_with_batteries_is_proposed_with_its_nodes_and_all_its_meters(meters: int) -> None:
    first, second = [common("WattNode", serial="1"), meter(W=300, W_SF=0)], [common(serial="2"), meter(W=5, W_SF=0)]
    chain = device(common("SolarEdge"), inverter(W=3000, W_SF=0), *[*first, *second][: 2 * meters])
    place = await scanned({(1, Table.HOLDING): chain | dict(enumerate(text("LG", 16), 0xE100))}, (1,))
    proposed = tomllib.loads(device_tables([place]))["device"]
    nodes = {"grid": "meter-1", "solar": "pv-1", "storage": "battery-1"}
    assert proposed[0]["nodes"] == {node: name for node, name in nodes.items() if meters or node != "grid"}
    assert [each["driver"] for each in proposed] == ["solaredge-hybrid", "sunspec-meter:2"][: max(1, meters)]


async def test_an_adapter_that_echoes_hides_no_device(tmp_path: Path) -> None:
    """Each absent unit answers with the request alone."""
    async with FaultServer(gateway({5: 7, 9: 7}), transport="rtu") as server:
        server.echo = True
        port = server.link().serial_port
        assert port is not None
        scanner = Scanner(QUICK, Identifier([marked(tmp_path, "acme-1", 7)], time.monotonic))
        await scanner.run(Targets(serial_ports=(port,)))
    (place,) = scanner.places
    assert [unit.unit_id for unit in place.units] == [5, 9]
    for unit in place.units:
        assert unit.identity is not None
        assert [match.driver for match in unit.identity.matches] == ["acme-1"]
    assert (place.link.baudrate, place.note) == (9600, "")


async def test_what_is_not_recognised_is_described() -> None:
    registers = {(1, Table.HOLDING): {0: 5}, (1, Table.INPUT): {0: 1, 1: 2}}
    async with FaultServer(registers) as server:
        server.faults.labels = (b"Eastron", b"SDM-X", b"V1")
        scanner = Scanner(at(server), Identifier(families(), time.monotonic))
        await scanner.run(LOCAL)
    text = device_tables(scanner.places)
    assert "its name is Eastron SDM-X V1" in text
    assert "# It has holding registers and input registers." in text
    assert "# Perhaps one of these drivers: eastron-sdm120, eastron-sdm630, eastron-sdm72" in text
    assert "telemetry-agent dump 127.0.0.1" in text
    assert "[[device]]\n" not in text


SITE = """
[site]
node_id = "site"
timezone = "Europe/Brussels"
[push]
url = "https://integrator.example.org/x"
token = "secret"
"""


async def test_what_scan_proposes_reads_the_truth_when_pasted() -> None:
    """An SMA that answers as two units and a chain of two inverters behind another: 4200 and 8000 W."""
    case = json.loads((CASES / "sma_units_3_and_126.json").read_text())
    chain = json.loads((CASES / "sunspec_two_inverters_one_chain.json").read_text())["registers"]["holding"]
    registers = {(int(unit), Table.HOLDING): words_of(tables["holding"]) for unit, tables in case["units"].items()}
    registers[5, Table.HOLDING] = words_of(chain)
    async with FaultServer(registers) as server:
        for unit in set(range(256)) - {3, 5, 126}:
            server.unit_faults[unit] = Faults(exception=11)
        scanner = Scanner(at(server), Identifier(families(), time.monotonic))
        await scanner.run(LOCAL)
        site = build(parse(tomllib.loads(SITE + device_tables(scanner.places)), {}, "site.toml"), "site.toml")
        powers = {}
        for device in site.devices:
            scan = await device.driver.poll(device.reader, time.monotonic)
            powers[device.name] = [
                reading.value
                for reading in scan.readings
                if (reading.quantity, reading.phase) == (Quantity.ACTIVE_POWER, None)
            ]
        for connection in site.connections:
            await connection.link.close()
    assert powers == {"pv-1": [4200.0], "pv-2": [8000.0]}


# Devices whose name is at another unit id.


def named_elsewhere(driver: str, unit_id: int, name_unit: int, name: str) -> dict[tuple[int, Table], dict[int, int]]:
    """A simulated device of the family, and the unit of the same link that has its name."""
    family = PROFILES[driver]
    assert family.identify is not None
    (there,) = (each for each in family.identify.also if each.unit_id is not None)
    image = profile_unit(family, dict).image()
    words = dict(enumerate(encode(there.encoding, name), there.address))
    found = {(unit_id, table): dict(own) for table, own in image.items()}
    return found | {(name_unit, table): words if table is there.table else {} for table in Table}


@pytest.mark.parametrize(
    ("driver", "unit_id", "name_unit", "name"),
    [
        ("alfen-eve", 1, 200, "Alfen NV"),
        ("alfen-eve", 2, 200, "Alfen NV"),
        ("sigenergy-sigenstor", 247, 1, "SigenStor"),
    ],
)
async def test_a_device_whose_name_is_at_another_unit_is_proposed(
    driver: str, unit_id: int, name_unit: int, name: str
) -> None:
    place = await scanned(named_elsewhere(driver, unit_id, name_unit, name), (1, 2, 200, 247))
    assert [unit.unit_id for unit in place.units] == [unit_id]
    text = device_tables([place])
    assert f'driver = "{driver}"' in text
    assert f" of unit {name_unit}\n" in text
    assert f"unit {name_unit} is no device: it holds the name of unit {unit_id}" in text


async def test_another_name_at_the_other_unit_is_another_device() -> None:
    place = await scanned(named_elsewhere("alfen-eve", 1, 200, "Bender"), (1, 200))
    assert [unit.unit_id for unit in place.units] == [1, 200]
    assert "[[device]]" not in device_tables([place])


# Units on two ports or two hosts.


def sdm630(power: float, imported: float | None) -> dict[tuple[int, Table], dict[int, int]]:
    """A meter without a serial number."""
    values: dict[tuple[NodeType | None, Quantity, Phase | None], Value] = {(None, Quantity.ACTIVE_POWER, None): power}
    if imported is not None:
        values[None, Quantity.IMPORTED_ENERGY, None] = imported
    image = profile_unit(PROFILES["eastron-sdm630"], lambda: values).image()
    return {(1, table): dict(words) for table, words in image.items()}


async def two(
    first: dict[tuple[int, Table], dict[int, int]],
    second: dict[tuple[int, Table], dict[int, int]],
    *,
    hosts: int = 1,
) -> list[SearchLocation]:
    """Scan two devices on two ports of one host, or on one port of two hosts."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(FaultServer(first))
        other = FaultServer(second, port=one.port if hosts == 2 else 0)
        other.host = f"127.0.0.{hosts}"
        await stack.enter_async_context(other)
        ports = (one.port,) if hosts == 2 else (one.port, other.port)
        scanner = Scanner(replace(PATIENT, ports=ports, units=(1,)), Identifier(families(), time.monotonic))
        await scanner.run(Targets(hosts=("127.0.0.1", "127.0.0.2")[:hosts]))
    return scanner.places


DOUBT = "perhaps the same device as 127.0.0.1:"


@pytest.mark.parametrize(
    ("second", "devices", "doubts"),
    [
        (sdm630(700, 60_000_000), 2, 0),  # another counter
        (sdm630(2500, 60_000_000), 2, 0),
        (sdm630(700, 50_000_000), 1, 0),
        (sdm630(2500, 50_000_000), 2, 1),  # the same counter, but another power
        (sdm630(700, 0), 2, 0),
        (sdm630(700, None), 2, 1),  # nothing to compare
    ],
)
async def test_two_meters_with_one_unit_id_on_two_ports(
    second: dict[tuple[int, Table], dict[int, int]], devices: int, doubts: int
) -> None:
    places = await two(sdm630(700, 50_000_000), second)
    text = device_tables(places)
    assert text.count("[[device]]") == devices
    assert text.count(f"enabled = false  # {DOUBT}") == doubts
    assert text.count("the same power and counter); omitted") == 2 - devices


@pytest.mark.parametrize(("power", "doubts"), [(0.0, 1), (700.0, 0)])
async def test_new_meters_on_two_ports_are_compared_by_their_power(power: float, doubts: int) -> None:
    """A counter at 0 does not tell two meters apart."""
    text = device_tables(await two(sdm630(0, 0), sdm630(power, 0)))
    assert text.count("[[device]]") == 2
    assert text.count(f"enabled = false  # {DOUBT}") == doubts


async def test_equal_devices_without_a_serial_number_on_two_hosts_are_two() -> None:
    text = device_tables(await two(sdm630(700, 50_000_000), sdm630(700, 50_000_000), hosts=2))
    assert text.count("[[device]]") == 2
    assert DOUBT not in text


@pytest.mark.parametrize(
    ("energy", "devices", "doubts"), [(15_969_855, 1, 0), (15_971_000, 2, 0), (9000, 2, 0), (None, 2, 1)]
)
async def test_one_serial_number_on_two_hosts(energy: int | None, devices: int, doubts: int) -> None:
    """An inverter with two addresses, or devices whose maker gives them all the same number."""
    words = sma(energy=energy or 0)
    if energy is None:
        words = {address: word for address, word in words.items() if address not in (30_513, 30_514, 30_515, 30_516)}
    place = await two({(1, Table.HOLDING): sma()}, {(1, Table.HOLDING): words}, hosts=2)
    text = device_tables(place)
    assert text.count("[[device]]") == devices
    assert text.count(f"enabled = false  # {DOUBT}") == doubts


async def test_a_device_that_may_be_another_one_does_not_measure_the_grid() -> None:
    first, second = await two(sdm630(0, 0), sdm630(0, 0))
    devices = tomllib.loads(device_tables([second, first]))["device"]
    assert [(each["port"], each.get("enabled", True)) for each in devices] == [
        (second.link.port, False),
        (first.link.port, True),
    ]


# Gateways that also reply for units that do not exist.


@pytest.mark.parametrize("code", [2, 4])
async def test_a_gateway_that_refuses_for_dead_units_hides_no_device(code: int) -> None:
    async with FaultServer(gateway({1: 7, 2: 7, 8: 7})) as server:
        for unit_id in set(range(256)) - {1, 2, 8}:
            server.registers[unit_id, Table.COIL] = {}
            server.unit_faults[unit_id] = Faults(exception=code)
        scanner = Scanner(at(server, settings=PATIENT), Identifier((), time.monotonic))
        await scanner.run(LOCAL)
    (place,) = scanner.places
    assert [unit.unit_id for unit in place.units] == [1, 2, 8]
    assert not place.any_unit
    assert "replies for units that do not exist" in place.note


async def test_a_gateway_that_replies_for_dead_units_as_the_first_one_hides_no_device() -> None:
    first, second = sdm630(700, 50_000_000), sdm630(2500, 60_000_000)
    registers = {(unit, table): words for unit in range(256) for (_, table), words in first.items()}
    registers |= {(2, table): words for (_, table), words in second.items()}
    async with FaultServer(registers) as server:
        scanner = Scanner(at(server, settings=PATIENT), Identifier(families(), time.monotonic))
        await scanner.run(LOCAL)
    (place,) = scanner.places
    assert [unit.unit_id for unit in place.units] == [1, 2]
    text = device_tables([place])
    assert text.count('driver = "eastron-sdm630"') == 2
    assert "replies for units that do not exist" in text


async def test_such_a_gateway_hides_no_second_chain_of_inverters() -> None:
    registers = {(unit, Table.HOLDING): chain_of(*("CD" if unit == 2 else "AB")) for unit in range(256)}
    async with FaultServer(registers) as server:
        scanner = Scanner(at(server, settings=PATIENT), Identifier(families(), time.monotonic))
        await scanner.run(LOCAL)
    assert [unit.unit_id for place in scanner.places for unit in place.units] == [1, 2]


async def test_a_device_that_does_not_look_at_the_unit_id_and_refuses_what_is_asked_is_found_once() -> None:
    registers = {(unit, table): {500: 7} if table is Table.HOLDING else {} for unit in range(256) for table in Table}
    async with FaultServer(registers) as server:
        scanner = Scanner(at(server, settings=PATIENT), Identifier((), time.monotonic))
        await scanner.run(LOCAL)
    (place,) = scanner.places
    assert place.any_unit
    assert [unit.unit_id for unit in place.units] == [1]


# A site that has one of the two places configured already.


async def test_a_device_that_is_configured_at_its_other_place_is_not_proposed_again() -> None:
    places = await two(sdm630(700, 50_000_000), sdm630(700, 50_000_000))
    (kept,) = (place for place in places if place.units)
    (other,) = (place for place in places if not place.units)
    assert len(without_configured(places, {f"{other.link.address} unit 1"})) == 1, (
        "only the note of the place without units"
    )
    text = device_tables(without_configured(places, {f"{other.link.address} unit 1"}))
    assert "[[device]]" not in text
    assert "[[device]]" in device_tables(without_configured(places, {f"{kept.link.address} unit 2"}))


async def test_an_sma_inverter_that_is_configured_by_sunspec_is_not_proposed_again() -> None:
    case = json.loads((CASES / "sma_units_3_and_126.json").read_text())
    registers = {(int(unit), Table.HOLDING): words_of(tables["holding"]) for unit, tables in case["units"].items()}
    place = await scanned(registers, (3, 126))
    assert not [unit for each in without_configured([place], {f"{place.link.address} unit 126"}) for unit in each.units]
