"""Every built-in device family from its registers to the payload: simulated device, socket, configuration, fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.commissioning.read_once import read_site
from agent.config.loader import parse
from agent.site.builder import build
from drivers.model import Key, Kind, NodeType, Quantity, Table, Value
from drivers.profile.loader import Profile
from drivers.simulator.modbus_server import Image, ModbusServer, SimulatedUnit
from drivers.simulator.register_image import profile_unit
from drivers.simulator.sunspec_units import battery_model, inverter_model, meter_model, sunspec_unit
from tests.support.cases import for_each
from tests.support.profiles import BY_REGISTERS, PROFILES, Profiles

# Export, production, discharge, consumption: where a sign can be wrong, it is negative here.
POWER_W = dict.fromkeys(NodeType, 4200.0) | {NodeType.GRID: -4200.0, NodeType.STORAGE: -4200.0}
NOMINAL_W = 2500
SOC_PERC = 63.0
COUNTER_WH = 3_456_000.0


# A counter, and the field that comes of it.
TODAY = {
    (NodeType.GRID, Quantity.IMPORTED_ENERGY): "today_imported_energy_Wh",
    (NodeType.GRID, Quantity.EXPORTED_ENERGY): "today_exported_energy_Wh",
    (NodeType.SOLAR, Quantity.PRODUCED_ENERGY): "today_energy_Wh",
    (NodeType.STORAGE, Quantity.CHARGED_ENERGY): "today_charged_Wh",
    (NodeType.STORAGE, Quantity.DISCHARGED_ENERGY): "today_discharged_Wh",
}


class Padded(dict[int, int]):
    def __missing__(self, address: int) -> int:
        return 0


def type_of(profile: Profile, key: Key) -> NodeType:
    return key[0] or profile.kind.usual


def values_of(profile: Profile) -> dict[Key, Value]:
    """What the device shows: every power in the direction above, phases a third of it."""
    values: dict[Key, Value] = {}
    for key in (point.key for point in profile.points):
        match key[1]:
            case Quantity.ACTIVE_POWER:
                values[key] = POWER_W[type_of(profile, key)] / (3 if key[2] else 1)
            case Quantity.ON:
                values[key] = True  # closed
            case Quantity.OPERATION_MODE:
                values[key] = "on"
            case Quantity.SOC:
                values[key] = SOC_PERC
            case Quantity.VOLTAGE:
                values[key] = 230.0
            case Quantity.FREQUENCY:
                values[key] = 50.0
            case quantity if quantity.value.endswith("_energy"):
                values[key] = 12_000.0 if quantity.value.startswith("today") else COUNTER_WH
            case _:
                values[key] = 12.0
    return values


def both(first: SimulatedUnit, second: SimulatedUnit) -> SimulatedUnit:
    """A device with the holding registers of two."""
    images = first.image, second.image
    first.image = lambda: {Table.HOLDING: {**images[1]()[Table.HOLDING], **images[0]()[Table.HOLDING]}}
    return first


def served(name: str, profile: Profile, unit_id: int) -> SimulatedUnit:
    if profile.driver is not None:
        models = [meter_model(POWER_W[NodeType.GRID], 1000.0, 2000.0, 230.0)]
        if profile.driver == "solaredge":
            models += [inverter_model(8400.0, 5000.0, 230.0)]
            return both(
                sunspec_unit(name, lambda: models, unit_id), served("", PROFILES["solaredge-storedge"], unit_id)
            )
        if profile.kind is Kind.HYBRID:
            models += [
                inverter_model(8400.0, 5000.0, 230.0),
                battery_model(POWER_W[NodeType.STORAGE], SOC_PERC, 10_000),
            ]
        return sunspec_unit(name, lambda: models, unit_id)
    unit = profile_unit(profile, lambda: values_of(profile), unit_id)
    image: Image = {table: Padded(words) for table, words in unit.image().items()}
    unit.image = lambda: image
    return unit


async def payload_of(folder: Path, name: str, profile: Profile) -> dict[str, Any]:
    """The node's fields by type, as they would be pushed."""
    unit_id = 1 if profile.link.unit_id is None else profile.link.unit_id
    server = ModbusServer([served(name, profile, unit_id)], "127.0.0.1")
    await server.start()
    # As installed, but for the pauses.
    device: dict[str, Any] = {"driver": name, "host": server.host, "port": server.port, "connect_delay_s": 0.0}
    device |= {"request_gap_s": 0.0, "nominal_power_W": NOMINAL_W}
    types = profile.nodes or (set(list(NodeType)[:3]) if profile.kind is Kind.HYBRID else set())
    if types:
        device["nodes"] = {type_.value: type_.value for type_ in types}
    else:
        device |= {"type": profile.kind.usual.value, "node_id": profile.kind.usual.value}
    content = {
        "site": {"node_id": "SITE"},
        "push": {"url": "http://127.0.0.1:9/", "token": "t", "levels": ["device"], "device_format": "snapshot"},
        "outbox": {"path": str(folder / "outbox.sqlite3")},
        "device": [device],
    }
    config = parse(content, {}, "config.toml")
    try:
        result = await read_site(config, build(config, "config.toml"))
    finally:
        await server.stop()
    assert not result.failed
    nodes = json.loads(result.bodies["default"][0])["nodes"]
    return {type_: fields for node in nodes.values() for type_, fields in node.items()}


@for_each("name", BY_REGISTERS)
async def test_a_family_fills_the_fields_of_its_types(tmp_path: Path, name: str) -> None:
    profile = PROFILES[name]
    payload = await payload_of(tmp_path, name, profile)
    assert set(payload) == {type_of(profile, point.key) for point in profile.points}
    quantities = {(type_of(profile, point.key), point.quantity) for point in profile.points}
    for type_, fields in payload.items():
        measured = (type_, Quantity.ACTIVE_POWER) in quantities
        assert fields["active_power_W"] == pytest.approx(POWER_W[NodeType(type_)] if measured else NOMINAL_W, abs=60)
        if type_ == NodeType.STORAGE:
            assert fields["mean_soc_perc"] == SOC_PERC
        if type_ == NodeType.HEAT_PUMP and (type_, Quantity.OPERATION_MODE) in quantities:
            assert fields["operation_modes"] == ["on"]
    for (type_, quantity), name_ in TODAY.items():
        assert (name_ in payload.get(type_, {})) == ((type_, quantity) in quantities)


@for_each("name", Profiles(lambda profile: profile.driver is not None))
async def test_a_sunspec_family_fills_the_fields_of_its_types(tmp_path: Path, name: str) -> None:
    profile = PROFILES[name]
    payload = await payload_of(tmp_path, name, profile)
    assert payload["grid"]["active_power_W"] == pytest.approx(POWER_W[NodeType.GRID], abs=10)
    if profile.kind is Kind.HYBRID:
        # What the inverter gives is the sun and the battery together.
        assert payload["storage"]["active_power_W"] == POWER_W[NodeType.STORAGE]
        assert payload["storage"]["mean_soc_perc"] == SOC_PERC
