"""Simulated registers: profiles against what their TOML says, SunSpec chains against pysunspec2's definitions."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sunspec2
from hypothesis import given
from hypothesis import strategies as st

from drivers.driver import ReadOptions
from drivers.errors import exception_reply
from drivers.model import Key, Nature, NodeType, Quality, Quantity, Table, Unit, Value
from drivers.profile.loader import Profile, load
from drivers.profile.register_driver import RegisterDriver
from drivers.registers.codec import Encoding, encode
from drivers.simulator.modbus_server import SimulatedUnit
from drivers.simulator.register_image import dump_unit, profile_unit
from drivers.simulator.sunspec_units import battery_model, inverter_model, meter_model, sunspec_unit
from drivers.sunspec.driver import SunSpec
from tests.support.cases import for_each
from tests.support.profiles import PROFILES

FUNCTIONS = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}


class Wire:
    """A `drivers.catalogue.Reader` that speaks to a unit without a socket."""

    def __init__(self, unit: SimulatedUnit) -> None:
        self._unit = unit

    async def read(self, table: Table, address: int, count: int) -> Sequence[int]:
        reply = self._unit.answer(struct.pack(">BHH", FUNCTIONS[table], address, count))
        if reply[0] & 0x80:
            raise exception_reply(reply[1], f"{table} {address}..{address + count - 1}")
        if table in (Table.HOLDING, Table.INPUT):
            return struct.unpack(f">{count}H", reply[2:])
        return [reply[2 + bit // 8] >> bit % 8 & 1 for bit in range(count)]


def profile(tmp_path: Path, points: str, kind: str = "meter") -> Profile:
    path = tmp_path / "some-device.toml"
    path.write_text(f'manufacturer = "Some"\nmodels = ["device"]\nkind = "{kind}"\nsource = "its manual"\n{points}')
    return load(path)


def words(unit: SimulatedUnit, table: Table = Table.HOLDING) -> dict[int, int]:
    return dict(unit.image()[table])


def of(*pairs: tuple[Quantity, Value]) -> dict[Key, Value]:
    return {(None, quantity, None): value for quantity, value in pairs}


# Profiles.

IMPORT_MINUS_EXPORT = """
[[point]]
quantity = "active_power"
table = "holding"
address = 10
type = "uint16"
[[point]]
quantity = "active_power"
table = "holding"
address = 11
type = "uint16"
scale = -1
"""


@pytest.mark.parametrize(("power", "registers"), [(1500, (1500, 0)), (-1500, (0, 1500)), (0, (0, 0))])
def test_points_that_add_up_hold_a_value_once(tmp_path: Path, power: float, registers: tuple[int, int]) -> None:
    unit = profile_unit(profile(tmp_path, IMPORT_MINUS_EXPORT), lambda: of((Quantity.ACTIVE_POWER, power)))
    assert words(unit) == {10: registers[0], 11: registers[1]}


def test_the_finest_of_several_points_holds_the_value(tmp_path: Path) -> None:
    points = """
        [[point]]
        quantity = "imported_energy"
        table = "holding"
        address = 0
        type = "uint16"
        scale = 1_000_000
        [[point]]
        quantity = "imported_energy"
        table = "holding"
        address = 1
        type = "uint16"
        scale = 1000
    """
    unit = profile_unit(profile(tmp_path, points), lambda: of((Quantity.IMPORTED_ENERGY, 7_250_000)))
    assert words(unit) == {0: 0, 1: 7250}


def test_a_value_that_fits_nowhere_is_an_error_that_says_so(tmp_path: Path) -> None:
    unit = profile_unit(profile(tmp_path, IMPORT_MINUS_EXPORT), lambda: of((Quantity.ACTIVE_POWER, 70_000)))
    with pytest.raises(ValueError, match="active_power: no register can hold 70000"):
        unit.image()


def test_bits_share_a_register(tmp_path: Path) -> None:
    points = """
        [[point]]
        quantity = "on"
        table = "holding"
        address = 0
        type = "bitfield"
        bit = 3
        [[point]]
        quantity = "operation_mode"
        table = "holding"
        address = 1
        type = "uint16"
        values = { "0" = "off", "7" = "on" }
        [[point]]
        quantity = "on"
        phase = "l1"
        table = "holding"
        address = 0
        type = "bitfield"
        bit = 15
    """
    values = {**of((Quantity.ON, True), (Quantity.OPERATION_MODE, "on"))}
    unit = profile_unit(profile(tmp_path, points, "relay"), lambda: values)
    assert words(unit) == {0: 0b1000, 1: 7}
    values |= {key: True for key in _keys(profile(tmp_path, points, "relay")) if key[2]}
    assert words(unit)[0] == 0b1000_0000_0000_1000
    values[None, Quantity.OPERATION_MODE, None] = "defrosting"
    with pytest.raises(ValueError, match="operation_mode: no register can hold 'defrosting'"):
        unit.image()


async def test_a_missing_value_reads_as_the_device_says_it(tmp_path: Path) -> None:
    points = """
        [[point]]
        quantity = "active_power"
        table = "holding"
        address = 0
        type = "int32"
        word_order = "little"
        invalid = [0x80000000]
        [[point]]
        quantity = "frequency"
        table = "holding"
        address = 2
        type = "float32"
        [[point]]
        quantity = "temperature"
        table = "holding"
        address = 4
        type = "int16"
    """
    family = profile(tmp_path, points)
    unit = profile_unit(family, dict)
    registers = words(unit)
    assert (registers[0], registers[1]) == (0, 0x8000)
    assert math.isnan(struct.unpack(">f", struct.pack(">HH", registers[2], registers[3]))[0])
    assert 4 not in registers
    scan = await RegisterDriver(family, ReadOptions()).poll(Wire(unit), lambda: 0.0)
    assert {reading.quality for reading in scan.readings} == {Quality.MISSING}


SAMPLES = {
    Unit.W: 1200.0,
    Unit.VAR: 100.0,
    Unit.VA: 1300.0,
    Unit.V: 230.0,
    Unit.A: 5.0,
    Unit.HZ: 50.0,
    Unit.CELSIUS: 25.0,
    Unit.PERCENT: 55.0,
    Unit.WH: 5_000_000.0,
}


def _keys(family: Profile) -> set[Key]:
    return {(point.node, point.quantity, point.phase) for point in family.points}


def _sample(quantity: Quantity, encodings: Sequence[Encoding]) -> Value:
    if quantity is Quantity.POWER_FACTOR:
        return 0.9
    if quantity.nature is Nature.DAILY:
        return 12_000.0
    if quantity in (Quantity.ENERGY_STORED, Quantity.ENERGY_CAPACITY):
        return 10_000.0
    if quantity.nature is not Nature.STATE:
        return SAMPLES[quantity.unit]
    names = encodings[0].values
    return next(iter(names.values())) if names else True


@for_each("name", PROFILES)
async def test_every_profile_can_be_simulated(name: str) -> None:
    """Driver and simulation agree on the whole device, to the resolution of its registers."""
    family = PROFILES[name]
    encodings: dict[Key, list[Encoding]] = {key: [] for key in _keys(family)}
    for point in family.points:
        encodings[point.node, point.quantity, point.phase].append(point.encoding)
    values = {key: _sample(key[1], each) for key, each in encodings.items()}
    unit = profile_unit(family, lambda: values)
    image = unit.image()
    unit.image = lambda: image
    scan = await RegisterDriver(family, ReadOptions()).poll(Wire(unit), lambda: 0.0)
    readings = {(reading.node, reading.quantity, reading.phase): reading for reading in scan.readings}
    assert scan.complete
    for key, value in values.items():
        resolution = min(abs(encoding.scale) for encoding in encodings[key])
        assert readings[key].quality is Quality.GOOD, key
        expected = pytest.approx(value, rel=1e-6, abs=resolution / 2) if isinstance(value, float) else value
        assert readings[key].value == expected, key


def test_a_dump_is_served_word_by_word() -> None:
    unit = dump_unit({Table.INPUT: {7: 0xABCD}}, unit_id=3)
    assert unit.unit_id == 3
    assert unit.answer(bytes.fromhex("0400070001")) == bytes.fromhex("0402abcd")
    assert unit.answer(bytes.fromhex("0400080001")) == bytes.fromhex("8402")


FULL = dump_unit({table: dict.fromkeys(range(0x10000), 1) for table in (Table.INPUT, Table.COIL)})


@pytest.mark.usefixtures("off_the_record")
@given(st.binary(min_size=1, max_size=253))
def test_any_request_gets_a_reply_of_a_legal_length(pdu: bytes) -> None:
    reply = FULL.answer(pdu)
    assert 2 <= len(reply) <= 253
    assert reply[0] & 0x7F == pdu[0] & 0x7F
    if reply[0] & 0x80:
        assert reply[1] in (1, 2, 3)


# SunSpec.


def definition(model_id: int) -> list[dict[str, Any]]:
    """The points of a model as the SunSpec Alliance publishes them."""
    path = Path(sunspec2.__file__).parent / "models" / "json" / f"model_{model_id}.json"
    points: list[dict[str, Any]] = json.loads(path.read_text())["group"]["points"]
    return points


FORMS = {"int16": "h", "sunssf": "h", "pad": "H", "int32": "i", "uint32": "I", "acc32": "I", "bitfield32": "I"}
ABSENT = {"int16": -0x8000, "sunssf": -0x8000, "acc32": 0, "uint16": 0xFFFF, "enum16": 0xFFFF, "uint32": 0xFFFFFFFF}


def decoded(model: Sequence[int]) -> Mapping[str, float | None]:
    """Points by name, scaled; None where not implemented."""
    raw: dict[str, int | None] = {}
    points = definition(model[0])
    offset = 0
    for point in points:
        kind, size = point["type"], point["size"]
        if kind != "string":
            data = struct.pack(f">{size}H", *model[offset : offset + size])
            (number,) = struct.unpack(f">{FORMS.get(kind, 'H')}", data)
            raw[point["name"]] = None if number == ABSENT.get(kind) else number
        offset += size
    assert offset == len(model)
    for point in points:
        if point.get("mandatory") == "M" and point["type"] not in ("string", "acc32"):
            assert raw[point["name"]] is not None, point["name"]
    numbers: dict[str, float | None] = {}
    for point in points:
        number, factor = raw.get(point["name"]), raw.get(point.get("sf", ""), 0)
        numbers[point["name"]] = None if number is None or factor is None else number * 10.0**factor
    return numbers


def test_an_inverter_is_model_103() -> None:
    points = decoded(inverter_model(power_W=4500, produced_Wh=7_654_321.9, voltage_V=231.4))
    assert (points["ID"], points["L"]) == (103, 50)
    assert points["W"] == 4500
    assert points["WH"] == 7_654_321
    assert points["PhVphC"] == pytest.approx(231.4)
    assert points["AphA"] == pytest.approx(4500 / 3 / 231.4, abs=0.005)
    assert points["A"] == pytest.approx(4500 / 231.4, abs=0.02)
    assert points["Hz"] == 50
    assert points["TmpCab"] == 35
    assert points["St"] == 4
    assert points["DCW"] is points["VA"] is points["PF"] is None
    assert decoded(inverter_model(0, 0, 230))["St"] == 2


def test_a_lifetime_counter_of_32_bits_rolls_over() -> None:
    assert decoded(inverter_model(0, 2**32 + 5, 230))["WH"] == 5


@pytest.mark.parametrize("power", [-6540, 8760])
def test_a_meter_is_model_203(power: float) -> None:
    points = decoded(meter_model(power, imported_Wh=1234.5, exported_Wh=9876.5, voltage_V=229.0))
    assert (points["ID"], points["L"]) == (203, 105)
    assert points["W"] == power
    assert points["WphB"] == pytest.approx(power / 3, abs=5)
    assert points["AphB"] == pytest.approx(power / 3 / 229, abs=0.005)
    assert (points["TotWhImp"], points["TotWhExp"]) == (1234, 9876)
    assert points["PhVphA"] == 229
    assert points["PPV"] == pytest.approx(396.6, abs=0.05)
    assert points["Hz"] == 50


@pytest.mark.parametrize(("power", "state"), [(1500, 4), (-1500, 3), (0, 6)])
def test_a_battery_is_model_802(power: float, state: int) -> None:
    points = decoded(battery_model(power, soc_perc=43.21, capacity_Wh=12_300))
    assert (points["ID"], points["L"]) == (802, 62)
    assert points["W"] == -power
    assert points["A"] == -power / 400
    assert points["V"] == 400
    assert points["SoC"] == pytest.approx(43.2)
    assert points["WHRtg"] == 12_300
    assert points["ChaSt"] == state


async def test_the_driver_reads_a_device_that_is_all_three() -> None:
    def models() -> list[list[int]]:
        return [inverter_model(3200, 5e6, 230), meter_model(-1700, 3e6, 4e6, 230), battery_model(1500, 62.5, 10_000)]

    driver = SunSpec(ReadOptions())
    scan = await driver.poll(Wire(sunspec_unit("hybrid", models)), lambda: 0.0)
    assert scan.complete
    assert (driver.identity.manufacturer, driver.identity.model) == ("Simulated", "hybrid")
    assert driver.nodes == {NodeType.SOLAR, NodeType.GRID, NodeType.STORAGE}
    values = {(each.node, each.quantity): each.value for each in scan.readings if each.phase is None}
    # 3200 W leave the inverter while 1500 W go into its battery.
    assert values[NodeType.SOLAR, Quantity.ACTIVE_POWER] == 3200 + 1500
    assert values[NodeType.GRID, Quantity.ACTIVE_POWER] == -1700
    assert values[NodeType.GRID, Quantity.IMPORTED_ENERGY] == 3e6
    assert values[NodeType.GRID, Quantity.EXPORTED_ENERGY] == 4e6
    assert values[NodeType.STORAGE, Quantity.ACTIVE_POWER] == 1500
    assert values[NodeType.STORAGE, Quantity.SOC] == 62.5
    assert values[NodeType.STORAGE, Quantity.ENERGY_CAPACITY] == 10_000


def test_a_64_bit_value_that_is_not_available_has_all_its_bits() -> None:
    assert encode(Encoding("uint64"), 2**64 - 1) == [0xFFFF] * 4
    assert encode(Encoding("uint64", word_order="little"), 2**63 + 1) == [1, 0, 0, 0x8000]
