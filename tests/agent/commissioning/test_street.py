"""A street with one device of each difficult kind: what `scan` prints is pasted, and `read` prints the truth."""

from __future__ import annotations

import json
import time
import tomllib
from asyncio import to_thread
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.commissioning import scan
from agent.commissioning.config_snippets import device_tables
from drivers.catalogue import Catalogue
from drivers.model import NodeType, Phase, Quantity, Table, Value
from drivers.profile import load, profile_files
from drivers.registers import Encoding, encode
from drivers.scan import Identifier, Scanner
from drivers.simulator.register_image import profile_unit
from tests.faults.device import Faults, Registers
from tests.faults.modbus import FaultServer
from tests.support.in_process import call_inside
from tests.support.site import configuration

GRID, SOLAR, STORAGE = NodeType.GRID, NodeType.SOLAR, NodeType.STORAGE
CASES = Path(__file__).parents[2] / "fixtures" / "cases"
POWER = Quantity.ACTIVE_POWER
Truth = dict[tuple[str, NodeType], float]
"""Host and port, or serial port, and node type → power in W."""


def words_of(runs: Mapping[str, list[int]]) -> dict[int, int]:
    return {int(first) + offset: word for first, words in runs.items() for offset, word in enumerate(words)}


def case(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    return content


def registers_of(name: str, unit_id: int, marks_of: str = "") -> Registers:
    """The registers of a case, with the marks of the family `marks_of`, which the case does not have."""
    found = {(unit_id, table): dict[int, int]() for table in Table}
    if marks_of:
        found |= simulated(marks_of, unit_id, {})
    for table, runs in case(name)["registers"].items():
        found[unit_id, Table(table)].update(words_of(runs))
    return found


def simulated(
    driver: str, unit_id: int, values: Mapping[tuple[NodeType | None, Quantity, Phase | None], Value]
) -> Registers:
    image = profile_unit(load(profile_files()[driver]), lambda: values).image()
    return {(unit_id, table): dict(words) for table, words in image.items()}


def power(value: float, node: NodeType | None = None) -> dict[tuple[NodeType | None, Quantity, Phase | None], Value]:
    return {(node, POWER, None): value}


IMPORTED = Quantity.IMPORTED_ENERGY


def produced(
    watts: float, energy: float, counter: Quantity = Quantity.PRODUCED_ENERGY
) -> dict[tuple[NodeType | None, Quantity, Phase | None], Value]:
    return {(None, POWER, None): watts, (None, counter, None): energy}


def deye() -> Registers:
    """Firmware 1098, two batteries that charge with 1500 and 500 W, and an export of 3 kW."""
    found = simulated("deye-hybrid-3p-hv", 1, {})
    found[1, Table.HOLDING] |= words_of(
        {"15": [0x1098], "588": [60, 40, -150 & 0xFFFF], "595": [-50 & 0xFFFF], "625": [-3000 & 0xFFFF]}
        | {"690": [0xFFFF], "672": [600, 0, 0, 0], "534": [6484, 0]}
    )
    return found


def sma() -> Registers:
    units = case("sma_units_3_and_126")["units"]
    return {(int(unit), Table.HOLDING): words_of(tables["holding"]) for unit, tables in units.items()}


def every_unit(driver: str, value: float) -> Registers:
    """A device that does not look at the unit id."""
    image = simulated(driver, 0, power(value))
    return {(unit_id, table): words for unit_id in range(256) for (_, table), words in image.items()}


House = tuple[str, Registers, str, Faults, dict[NodeType, float]]
"""Host, registers, transport, faults and truth of a device."""


def street() -> Iterator[House]:
    names = (f"127.0.11.{number}" for number in range(1, 100))

    def house(
        registers: Registers, truth: Mapping[NodeType, float], faults: Faults | None = None, transport: str = "tcp"
    ) -> House:
        return "" if transport == "rtu" else next(names), registers, transport, faults or Faults(), dict(truth)

    yield house(deye(), {GRID: -3000, SOLAR: 6000, STORAGE: 2000})
    yield house(sma(), {SOLAR: 4200})
    yield house(registers_of("sunspec_two_inverters_one_chain", 5), {SOLAR: 8000})
    goodwe = registers_of("goodwe_et20_two_batteries", 247, "goodwe-et-20")
    goodwe[247, Table.HOLDING] |= {35_117: 0, 35_118: 0}  # the fourth MPPT is not in the case
    yield house(goodwe, {SOLAR: 1907, STORAGE: -3000})
    yield house(registers_of("kostal_big_endian", 71, "kostal-plenticore"), {SOLAR: 4100, STORAGE: 800})
    two = simulated("eastron-sdm630", 1, power(700.0)) | simulated("sma-sunny-island", 3, power(-900.0))
    yield house(two, {STORAGE: -900}, Faults(duplicate=True))
    yield house(simulated("growatt-tlx", 1, power(1100.0)), {SOLAR: 1100}, Faults(first_transaction_offset=7))
    yield house(simulated("stiebel-eltron-wpmsystem", 1, power(2300.0)), {NodeType.HEAT_PUMP: 2300})
    yield house(every_unit("keba-kecontact", 7400.0), {NodeType.VARIABLE_POWER_LOAD: 7400})
    yield house(simulated("wago-750-do", 1, {(None, Quantity.ON, None): True}), {NodeType.SWITCHED_LOAD: 1})
    yield house(simulated("deye-string", 2, power(1500.0)), {SOLAR: 1500}, transport="rtu_over_tcp")
    yield house({(1, Table.HOLDING): {0: 7}}, {}, Faults(labels=(b"Eastron", b"SDM-X", b"V1")))
    alfen = simulated("alfen-eve", 1, power(11_000.0)) | {(200, table): {} for table in Table}
    alfen[200, Table.HOLDING] = dict(enumerate(encode(Encoding("string", length=5), "Alfen NV"), 117))
    yield house(alfen, {NodeType.VARIABLE_POWER_LOAD: 11_000})
    yield house(simulated("sofar-string", 5, power(800.0)), {SOLAR: 800}, transport="rtu")
    twins = [simulated("growatt-tlx", 1, counted) for counted in (produced(1200.0, 1e7), produced(300.0, 2e7))]
    yield house(twins[0], {SOLAR: 1200})
    yield house(twins[1], {SOLAR: 300})  # the other port of the same gateway, see `serve`
    yield house(twins[0], {SOLAR: 1200})  # another gateway with an equal inverter
    meters = [simulated("eastron-sdm630", 1, produced(watts, 0, IMPORTED)) for watts in (700.0, 2500.0)]
    yield house(meters[0], {})
    yield house(meters[1], {})


SECOND_PORTS = {"127.0.11.15": "127.0.11.14", "127.0.11.18": "127.0.11.17"}
"""Houses that are the second port of another host."""


async def serve(stack: AsyncExitStack) -> tuple[list[str], list[int], Truth]:
    """Start the devices. Returns targets, ports and truth; all hosts have the same first port."""
    port, second, targets, truth = 0, 0, list[str](), Truth()
    for house, registers, transport, faults, own in street():
        host = SECOND_PORTS.get(house, house)
        server = FaultServer(registers, transport=transport, port=port if host == house else second)
        server.host = host
        server.echo = transport == "rtu"  # a two-wire adapter
        server.faults = faults
        if transport == "tcp":
            for unit_id in set(range(256)) - {unit_id for unit_id, _ in registers}:
                server.unit_faults[unit_id] = Faults(exception=11)
        await stack.enter_async_context(server)
        port = port or server.port
        if host != house:
            second = server.port
        line = server.link().serial_port
        if host == house:
            targets.append(line or host)
        truth |= {(line or f"{host}:{server.port}", type_): value for type_, value in own.items()}
    return targets, [port, second], truth


def types_of(text: str) -> dict[str, tuple[str, NodeType]]:
    """Node id → its place and its type, for the enabled devices of a configuration."""
    config = tomllib.loads(text)
    places = config.get("connection", {})
    found: dict[str, tuple[str, NodeType]] = {}
    for table in config["device"]:
        if table.get("enabled", True):
            where = table | places.get(table.get("connection"), {})
            place = where.get("serial_port") or f"{where['host']}:{where['port']}"
            nodes = table.get("nodes") or {table["type"]: table["node_id"]}
            found |= {name: (place, NodeType(type_)) for type_, name in nodes.items()}
    return found


@pytest.mark.simulated_time
async def test_what_scan_proposes_for_a_street_reads_the_truth(tmp_path: Path) -> None:
    profiles, mistakes = Catalogue(()).profiles()
    assert not mistakes
    async with AsyncExitStack() as stack:
        targets, ports, truth = await serve(stack)
        wanted, settings = scan.request(targets, ports, "", 2.0, [9600], ["N"], "tcp", profiles)
        scanner = Scanner(replace(settings, gateway_timeout_s=2.0), Identifier(profiles, time.monotonic))
        await scanner.run(wanted)
        printed = device_tables(scanner.places)
        path = configuration(tmp_path, "http://127.0.0.1:1/", printed)
        read = await to_thread(call_inside, "read", "--config", path)
    nodes = types_of(printed)
    assert sorted(nodes.values()) == sorted(truth), "one enabled node for each that is there, and no other"
    values = {}
    for line in read.stdout.splitlines():
        name, quantity, value, *_ = line.split("\t")
        if quantity in ("active_power", "on"):
            values[nodes[name]] = 1.0 if value == "true" else float(value)
    assert values == truth, read.stderr

    assert printed.count("enabled = false") == 3, "the meters: a hybrid measures the grid"
    assert printed.count('driver = "eastron-sdm630"') == 3
    assert "unit 126 is the same device as 127.0.11.2" in printed
    assert "the converter does not translate to Modbus TCP: transport is rtu_over_tcp" in printed
    assert "the transaction number of another request" in printed
    assert "# 127.0.11.12:" in printed
    assert "its name is Eastron SDM-X V1" in printed
    assert "telemetry-agent dump 127.0.11.12" in printed
    assert "compare them with the display" in printed, "the note on the firmware of the Deye"


async def test_scan_names_the_other_driver_of_a_solis_whose_counters_are_exchanged(tmp_path: Path) -> None:
    """No register shows which meter is installed, so the installer compares the counters and chooses."""
    profiles, _ = Catalogue(()).profiles()
    truth = case("solis_s5_counters_swapped")["polls"][0]["expected"]
    async with FaultServer(registers_of("solis_s5_counters_swapped", 1, "solis-string")) as server:
        wanted, settings = scan.request(["127.0.0.1"], [server.port], "1", 0.2, None, None, "tcp", profiles)
        scanner = Scanner(settings, Identifier(profiles, time.monotonic))
        await scanner.run(wanted)
        printed = device_tables(scanner.places)
        assert 'driver = "solis-string"\n' in printed
        assert "# note: compare the counters of the meter with its display: where import and export are" in printed
        assert '# also possible: driver = "solis-string-acrel"' in printed
        chosen = printed.replace('driver = "solis-string"\n', 'driver = "solis-string-acrel"\n')
        path = configuration(tmp_path, "http://127.0.0.1:1/", chosen)
        read = await to_thread(call_inside, "read", "--config", path)
    lines = (line.split("\t") for line in read.stdout.splitlines())
    values = {quantity: float(value) for _, quantity, value, *_ in lines if "ported" in quantity}
    assert values == {name.removeprefix("grid."): value for name, value in truth.items()}, read.stderr
