from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent.energy_store import EnergyStore
from agent.node import Node, why_not
from agent.payload import PayloadOptions, bodies
from agent.schema import problems
from agent.totals import Totals, TotalsSettings
from drivers.model import Kind, NodeType, Quality, Quantity, Reading, Scan, Value

WALL = 1_780_300_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EnergyStore]:
    opened = EnergyStore.open(tmp_path / "energy.sqlite3")
    yield opened
    opened.close()


def scan(at: float, **values: Value | None) -> Scan:
    readings = tuple(
        Reading(Quantity(name), None, value, Quality.MISSING if value is None else Quality.GOOD, at)  # type: ignore[call-arg]
        for name, value in values.items()
    )
    return Scan(readings, at, at)


def body(totals: Totals, at: float = 1000.0, **options: Any) -> dict[str, Any]:
    summary = totals.close(at, WALL)
    message = json.loads(bodies(summary, PayloadOptions("S", **options))[0])
    assert problems(message) == []
    return dict(message)


def settings(**changes: Any) -> TotalsSettings:
    return TotalsSettings(timezone=ZoneInfo("Europe/Brussels"), **changes)


PV1 = Node("pv-1", NodeType.SOLAR, Kind.INVERTER)
PV2 = Node("pv-2", NodeType.SOLAR, Kind.INVERTER)


def test_a_missing_member_leaves_its_field_out_or_is_left_out_of_the_sum(store: EnergyStore) -> None:
    for partial, expected in (("omit", {}), ("sum", {"active_power_W": 1500})):
        totals = Totals([PV1, PV2], settings(partial_totals=partial), store)
        totals.observe([PV1], scan(999.0, active_power=1500.0), WALL)
        assert body(totals)["solar"] == expected


def test_an_old_reading_is_not_sent(store: EnergyStore) -> None:
    totals = Totals([PV1], settings(stale_after_s=30.0), store)
    totals.observe([PV1], scan(1000.0, active_power=1500.0), WALL)
    assert body(totals, at=1030.0)["solar"] == {"active_power_W": 1500}
    assert body(totals, at=1030.1)["solar"] == {}


def test_a_value_that_the_device_takes_back_is_not_sent(store: EnergyStore) -> None:
    totals = Totals([PV1], settings(), store)
    totals.observe([PV1], scan(999.0, active_power=1500.0), WALL)
    totals.observe([PV1], scan(1000.0, active_power=None), WALL)
    assert body(totals)["solar"] == {}


def test_a_sleeping_inverter_counts_zero_and_holds_its_day(store: EnergyStore) -> None:
    node = Node("pv-1", NodeType.SOLAR, Kind.INVERTER, when_offline="zero")
    totals = Totals([node], settings(), store)
    totals.observe([node], scan(100.0, active_power=10.0, produced_energy=1000.0), WALL - 900)
    totals.observe([node], scan(110.0, active_power=10.0, produced_energy=1200.0), WALL - 890)
    assert body(totals)["solar"] == {"active_power_W": 0, "today_energy_Wh": 200}


def test_a_meter_on_a_solar_feeder_reports_production(store: EnergyStore) -> None:
    node = Node("pv-1", NodeType.SOLAR, Kind.METER)
    totals = Totals([node], settings(), store)
    totals.observe([node], scan(990.0, active_power=-700.0, exported_energy=50.0, imported_energy=9.0), WALL - 10)
    totals.observe([node], scan(1000.0, active_power=-700.0, exported_energy=53.0, imported_energy=9.0), WALL)
    assert body(totals)["solar"] == {"active_power_W": 700, "today_energy_Wh": 3}


def test_invert_turns_power_and_exchanges_the_counters(store: EnergyStore) -> None:
    node = Node("m", NodeType.GRID, Kind.METER, invert=True)
    totals = Totals([node], settings(), store)
    totals.observe([node], scan(990.0, active_power=100.0, imported_energy=0.0, exported_energy=0.0), WALL - 10)
    totals.observe([node], scan(1000.0, active_power=100.0, imported_energy=5.0, exported_energy=0.0), WALL)
    assert body(totals)["grid"] == {
        "active_power_W": -100,
        "today_imported_energy_Wh": 0,
        "today_exported_energy_Wh": 5,
    }


def test_state_of_charge_is_weighted_by_capacity(store: EnergyStore) -> None:
    small = Node("b1", NodeType.STORAGE, Kind.BATTERY, energy_capacity_Wh=5000.0)
    large = Node("b2", NodeType.STORAGE, Kind.BATTERY)
    totals = Totals([small, large], settings(sign={NodeType.STORAGE: -1}), store)
    totals.observe([small], scan(1000.0, active_power=100.0, soc=100.0), WALL)
    totals.observe([large], scan(1000.0, active_power=-400.0, energy_stored=0.0, energy_capacity=15_000.0), WALL)
    assert body(totals)["storage"] == {
        "active_power_W": 300,
        "energy_stored_Wh": 5000,
        "energy_capacity_Wh": 20_000,
        "mean_soc_perc": 25,
    }


def test_devices_that_report_only_a_state(store: EnergyStore) -> None:
    relay = Node("r", NodeType.SWITCHED_LOAD, Kind.RELAY, nominal_power_W=2000.0)
    pump = Node("h", NodeType.HEAT_PUMP, Kind.HEAT_PUMP, nominal_power_W=1800.0)
    totals = Totals([relay, pump], settings(), store)
    totals.observe([relay], scan(1000.0, on=True), WALL)
    totals.observe([pump], scan(1000.0, operation_mode="off"), WALL)
    message = body(totals)
    assert message["switched_load"] == {"active_power_W": 2000}
    assert message["heat_pump"] == {"active_power_W": 0, "operation_modes": ["off"]}


def test_the_mean_is_weighted_by_time(store: EnergyStore) -> None:
    totals = Totals([PV1], settings(statistic="mean"), store)
    for at, power in ((940.0, 0.0), (990.0, 1200.0), (1000.0, 0.0)):
        totals.observe([PV1], scan(at, active_power=power), WALL)
    assert body(totals)["solar"] == {"active_power_W": 200}


def test_energies_survive_a_restart(tmp_path: Path) -> None:
    for value in (1000.0, 1300.0):
        store = EnergyStore.open(tmp_path / "energy.sqlite3")
        totals = Totals([PV1], settings(), store)
        totals.observe([PV1], scan(1000.0, produced_energy=value), WALL + value)
        message = body(totals)
        totals.save()
        store.close()
    assert message["solar"] == {"today_energy_Wh": 300}


def test_a_damaged_store_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "energy.sqlite3"
    path.write_bytes(b"not a database" * 1000)
    store = EnergyStore.open(path)
    assert store.load() == {}
    store.close()
    assert (tmp_path / "energy.sqlite3.damaged").exists()


def test_quality_limits_and_time_as_text(store: EnergyStore) -> None:
    meter = Node("m", NodeType.GRID, Kind.METER)
    totals = Totals([meter, PV1, PV2], settings(), store)
    totals.observe([meter], scan(999.0, active_power=1.0), WALL)
    totals.observe([PV1], scan(988.0, active_power=1.0), WALL)
    message = body(totals, quality=True, import_limit_W=17250.0, time_format="string")
    assert message["time"] == str(WALL)
    assert message["grid"] == {"active_power_W": 1, "import_limit_W": 17250}
    assert message["quality"] == {
        "grid": {"devices": 1, "fresh": 1, "oldest_s": 1},
        "solar": {"devices": 2, "fresh": 1, "oldest_s": 12},
    }


def test_every_kind_can_be_something_and_says_what_it_cannot_be() -> None:
    assert why_not(Kind.METER, NodeType.HEAT_PUMP) is None
    assert why_not(Kind.INVERTER, NodeType.GRID) == "a device of kind inverter cannot be grid; it can be solar"
    for kind in Kind:
        assert any(why_not(kind, type_) is None for type_ in NodeType)
