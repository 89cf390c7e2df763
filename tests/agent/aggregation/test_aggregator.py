from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import settings as hsettings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agent.aggregation.aggregator import AggregationSettings, Aggregator, SummarySettings
from agent.aggregation.energy_tracker import Account, EnergyField
from agent.aggregation.node_summary import NodeSummary
from agent.contract.payload import PayloadOptions, bodies
from agent.contract.schema import problems, unknown_fields
from agent.domain.node import Node
from agent.energy.days import Basis, DayEnergy, day_of
from agent.energy.published import Published
from agent.energy.readings import advance
from agent.energy.store import EnergyStore
from agent.energy.turnover import Register
from drivers.model import (
    Kind,
    Nature,
    NodeType,
    Phase,
    Quality,
    Quantity,
    Reading,
    ReadingColumns,
    Resolution,
    Scan,
    Value,
)

WALL = 1_780_300_000
MIDNIGHT = int(day_of(WALL, ZoneInfo("Europe/Brussels"))[2])
"""The next one."""
NOON = MIDNIGHT + 12 * 3600


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


def marked_scan(at: float, **powers: float) -> Scan:
    """Powers by the node that a driver names."""
    readings = (
        Reading(Quantity.ACTIVE_POWER, None, power, Quality.GOOD, at, NodeType(type_))
        for type_, power in powers.items()
    )
    return Scan(tuple(readings), at, at)


class NoStore:
    def load(self) -> dict[object, object]:
        return {}

    load_nights = load_published = load

    def load_time(self) -> int:
        return 0


def body(totals: Aggregator, at: float = 1000.0, wall: int = WALL, **options: Any) -> dict[str, Any]:
    summary = totals.close(at, wall)
    message = json.loads(bodies(summary, PayloadOptions("S", **options))[0])
    assert problems(message) == unknown_fields(message) == []
    return dict(message)


def settings(
    partial_totals: Any = "omit", sign: Mapping[NodeType, int] = MappingProxyType({}), **changes: Any
) -> AggregationSettings:
    endpoints = {"default": SummarySettings(partial_totals=partial_totals, sign=sign)}
    return AggregationSettings(ZoneInfo("Europe/Brussels"), **({"endpoints": endpoints} | changes))


PV1 = Node("pv-1", NodeType.SOLAR, Kind.INVERTER)
PV2 = Node("pv-2", NodeType.SOLAR, Kind.INVERTER)
BATTERY = Node("b", NodeType.STORAGE, Kind.BATTERY)


def test_a_missing_member_leaves_its_field_out_or_is_left_out_of_the_sum(store: EnergyStore) -> None:
    for partial, expected in (("omit", {}), ("sum", {"active_power_W": 1500})):
        totals = Aggregator([PV1, PV2], settings(partial_totals=partial), store)
        totals.observe([PV1], scan(999.0, active_power=1500.0), WALL)
        assert body(totals)["solar"] == expected
    totals = Aggregator([PV1, PV2], AggregationSettings(ZoneInfo("Europe/Brussels")), store)
    totals.observe([PV1], scan(999.0, active_power=1500.0), WALL)
    assert body(totals)["solar"] == {}, "a field that is not known of all is left out unless the endpoint wants it"


def test_a_total_is_the_sum_of_what_is_sent_with_three_decimals(store: EnergyStore) -> None:
    totals = Aggregator([PV1, PV2], settings(), store)
    for node in (PV1, PV2):
        totals.observe([node], scan(1000.0, active_power=0.1236), WALL)
    assert body(totals)["solar"] == {"active_power_W": 0.248}


def test_an_old_reading_is_not_sent(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(stale_after_s=30.0), store)
    totals.observe([PV1], scan(1000.0, active_power=1500.0), WALL)
    message = body(totals, at=1030.0, quality=True)
    assert message["solar"] == {"active_power_W": 1500}
    assert message["quality"]["solar"] == {"devices": 1, "fresh": 1, "expected": 1, "got": 1, "oldest_s": 30}
    message = body(totals, at=1030.1, quality=True)
    assert message["solar"] == {}
    assert message["quality"]["solar"] == {"devices": 1, "fresh": 0, "expected": 0, "got": 0}


def test_a_device_with_its_own_interval_has_its_own_age(store: EnergyStore) -> None:
    rare = Node("pv-1", NodeType.SOLAR, Kind.INVERTER, stale_after_s=180.0)
    totals = Aggregator([rare, PV2], settings(stale_after_s=30.0), store)
    totals.observe([rare], scan(1000.0, active_power=1500.0), WALL)
    totals.observe([PV2], scan(1170.0, active_power=500.0), WALL)
    assert body(totals, at=1180.0)["solar"] == {"active_power_W": 2000}
    assert body(totals, at=1180.1)["solar"] == {}


def test_polls_that_were_due_and_not_made_are_expected(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    totals.observe([PV1], scan(999.0, active_power=1500.0), WALL)
    totals.missed([PV1])
    totals.skipped([PV1], 8)
    (result,) = totals.close(1000.0, WALL).nodes
    assert (result.summary.expected, result.summary.got) == (10, 1)


@pytest.mark.parametrize(
    ("value", "quality", "sent", "got", "dropped"),
    [
        (None, Quality.MISSING, {}, 1, 0),
        (7.0, Quality.MISSING, {}, 1, 0),
        (None, Quality.GOOD, {}, 1, 0),
        (None, Quality.INVALID, {"active_power_W": 1500}, 1, 1),
        (7.0, Quality.INVALID, {"active_power_W": 1500}, 1, 1),
        (7.0, Quality.GOOD, {"active_power_W": 7}, 2, 0),
    ],
)
def test_a_value_that_the_device_takes_back_is_not_sent(
    store: EnergyStore, value: float | None, quality: Quality, sent: dict[str, int], got: int, dropped: int
) -> None:
    totals = Aggregator([PV1], settings(), store)
    totals.observe([PV1], scan(999.0, active_power=1500.0), WALL)
    reading = Reading(Quantity.ACTIVE_POWER, None, value, quality, 1000.0)
    with capture_logs():
        totals.observe([PV1], Scan((reading,), 1000.0, 1000.0), WALL)
    message = body(totals, quality=True)
    assert (message["solar"], message["quality"]["solar"]["got"], totals.dropped["pv-1"]) == (sent, got, dropped)


def test_a_sleeping_inverter_counts_zero_and_holds_its_day(store: EnergyStore) -> None:
    node = Node("pv-1", NodeType.SOLAR, Kind.INVERTER, when_offline="zero")
    totals = Aggregator([node], settings(), store)
    totals.observe([node], scan(100.0, active_power=10.0, produced_energy=1000.0), WALL - 900)
    totals.observe([node], scan(110.0, active_power=10.0, produced_energy=1200.0), WALL - 890)
    assert body(totals)["solar"] == {"active_power_W": 0, "today_energy_Wh": 200}


def test_an_inverter_that_answers_at_night_without_power_sleeps_too(store: EnergyStore) -> None:
    node = Node("pv-1", NodeType.SOLAR, Kind.INVERTER, when_offline="zero")
    totals = Aggregator([node], settings(), store)
    totals.observe([node], scan(900.0, active_power=10.0, produced_energy=1000.0), WALL - 100)
    totals.observe([node], scan(910.0, active_power=10.0, produced_energy=1200.0), WALL - 90)
    asleep = scan(1000.0, active_power=None, produced_energy=None, temperature=12.0)
    totals.observe([node], asleep, WALL)
    assert body(totals)["solar"] == {"active_power_W": 0, "today_energy_Wh": 200}
    holes = scan(1100.0, active_power=None, temperature=12.0)
    totals.observe([node], holes._replace(errors=(OSError("exception 4"),)), WALL + 100)
    assert body(totals, at=1100.0)["solar"] == {}
    totals.observe([node], scan(1110.0, active_power=7.0), WALL + 110)
    assert body(totals, at=1110.0)["solar"] == {"active_power_W": 7}


def test_a_battery_that_answers_without_power_counts_zero_if_it_may(store: EnergyStore) -> None:
    for node, power in ((replace(BATTERY, when_offline="zero"), {"active_power_W": 0}), (BATTERY, {})):
        totals = Aggregator([node], settings(), store)
        totals.observe([node], scan(1000.0, active_power=None, soc=50.0), WALL)
        assert body(totals)["storage"] == power | {"mean_soc_perc": 50}


def test_a_counter_that_an_awake_inverter_no_longer_gives_becomes_stale(store: EnergyStore) -> None:
    node = Node("pv-1", NodeType.SOLAR, Kind.INVERTER, when_offline="zero")
    totals = Aggregator([node], settings(), store)
    totals.observe([node], scan(970.0, active_power=10.0, produced_energy=1000.0), WALL - 30)
    totals.observe([node], scan(1000.0, active_power=10.0), WALL)
    assert body(totals, at=1000.0)["solar"] == {"active_power_W": 10, "today_energy_Wh": 0}
    assert body(totals, at=1000.1)["solar"] == {"active_power_W": 10}


def test_a_meter_on_a_solar_feeder_reports_production(store: EnergyStore) -> None:
    node = Node("pv-1", NodeType.SOLAR, Kind.METER)
    totals = Aggregator([node], settings(), store)
    totals.observe([node], scan(990.0, active_power=-700.0, exported_energy=50.0, imported_energy=9.0), WALL - 10)
    totals.observe([node], scan(1000.0, active_power=-700.0, exported_energy=53.0, imported_energy=9.0), WALL)
    assert body(totals)["solar"] == {"active_power_W": 700, "today_energy_Wh": 3}


def test_invert_turns_power_and_exchanges_the_counters(store: EnergyStore) -> None:
    node = Node("m", NodeType.GRID, Kind.METER, invert=True)
    totals = Aggregator([node], settings(), store)
    totals.observe([node], scan(990.0, active_power=100.0, imported_energy=0.0, exported_energy=0.0), WALL - 10)
    totals.observe([node], scan(1000.0, active_power=100.0, imported_energy=5.0, exported_energy=0.0), WALL)
    assert body(totals)["grid"] == {
        "active_power_W": -100,
        "today_imported_energy_Wh": 0,
        "today_exported_energy_Wh": 5,
    }


@pytest.mark.parametrize("capacity_Wh", [5000, 1])
def test_state_of_charge_is_weighted_by_capacity(store: EnergyStore, capacity_Wh: int) -> None:
    small = Node("b1", NodeType.STORAGE, Kind.BATTERY, energy_capacity_Wh=float(capacity_Wh))
    large = Node("b2", NodeType.STORAGE, Kind.BATTERY)
    totals = Aggregator([small, large], settings(sign={NodeType.STORAGE: -1}), store)
    totals.observe([small], scan(1000.0, active_power=100.0, soc=100.0), WALL)
    values = {"active_power": -400.0, "energy_stored": 0.0, "energy_capacity": 3.0 * capacity_Wh}
    totals.observe([large], scan(1000.0, **values), WALL)
    assert body(totals)["storage"] == {
        "active_power_W": 300,
        "energy_stored_Wh": capacity_Wh,
        "energy_capacity_Wh": 4 * capacity_Wh,
        "mean_soc_perc": 25,
    }


def test_without_a_capacity_the_charge_is_the_plain_mean(store: EnergyStore) -> None:
    other = Node("b2", NodeType.STORAGE, Kind.BATTERY)
    totals = Aggregator([BATTERY, other], settings(), store)
    totals.observe([BATTERY], scan(1000.0, soc=40.0), WALL)
    totals.observe([other], scan(1000.0, energy_stored=3000.0, energy_capacity=15_000.0), WALL)
    assert body(totals)["storage"] == {"mean_soc_perc": 30}


def test_a_silent_battery_has_no_capacity_either(store: EnergyStore) -> None:
    totals = Aggregator([replace(BATTERY, energy_capacity_Wh=5000.0)], settings(), store)
    totals.observe([BATTERY], scan(970.0, soc=50.0), WALL)
    known = {"energy_stored_Wh": 2500, "energy_capacity_Wh": 5000, "mean_soc_perc": 50}
    assert body(totals, at=1000.0)["storage"] == known
    assert body(totals, at=1000.1)["storage"] == {}


def test_devices_that_report_only_a_state(store: EnergyStore) -> None:
    relay = Node("r", NodeType.SWITCHED_LOAD, Kind.RELAY, nominal_power_W=2000.0)
    pump = Node("h", NodeType.HEAT_PUMP, Kind.HEAT_PUMP, nominal_power_W=1800.0)
    sg_ready = Node("sg", NodeType.HEAT_PUMP, Kind.RELAY, nominal_power_W=1500.0)
    totals = Aggregator([relay, pump, sg_ready], settings(), store)
    totals.observe([relay], scan(1000.0, on=True), WALL)
    totals.observe([pump], scan(1000.0, operation_mode="off"), WALL)
    totals.observe([sg_ready], scan(1000.0, on=True), WALL)
    message = body(totals)
    assert message["switched_load"] == {"active_power_W": 2000}
    assert message["heat_pump"] == {"active_power_W": 1500, "operation_modes": ["off", "on"]}


def test_the_mean_is_weighted_by_time_and_intervals_tile_it(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(statistic="mean"), store)
    for at, power in ((970.0, 0.0), (995.0, 1200.0), (1000.0, 600.0)):
        totals.observe([PV1], scan(at, active_power=power), WALL)
    assert body(totals)["solar"] == {"active_power_W": 200}
    for at, power in ((1015.0, 0.0), (1030.0, 5000.0)):
        totals.observe([PV1], scan(at, active_power=power), WALL)
    assert body(totals, at=1030.0)["solar"] == {"active_power_W": 300}
    assert body(totals, at=1031.0)["solar"] == {"active_power_W": 5000}


def test_a_mean_over_a_second_is_a_mean(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(statistic="mean"), store)
    for at, power in ((999.0, 100.0), (999.5, 300.0), (1000.0, 800.0)):
        totals.observe([PV1], scan(at, active_power=power), WALL)
    assert body(totals)["solar"] == {"active_power_W": 200}


def test_a_value_stands_until_it_is_stale_and_not_for_time_in_which_nobody_looked(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(statistic="mean"), store)
    for at, power in ((900.0, 9000.0), (980.0, 100.0), (1000.0, 200.0)):
        totals.observe([PV1], scan(at, active_power=power), WALL)
    assert body(totals)["solar"] == {"active_power_W": (9000 * 30 + 100 * 20) / 50}


def test_a_value_that_held_over_a_short_gap_counts_in_the_mean(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(statistic="mean"), store)
    for at, power in ((940.0, 1000.0), (950.0, 1000.0), (990.0, 0.0), (1000.0, 0.0)):
        totals.observe([PV1], scan(at, active_power=power), WALL)
    assert body(totals)["solar"] == {"active_power_W": 800}


@pytest.mark.parametrize("missing", [(980.0,), (980.0, 985.0)])
def test_a_mean_leaves_out_only_the_time_without_a_value(store: EnergyStore, missing: Sequence[float]) -> None:
    totals = Aggregator([PV1], settings(statistic="mean"), store)
    powers = [(960.0, 100.0), (970.0, 100.0), *((at, None) for at in missing), (990.0, 400.0), (1000.0, 800.0)]
    for at, power in powers:
        totals.observe([PV1], scan(at, active_power=power), WALL)
    assert body(totals)["solar"] == {"active_power_W": (100 * 20 + 400 * 10) / 30}
    for at, power in ((1010.0, None), (1020.0, 50.0), (1030.0, 0.0)):
        totals.observe([PV1], scan(at, active_power=power), WALL)
    assert body(totals, at=1030.0)["solar"] == {"active_power_W": (800 * 10 + 50 * 10) / 20}


def test_a_mean_begins_with_the_first_value_if_there_was_none_when_the_interval_began(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(statistic="mean"), store)
    for at, power in ((980.0, 100.0), (1000.0, None)):
        totals.observe([PV1], scan(at, active_power=power), WALL)
    assert "active_power_W" not in body(totals)["solar"]
    for at, power in ((1010.0, 300.0), (1020.0, 700.0)):
        totals.observe([PV1], scan(at, active_power=power), WALL)
    assert body(totals, at=1020.0)["solar"] == {"active_power_W": 300}


def test_a_battery_counts_with_the_charge_that_it_tells(store: EnergyStore) -> None:
    totals = Aggregator([BATTERY], settings(), store)
    totals.observe([BATTERY], scan(1000.0, soc=20.0, energy_stored=9000.0, energy_capacity=10_000.0), WALL)
    assert body(totals)["storage"] == {
        "energy_stored_Wh": 9000,
        "energy_capacity_Wh": 10_000,
        "mean_soc_perc": 20,
    }


def test_a_capacity_register_of_0_leaves_it_to_the_configuration(store: EnergyStore) -> None:
    known = replace(BATTERY, energy_capacity_Wh=5000.0)
    totals = Aggregator([known], settings(), store)
    totals.observe([known], scan(1000.0, soc=20.0, energy_capacity=0.0), WALL)
    assert body(totals)["storage"] == {"energy_stored_Wh": 1000, "energy_capacity_Wh": 5000, "mean_soc_perc": 20}


def test_a_heat_pump_without_a_mode_leaves_the_modes_of_the_others(store: EnergyStore) -> None:
    meter = Node("m", NodeType.HEAT_PUMP, Kind.METER)
    pump = Node("h", NodeType.HEAT_PUMP, Kind.HEAT_PUMP)
    totals = Aggregator([meter, pump], settings(), store)
    totals.observe([meter], scan(1000.0, active_power=900.0), WALL)
    totals.observe([pump], scan(1000.0, active_power=100.0, operation_mode="on"), WALL)
    assert body(totals)["heat_pump"] == {"active_power_W": 1000, "operation_modes": ["on"]}


def test_a_mean_power_has_the_resolution_of_its_register(store: EnergyStore) -> None:
    whole = replace(PV1, resolutions={Quantity.ACTIVE_POWER: Resolution(1.0)})
    totals = Aggregator([whole], settings(statistic="mean"), store)
    for at, power in ((970.0, 100.0), (980.0, 101.0), (1000.0, 103.0)):
        totals.observe([whole], scan(at, active_power=power), WALL)
    assert body(totals)["solar"] == {"active_power_W": 101}


def test_the_mean_powers_of_the_phases_have_that_resolution_too(store: EnergyStore) -> None:
    whole = replace(PV1, resolutions={Quantity.ACTIVE_POWER: Resolution(10.0)})
    totals = Aggregator([whole], settings(statistic="mean"), store)
    for at, power in ((970.0, 100.0), (980.0, 110.0), (1000.0, 130.0)):
        readings = (Reading(Quantity.ACTIVE_POWER, phase, power, Quality.GOOD, at) for phase in (None, Phase.L1))
        totals.observe([whole], Scan(tuple(readings), at, at), WALL)
    values = totals.close(1000.0, WALL).nodes[0].summary.values
    assert values == {(Quantity.ACTIVE_POWER, None): 110.0, (Quantity.ACTIVE_POWER, Phase.L1): 110.0}


def test_a_last_power_is_sent_as_it_was_read(store: EnergyStore) -> None:
    coarse = replace(PV1, resolutions={Quantity.ACTIVE_POWER: Resolution(10.0)})
    totals = Aggregator([coarse], settings(), store)
    totals.observe([coarse], scan(1000.0, active_power=123.0), WALL)
    assert totals.close(1000.0, WALL).nodes[0].summary.values == {(Quantity.ACTIVE_POWER, None): 123.0}


def last_and_mean(summary: NodeSummary) -> tuple[float | None, float | None]:
    return summary.number(Quantity.ACTIVE_POWER), summary._replace(statistic="mean").chosen(Quantity.ACTIVE_POWER)


@pytest.mark.parametrize("pushes", range(6))
def test_means_begin_when_a_reload_asks_for_them(store: EnergyStore, pushes: int) -> None:
    totals = Aggregator([PV1], settings(), store)
    totals.observe([PV1], scan(970.0, active_power=500.0), WALL)
    totals.observe([PV1], scan(980.0, active_power=100.0), WALL)
    for _ in range(pushes):
        assert body(totals, at=980.0)["solar"] == {"active_power_W": 100}
    totals.reconfigure([PV1], settings(statistic="mean"))
    totals.observe([PV1], scan(990.0, active_power=300.0), WALL)
    totals.observe([PV1], scan(1000.0, active_power=700.0), WALL)
    assert body(totals)["solar"] == {"active_power_W": 200}
    totals.reconfigure([PV1], settings())
    totals.observe([PV1], scan(1010.0, active_power=800.0), WALL)
    assert body(totals)["solar"] == {"active_power_W": 800}


def test_a_mean_leaves_out_the_time_without_means(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(statistic="mean"), store)
    totals.observe([PV1], scan(960.0, active_power=500.0), WALL)
    totals.observe([PV1], scan(970.0, active_power=500.0), WALL)
    totals.reconfigure([PV1], settings())
    totals.observe([PV1], scan(980.0, active_power=500.0), WALL)
    totals.observe([PV1], scan(990.0, active_power=500.0), WALL)
    totals.reconfigure([PV1], settings(statistic="mean"))
    totals.observe([PV1], scan(1000.0, active_power=500.0), WALL)
    assert body(totals)["solar"] == {"active_power_W": 500}


def test_statistics_of_an_interval(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(statistic="mean"), store)
    for at, power in ((980.0, 300.0), (990.0, 100.0), (1000.0, 200.0)):
        totals.observe([PV1], scan(at, active_power=power, voltage=230.0), WALL)
    totals.missed([PV1])
    summary = totals.close(1000.0, WALL).nodes[0].summary
    assert last_and_mean(summary) == (200, 200)
    assert (summary.expected, summary.got, summary.oldest_s) == (4, 3, 0)
    following = totals.close(1020.0, WALL + 20).nodes[0].summary
    assert last_and_mean(following) == (200, 200)
    assert following.number(Quantity.FREQUENCY) is None
    assert (following.expected, following.got, following.oldest_s) == (0, 0, 20)
    totals.observe([PV1], scan(1025.0, active_power=900.0), WALL)
    assert following.number(Quantity.ACTIVE_POWER) == 200, "a summary is of its own moment"
    later = totals.close(1025.0, WALL + 25).nodes[0].summary
    assert last_and_mean(later) == (900, 200)
    assert later.oldest_s == 25, "the voltage is not newer"


def test_phases_and_reactive_power_turn_with_their_group(store: EnergyStore) -> None:
    meter = Node("m", NodeType.GRID, Kind.METER)
    totals = Aggregator([meter], settings(sign={NodeType.GRID: -1}), store)
    values = {Quantity.ACTIVE_POWER: 900.0, Quantity.REACTIVE_POWER: -60.0, Quantity.CURRENT: 4.0}
    readings = [
        Reading(quantity, phase, value, Quality.GOOD, 1000.0)
        for quantity, value in values.items()
        for phase in (Phase.L1, None)
    ]
    totals.observe([meter], Scan(tuple(readings), 1000.0, 1000.0), WALL)
    summary = totals.close(1000.0, WALL)
    message = json.loads(bodies(summary, PayloadOptions("S", levels=("device",), device_fields="all"))[0])
    assert message["grid"] == {
        "active_power_W": -900,
        "active_power_l1_W": -900,
        "reactive_power_var": 60,
        "reactive_power_l1_var": 60,
        "current_A": 4,
        "current_l1_A": 4,
    }


def test_a_phase_is_not_the_device(store: EnergyStore) -> None:
    meter = Node("m", NodeType.GRID, Kind.METER)
    totals = Aggregator([meter], settings(), store)
    for at, counter in ((990.0, 600.0), (1000.0, 630.0)):
        readings = [
            Reading(quantity, phase, value if phase is None else value / 3, Quality.GOOD, at)
            for quantity, value in ((Quantity.ACTIVE_POWER, 900.0), (Quantity.IMPORTED_ENERGY, counter))
            for phase in (*Phase, None)
        ]
        totals.observe([meter], Scan(tuple(readings), at, at), WALL + at - 1000)
    summary = totals.close(1000.0, WALL)
    message = json.loads(
        bodies(summary, PayloadOptions("S", levels=("device",), device_format="snapshot", device_fields="all"))[0]
    )
    assert message["nodes"]["m"]["grid"] == {
        "active_power_W": 900,
        "active_power_l1_W": 300,
        "active_power_l2_W": 300,
        "active_power_l3_W": 300,
        "imported_energy_Wh": 630,
        "imported_energy_l1_Wh": 210,
        "imported_energy_l2_Wh": 210,
        "imported_energy_l3_Wh": 210,
        "today_imported_energy_Wh": 30,
    }


def test_states_are_those_of_the_driver(store: EnergyStore) -> None:
    relay = Node("r", NodeType.SWITCHED_LOAD, Kind.RELAY)
    pump = Node("h", NodeType.HEAT_PUMP, Kind.HEAT_PUMP)
    totals = Aggregator([relay, pump], settings(), store)
    for on, mode in ((True, "on"), (False, "off")):
        totals.observe([relay], scan(1000.0, on=on), WALL)
        totals.observe([pump], scan(1000.0, operation_mode=mode), WALL)
        values = [result.summary.values for result in totals.close(1000.0, WALL).nodes]
        assert values == [{(Quantity.ON, None): on}, {(Quantity.OPERATION_MODE, None): mode}]
        assert isinstance(values[0][Quantity.ON, None], bool)


def test_a_relay_counts_the_share_of_time_that_it_is_on(store: EnergyStore) -> None:
    relay = Node("r", NodeType.SWITCHED_LOAD, Kind.RELAY, nominal_power_W=2000.0)
    totals = Aggregator([relay], settings(statistic="mean"), store)
    for at, on in ((980.0, True), (985.0, False), (1000.0, False)):
        totals.observe([relay], scan(at, on=on), WALL)
    assert body(totals)["switched_load"] == {"active_power_W": 500}


def test_energies_survive_a_restart(tmp_path: Path) -> None:
    for value in (1000.0, 1300.0):
        store = EnergyStore.open(tmp_path / "energy.sqlite3")
        totals = Aggregator([PV1], settings(), store)
        totals.observe([PV1], scan(1000.0, produced_energy=value), WALL + value)
        message = body(totals)
        totals.save()
        store.close()
    assert message["solar"] == {"today_energy_Wh": 300}


def test_what_is_kept_is_what_was_known(tmp_path: Path) -> None:
    store = EnergyStore.open(tmp_path / "energy.sqlite3")
    totals = Aggregator([BATTERY], settings(), store)
    for day in range(3):
        wall = WALL + 86_400 * day
        totals.observe([BATTERY], scan(1000.0, charged_energy=10.0 * day, today_charged_energy=7.0), wall)
    totals.save()
    kept = store.load()
    store.close()
    again = EnergyStore.open(tmp_path / "energy.sqlite3")
    assert again.load() == kept
    again.close()
    assert [quantity for _, quantity in kept] == [Quantity.CHARGED_ENERGY, Quantity.TODAY_CHARGED_ENERGY]
    ledger = kept["b", Quantity.CHARGED_ENERGY]
    assert ledger.best.value == 20
    assert ledger.best.before is not None


def test_an_energy_that_was_not_published_is_not_kept_as_published(store: EnergyStore) -> None:
    totals = Aggregator([PV1, PV2], settings(), store)
    totals.observe([PV1], scan(1000.0, produced_energy=10.0), NOON)
    totals.save()
    assert store.load_published() == {}
    body(totals, wall=NOON)
    totals.save()
    assert list(store.load_published()) == [("pv-1", "today_energy_Wh")]


def test_a_row_that_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "energy.sqlite3"
    store = EnergyStore.open(path)
    totals = Aggregator([PV1, PV2], settings(), store)
    for node in (PV1, PV2):
        totals.observe([node], scan(1000.0, produced_energy=1.0), WALL)
    totals.save()
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE ledger SET ledger = '[1, 2' WHERE node_id = 'pv-1'")
    store = EnergyStore.open(path)
    assert [node_id for node_id, _ in store.load()] == ["pv-2"]
    store.close()


def test_the_disk_is_written_each_quarter_hour_and_after_midnight(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    saves = []
    for minute in range(24 * 60):
        totals.close(60.0 * minute, WALL + 60 * minute)
        if totals.save_due(60.0 * minute):
            totals.save(60.0 * minute)
            saves.append(WALL + 60 * minute)
    assert len(saves) == 4 * 24 + 1
    assert any(MIDNIGHT <= at < MIDNIGHT + 60 for at in saves)


def test_a_counter_under_decision_keeps_its_energy_and_says_so_until_the_device_is_stale(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    for second, value in ((0, 5000.0), (10, 5010.0), (20, 0.0), (30, 0.0), (40, 0.0)):
        totals.observe([PV1], scan(1000.0 + second, active_power=1.0, produced_energy=value), WALL + second)
    message = body(totals, at=1041.0, quality=True)
    assert message["solar"] == {"active_power_W": 1, "today_energy_Wh": 10}
    assert message["quality"]["solar"]["today"] == "partial"
    assert body(totals, at=1071.0)["solar"] == {}


def test_on_a_later_day_a_counter_under_decision_is_estimated(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    for second, value in ((-10, 5000.0), (0, 5000.0), (10, 5010.0), (20, 0.0)):
        totals.observe([PV1], scan(1000.0 + second, produced_energy=value), MIDNIGHT + second)
        message = body(totals, at=1000.0 + second, wall=MIDNIGHT + second, quality=True)
    assert message["solar"] == {"today_energy_Wh": 10}
    assert message["quality"]["solar"]["today"] == "estimated"
    totals.observe([PV1], scan(1030.0, produced_energy=5012.0), MIDNIGHT + 30)
    message = body(totals, at=1030.0, wall=MIDNIGHT + 30, quality=True)
    assert message["solar"] == {"today_energy_Wh": 12}
    assert "today" not in message["quality"]["solar"]


def test_an_energy_of_the_day_does_not_fall_after_a_glitch_nor_after_a_restart(tmp_path: Path) -> None:
    """A value of 14 Wh too many, which the device could have turned over."""
    values = [1000.0 + second for second in range(0, 630, 10)]
    sent, words = [], []
    for number, value in enumerate(values):
        if number in (0, 61):  # a clean restart right after the glitch
            store = EnergyStore.open(tmp_path / "energy.sqlite3")
            totals = Aggregator([PV1], settings(), store)
        wall = MIDNIGHT - 10 + 10 * number
        glitch = 14.0 if number == 60 else 0.0
        totals.observe([PV1], scan(1000.0 + 10 * number, active_power=400.0, produced_energy=value + glitch), wall)
        message = body(totals, at=1000.0 + 10 * number, wall=wall, quality=True)
        sent.append(message["solar"]["today_energy_Wh"])
        words.append(message["quality"]["solar"].get("today"))
        if number == 60:
            totals.save()
            store.close()
    store.close()
    assert sent[1:] == sorted(sent[1:])
    assert sent[60:] == [604, 604, 610]  # since midnight; the last one is that of the true readings
    assert words[60:] == [None, "estimated", None]


class FallingSite:
    """An inverter of 4 kW that shows one value too high. `send` polls and sends every 10 s."""

    NODE = replace(PV1, resolutions={Quantity.PRODUCED_ENERGY: Resolution(1.0)})

    def __init__(self, store: EnergyStore, wall: float) -> None:
        self.totals = Aggregator([self.NODE], settings(), store)
        self.at, self.wall, self.counter = 1000.0, wall, 5000.0

    def send(self, power: float, above: float = 0.0) -> tuple[float, str | None]:
        """Return the energy of the message, and its word."""
        self.at, self.wall, self.counter = self.at + 10, self.wall + 10, self.counter + power / 360
        readings = scan(self.at, active_power=power, produced_energy=self.counter // 1 + above)
        self.totals.observe([self.NODE], readings, self.wall)
        message = body(self.totals, at=self.at, wall=int(self.wall), quality=True)
        return message["solar"]["today_energy_Wh"], message["quality"]["solar"].get("today")


def test_an_energy_that_fell_is_an_estimate_for_the_rest_of_its_day(store: EnergyStore) -> None:
    site = FallingSite(store, MIDNIGHT - 1800)
    sent = [site.send(4000.0) for _ in range(360)]
    assert sent[-1][1] is None
    too_high, word = site.send(4000.0, above=15.0)
    assert word is None
    fallen, word = site.send(0.0)
    assert (fallen, word) == (too_high - 15, "estimated")
    assert {site.send(4000.0)[1] for _ in range(20)} == {"estimated"}
    one_step, _ = site.send(0.0, above=1.0)
    assert site.send(0.0) == (one_step - 1, "estimated")
    assert {site.send(4000.0)[1] for _ in range(20)} == {"estimated"}


def test_an_energy_that_was_too_high_falls_before_midnight_if_the_counter_cannot_reach_it(store: EnergyStore) -> None:
    site = FallingSite(store, MIDNIGHT - 3620)
    for _ in range(359):
        site.send(4000.0)
    too_high, _ = site.send(4000.0, above=25.0)
    assert site.wall == MIDNIGHT - 20
    energy, word = site.send(4000.0)
    assert too_high - 16 <= energy <= too_high - 12
    assert word == "partial"


def test_an_energy_of_the_day_that_fell_is_estimated_for_the_rest_of_the_day(store: EnergyStore) -> None:
    """A reading is 530 Wh too high. That is more than a minute of 30 kW, so the energy does not wait."""
    node = replace(PV1, resolutions={Quantity.PRODUCED_ENERGY: Resolution(1.0)})
    totals, sent = Aggregator([node], settings(), store), []
    for minute in range(-2, 30):
        value, at, wall = 1000.0 + minute + 530 * (minute == 10), 1000.0 + 60 * minute, MIDNIGHT + 60 * minute
        totals.observe([node], scan(at, produced_energy=value), wall)
        message = body(totals, at=at, wall=wall, quality=True)
        sent.append((message["solar"]["today_energy_Wh"], message["quality"]["solar"].get("today")))
    assert sent[2:12] == [(minute, None) for minute in range(10)]
    assert sent[12][0] == 540
    assert sent[13:] == [(minute, "estimated") for minute in range(11, 30)]


def test_a_restart_keeps_the_energy_that_waits_for_the_counter(tmp_path: Path) -> None:
    """A reading is 300 Wh too high. The agent restarts before the next one, or it does not."""
    node, sent = replace(PV1, resolutions={Quantity.PRODUCED_ENERGY: Resolution(1.0)}), []
    for restart in (None, 11):
        path, energies = tmp_path / f"{restart}.sqlite3", []
        store = EnergyStore.open(path)
        totals = Aggregator([node], settings(), store)
        for minute in range(-2, 14):
            if minute == restart:
                totals.save()
                store.close()
                store = EnergyStore.open(path)
                totals = Aggregator([node], settings(), store)
            value, at, wall = 1000.0 + minute + 300 * (minute == 10), 1000.0 + 60 * minute, MIDNIGHT + 60 * minute
            totals.observe([node], scan(at, produced_energy=value), wall)
            energies.append(body(totals, at=at, wall=wall)["solar"]["today_energy_Wh"])
        store.close()
        sent.append(energies[2:])
    assert sent == [[*range(10), 310, 310, 310, 310]] * 2


@pytest.mark.parametrize(("left_s", "shown_Wh"), [(5.0, 30.0), (10.0, 80.0)])
def test_an_energy_that_was_too_high_is_kept_only_if_the_day_is_long_enough(left_s: float, shown_Wh: float) -> None:
    """At 30 kW the counter reaches 50 Wh more in 6 s."""
    zone = ZoneInfo("Europe/Brussels")
    account = Account(advance(None, 0.0, MIDNIGHT - left_s, zone, Register()))
    field, date = EnergyField("today_energy_Wh", Published()), day_of(WALL, zone)[0]
    field.publish(account, date, DayEnergy(80.0, Basis.SEEN))
    assert field.publish(account, date, DayEnergy(30.0, Basis.SEEN)) == (shown_Wh, Basis.ESTIMATED)


def test_events_of_counters_are_logged_and_counted_with_what_the_counter_showed(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    values = [1e6 + 10 * number for number in range(100)]
    values[20] = 4e9
    values += [10.0 * number for number in range(400)]
    with capture_logs() as logs:
        for number, value in enumerate(values):
            totals.observe(
                [PV1], scan(1000.0 + 10 * number, active_power=3600.0, produced_energy=value), NOON + 10 * number
            )
    assert [entry for entry in logs if entry["event"].startswith("counter_")] == [
        {
            "event": "counter_glitch_removed",
            "log_level": "info",
            "device": "pv-1",
            "quantity": "produced_energy_Wh",
            "before": 1e6 + 190,
            "after": 4e9,
        },
        {
            "event": "counter_reset",
            "log_level": "warning",
            "device": "pv-1",
            "quantity": "produced_energy_Wh",
            "before": 1e6 + 990,
            "after": 0.0,
        },
    ]
    assert totals.counter_events == {"pv-1": {"reset": 1, "replaced": 0, "rolled_over": 0, "glitch_removed": 1}}


def test_a_replaced_counter_is_a_warning(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    with capture_logs() as logs:
        for number in range(300):
            value = 10.0 * number + (1e6 if number < 100 else 5e5)
            at = 10 * number
            totals.observe([PV1], scan(1000.0 + at, active_power=3600.0, produced_energy=value), NOON + at)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("counter_replaced", "warning")]


def test_energies_are_as_precise_as_the_register(store: EnergyStore) -> None:
    """A counter of whole kWh whose midnight lies in a gap."""
    coarse = replace(PV1, resolutions={Quantity.PRODUCED_ENERGY: Resolution(1000.0, 2.0**32 * 1000)})
    totals = Aggregator([coarse, PV2], settings(), store)
    for second, value in ((-1000, 5000.0), (-990, 5000.0), (2000, 9000.0)):
        for node in (coarse, PV2):
            totals.observe([node], scan(3000.0 + second, produced_energy=value), MIDNIGHT + second)
    summary = totals.close(5000.0, MIDNIGHT + 2000)
    fine = 4000 * 2000 / 2990
    assert [result.fields["today_energy_Wh"] for result in summary.nodes] == [3000, pytest.approx(fine)]
    assert summary.groups[NodeType.SOLAR]["today_energy_Wh"] == pytest.approx(3000 + fine)


def test_the_devices_own_register_goes_before_its_lifetime_counter(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    for second, value in ((0, 100.0), (10, 130.0)):
        totals.observe(
            [PV1],
            scan(1000.0 + second, produced_energy=9e6 + value, today_produced_energy=5000.0 + value),
            NOON + second,
        )
    message = body(totals, at=1010.0, wall=NOON + 10, quality=True)
    assert message["solar"] == {"today_energy_Wh": 5130}
    assert message["quality"]["solar"]["today"] == "register"


def test_of_two_counters_that_are_known_as_well_the_daily_register_is_sent(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    for second in range(-600, 600, 10):
        today = float(second if second >= 0 else 5000 + second)
        values = {"produced_energy": 9e6 + second // 100 * 100, "today_produced_energy": today}
        totals.observe([PV1], scan(1000.0 + second, active_power=3600.0, **values), MIDNIGHT + second)
    message = body(totals, at=1590.0, wall=MIDNIGHT + 590, quality=True)
    assert (message["solar"]["today_energy_Wh"], message["quality"]["solar"].get("today")) == (590, None)


def test_quality_tells_of_the_counter_that_is_known_worst(store: EnergyStore) -> None:
    totals = Aggregator([BATTERY], settings(), store)
    totals.observe([BATTERY], scan(1000.0, today_charged_energy=700.0, discharged_energy=9e5), NOON)
    message = body(totals, wall=NOON, quality=True)
    assert message["storage"] == {"today_charged_Wh": 700, "today_discharged_Wh": 0}
    assert message["quality"]["storage"]["today"] == "partial"


def test_a_reading_belongs_to_its_own_time_not_to_that_of_its_scan(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    reading = Reading(Quantity.PRODUCED_ENERGY, None, 5.0, Quality.GOOD, 990.0)
    totals.observe([PV1], Scan((reading,), 990.0, 1000.0), MIDNIGHT + 5)
    totals.save()
    assert store.load()["pv-1", Quantity.PRODUCED_ENERGY].at == MIDNIGHT - 5


def test_limits_bound_what_a_counter_can_grow(store: EnergyStore) -> None:
    small = replace(PV2, limits={Quantity.ACTIVE_POWER: (-5000.0, 5000.0)})
    totals = Aggregator([PV1, small], settings(), store)
    for second, value in ((0, 1e5), (60, 1e5 + 1500)):
        for node in (PV1, small):
            totals.observe([node], scan(1000.0 + second, produced_energy=value), WALL + second)
    totals.save()
    assert [ledger.best.total for ledger in store.load().values()] == [1500, 0]


@pytest.mark.parametrize("zone", ["Europe/Brussels", "Pacific/Auckland"])
def test_in_another_zone_the_day_is_another(store: EnergyStore, zone: str) -> None:
    """Midnight in Brussels was seen; that in Auckland lies before the first reading."""
    totals = Aggregator([PV1], settings(), store)
    for second in (-10, 10):
        totals.observe([PV1], scan(1000.0 + second, produced_energy=5.0), MIDNIGHT + second)
    totals.save()
    moved = replace(settings(), timezone=ZoneInfo(zone))
    again = Aggregator([PV1], moved, store)
    again.observe([PV1], scan(1020.0, produced_energy=5.0), MIDNIGHT + 20)
    totals.reconfigure([PV1], moved)
    for each in (totals, again):
        quality = body(each, at=1020.0, wall=MIDNIGHT + 20, quality=True)["quality"]["solar"]
        assert quality.get("today") == (None if zone == "Europe/Brussels" else "partial")


def test_a_reload_into_another_zone_sends_the_day_of_that_zone(store: EnergyStore) -> None:
    """An hour before midnight in Brussels, the next day has long begun in Auckland."""
    evening = MIDNIGHT - 3600
    totals = Aggregator([PV1], settings(), store)
    for second, value in ((0, 100.0), (10, 130.0)):
        totals.observe([PV1], scan(1000.0 + second, produced_energy=value), evening + second)
    assert body(totals, at=1010.0, wall=evening + 10)["solar"] == {"today_energy_Wh": 30}
    totals.reconfigure([PV1], replace(settings(), timezone=ZoneInfo("Pacific/Auckland")))
    assert body(totals, at=1010.0, wall=evening + 10)["solar"] == {"today_energy_Wh": 30}
    totals.observe([PV1], scan(1011.0, produced_energy=133.0), evening + 11)
    assert body(totals, at=1011.0, wall=evening + 11)["solar"] == {"today_energy_Wh": 33}


@pytest.mark.parametrize(("back_s", "moved_s"), [(4, 0), (7, 7)])
def test_only_a_step_back_of_some_seconds_moves_the_readings(store: EnergyStore, back_s: int, moved_s: int) -> None:
    totals = Aggregator([PV1], settings(), store)
    totals.observe([PV1], scan(1000.0, produced_energy=5.0), WALL)
    totals.follow_clock(WALL - 1000.0 - back_s)
    totals.save()
    assert store.load()["pv-1", Quantity.PRODUCED_ENERGY].at == WALL - moved_s


def test_a_reload_into_another_zone_moves_no_reading(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    totals.observe([PV1], scan(1000.0, produced_energy=5.0), WALL)
    totals.reconfigure([PV1], replace(settings(), timezone=ZoneInfo("Pacific/Auckland")))
    totals.save()
    assert store.load()["pv-1", Quantity.PRODUCED_ENERGY].at == WALL


def test_a_clock_set_back_does_not_move_what_was_kept_before(store: EnergyStore) -> None:
    for node in (PV1, PV2):
        totals = Aggregator([PV1, PV2], settings(), store)
        totals.observe([node], scan(1000.0, produced_energy=5.0), WALL)
        totals.observe([node], scan(1010.0, produced_energy=5.0), WALL - 90)
        totals.save()
    kept = store.load()
    assert kept["pv-1", Quantity.PRODUCED_ENERGY].at == WALL - 90
    assert kept["pv-2", Quantity.PRODUCED_ENERGY].at == WALL - 90


def test_while_the_clock_is_wrong_counters_wait(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    totals.observe([PV1], scan(1000.0, active_power=1.0, produced_energy=100.0), WALL)
    totals.observe([PV1], scan(1040.0, active_power=1.0, produced_energy=110.0), None)
    assert body(totals, at=1040.0)["solar"] == {"active_power_W": 1}
    totals.observe([PV1], scan(1050.0, active_power=1.0, produced_energy=120.0), WALL + 50)
    assert body(totals, at=1050.0)["solar"] == {"active_power_W": 1, "today_energy_Wh": 20}


def test_a_clock_set_back_over_midnight_goes_on_with_the_day(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    for second, value in ((-60, 100.0), (60, 130.0)):
        totals.observe([PV1], scan(1000.0 + second, produced_energy=value), MIDNIGHT + second)
    assert body(totals, at=1060.0, wall=MIDNIGHT + 60)["solar"] == {"today_energy_Wh": 15}
    totals.observe([PV1], scan(1070.0, produced_energy=140.0), MIDNIGHT + 70 - 3600)
    assert body(totals, at=1070.0, wall=MIDNIGHT + 70 - 3600)["solar"] == {"today_energy_Wh": 40}


def test_a_push_at_midnight_is_of_the_new_day(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    for second, sent in ((-20, 0), (-10, 10), (0, 0)):
        totals.observe([PV1], scan(1000.0 + second, produced_energy=100.0 + second), MIDNIGHT + second)
        assert body(totals, at=1000.0 + second, wall=MIDNIGHT + second)["solar"] == {"today_energy_Wh": sent}


@pytest.mark.parametrize("years", [10, -10, 0.01, -0.01])
def test_a_clock_that_leaps_to_another_day_and_back_costs_nothing(store: EnergyStore, years: float) -> None:
    """1 Wh a second, read every 10 s, of a counter that was first seen at noon."""
    totals = Aggregator([PV1], settings(), store)
    leap = int(years * 365 * 86_400)

    def today_after(begin: int, end: int, leap: int = 0) -> Any:
        for second in range(begin, end, 10):
            totals.observe([PV1], scan(1000.0 + second, produced_energy=float(second)), NOON + second + leap)
        message = body(totals, at=1000.0 + end - 10, wall=NOON + end - 10 + leap)
        return message["solar"]["today_energy_Wh"]

    assert today_after(0, 200) == 190
    today_after(200, 400, leap)
    assert today_after(400, 600) == 590


@pytest.mark.parametrize("years", [10, -10, 0.01, -0.01])
def test_a_clock_that_leaps_before_the_first_reading_and_back_costs_nothing(store: EnergyStore, years: float) -> None:
    totals = Aggregator([PV1], settings(), store)
    leap = int(years * 365 * 86_400)
    totals.follow_clock(NOON - 1000.0)
    for second in range(0, 400, 10):
        wrong = leap if second < 200 else 0
        totals.observe([PV1], scan(1000.0 + second, produced_energy=float(second)), NOON + second + wrong)
    assert body(totals, at=1390.0, wall=NOON + 390)["solar"] == {"today_energy_Wh": 390}


def test_what_a_counter_grew_while_the_clock_was_wrong_is_energy_of_the_day(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    for second, leap in ((0, 0), (10, 0), (20, 86_400 * 3650)):
        totals.observe([PV1], scan(1000.0 + second, produced_energy=float(second)), NOON + second + leap)
    totals.follow_clock(NOON - 1000.0)
    assert body(totals, at=1020.0, wall=NOON + 20)["solar"] == {"today_energy_Wh": 20}


@pytest.mark.parametrize(("leaps", "late_s", "kept"), [(4, 0, True), (4, 50, True), (4, 90, False), (5, 0, False)])
def test_a_clock_that_comes_back_after_four_leaps_costs_nothing(
    store: EnergyStore, leaps: int, late_s: int, kept: bool
) -> None:
    """1 Wh a second. The clock comes back `late_s` late."""
    totals = Aggregator([PV1], settings(), store)
    for second in range(0, 200 * (leaps + 2), 10):
        leap = second // 200
        wrong = late_s if leap > leaps else 86_400 * 365 * leap
        wall = NOON + second + wrong
        totals.observe([PV1], scan(1000.0 + second, produced_energy=float(second)), wall)
    sent = body(totals, at=1000.0 + second, wall=wall)["solar"]["today_energy_Wh"]
    assert (sent == second) is kept


def test_a_midnight_that_passes_while_the_clock_is_wrong_doubles_nothing(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    for second in range(-600, 610, 10):
        wrong = 86_400 * 3650 if -300 <= second < 300 else 0
        totals.observe([PV1], scan(1000.0 + second, produced_energy=float(second + 600)), MIDNIGHT + second + wrong)
    days = [body(totals, at=1600.0, wall=MIDNIGHT + second)["solar"]["today_energy_Wh"] for second in (-1, 600)]
    assert sum(days) == pytest.approx(1200)
    assert days[0] >= 600


def test_a_clock_that_is_wrong_from_one_day_into_another_goes_on_with_that_day(store: EnergyStore) -> None:
    """1 Wh a second; the clock is 10 years ahead from five minutes before midnight until 13 h after it."""
    totals = Aggregator([PV1], settings(), store)
    right_again = 13 * 3600
    for second in range(-600, right_again + 310, 10):
        wrong = 86_400 * 3650 if -300 <= second < right_again else 0
        totals.observe([PV1], scan(1000.0 + second, produced_energy=float(second + 600)), MIDNIGHT + second + wrong)
    end = right_again + 300
    assert body(totals, at=1000.0 + end, wall=MIDNIGHT + end)["solar"] == {"today_energy_Wh": end}


@pytest.mark.parametrize("ahead", [8 * 3600, 86_400 * 3650])
def test_a_daily_register_begins_its_next_day_though_the_clock_was_wrong_at_midnight(
    store: EnergyStore, ahead: int
) -> None:
    """1 Wh a second; the clock is ahead from an hour before midnight until an hour after it."""
    totals = Aggregator([PV1], settings(), store)
    with capture_logs() as events:
        for second in range(-7200, 86_400 + 2410, 10):
            wall = MIDNIGHT + second + (ahead if -3600 <= second < 3600 else 0)
            today = float(second % 86_400)
            totals.observe([PV1], scan(1e5 + second, active_power=3600.0, today_produced_energy=today), wall)
            if second == 7200:
                events.clear()
    (found,) = totals.close(1e5 + second, wall).nodes
    assert not events
    assert (found.fields["today_energy_Wh"], found.basis) == (2400.0, Basis.SEEN)


@pytest.mark.parametrize("hours", [8, 13, -13])
def test_after_a_leap_and_back_a_gap_by_day_is_still_no_midnight_of_the_device(store: EnergyStore, hours: int) -> None:
    """1 Wh a second from midnight; the clock is wrong for ten minutes from 6:00 on; no readings from 7:00 to 22:30."""
    totals = Aggregator([PV1], settings(), store)
    for second in (*range(-600, 7 * 3600, 10), 22 * 3600 + 1800):
        wall = MIDNIGHT + second + (hours * 3600 if 21_600 <= second < 22_200 else 0)
        today = float(second if second >= 0 else 1000 + second)
        totals.observe([PV1], scan(1e5 + second, active_power=3600.0, today_produced_energy=today), wall)
    assert body(totals, at=1e5 + second, wall=wall)["solar"]["today_energy_Wh"] == second


def test_the_time_of_the_last_push_does_not_follow_a_push_that_ends_late(store: EnergyStore) -> None:
    """Another endpoint's push ends up to a minute after a later tick. An earlier time is a clock that was set back."""
    totals = Aggregator([PV1], settings(), store)
    totals.observe([PV1], scan(1000.0, active_power=1.0), NOON)
    for second, last in ((100, 100), (99, 100), (41, 100), (40, 40)):
        totals.close(1000.0, NOON + second)
        assert totals.last_time == NOON + last


def test_the_time_of_the_last_push_is_not_followed_while_the_clock_is_unknown(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(), store)
    totals.observe([PV1], scan(1000.0, active_power=1.0), None)
    for offset, last in ((None, 0), (NOON - 1000.0, NOON)):
        if offset is not None:
            totals.follow_clock(offset)
        totals.close(1000.0, NOON)
        assert totals.last_time == last


@pytest.mark.parametrize(
    ("node", "counter", "sign"),
    [
        (Node("g", NodeType.GRID, Kind.METER), "imported_energy", 1.0),
        (Node("g", NodeType.GRID, Kind.METER), "exported_energy", -1.0),
        (Node("b", NodeType.STORAGE, Kind.BATTERY), "charged_energy", 1.0),
        (Node("b", NodeType.STORAGE, Kind.BATTERY), "discharged_energy", -1.0),
    ],
)
def test_the_power_in_the_direction_of_a_counter_explains_its_growth(
    store: EnergyStore, node: Node, counter: str, sign: float
) -> None:
    """0.5 kW from an hour before midnight on, then 20 kW over an hour without readings."""
    totals = Aggregator([node], settings(), store)
    value, second = 5e5, -3600
    for _ in range(720):
        second, value = second + 10, value + 500 / 360
        totals.observe([node], scan(1e5 + second, active_power=500 * sign, **{counter: value}), MIDNIGHT + second)
    second, value = second + 3600, value + 20_000
    totals.observe([node], scan(1e5 + second, active_power=20_000 * sign, **{counter: value}), MIDNIGHT + second)
    (found,) = totals.close(1e5 + second, MIDNIGHT + second).nodes
    assert found.basis is Basis.SEEN


@pytest.mark.parametrize("power", [0.5, -0.5])
def test_a_ledger_has_the_power_in_the_direction_of_its_counter(store: EnergyStore, power: float) -> None:
    meter = Node("m", NodeType.GRID, Kind.METER)
    totals = Aggregator([meter, BATTERY], settings(), store)
    names = {meter: ("imported_energy", "exported_energy"), BATTERY: ("charged_energy", "discharged_energy")}
    expected: dict[str, float] = {}
    for node, (with_it, against_it) in names.items():
        for day in ("", "today_"):
            expected |= {day + with_it: max(power, 0.0), day + against_it: max(-power, 0.0)}
        counters = {f"{day}{name}": 5.0 for name in names[node] for day in ("", "today_")}
        totals.observe([node], scan(1000.0, active_power=power, **counters), WALL)
    totals.save()
    assert {quantity.value: ledger.power_W for (_, quantity), ledger in store.load().items()} == expected


def test_a_host_that_slept_for_days_begins_a_new_day(store: EnergyStore) -> None:
    """Its monotonic clock slept, too."""
    totals = Aggregator([PV1], settings(), store)
    totals.observe([PV1], scan(1000.0, produced_energy=0.0), NOON)
    totals.observe([PV1], scan(1010.0, produced_energy=1000.0), NOON + 86_400)
    assert body(totals, at=1010.0, wall=NOON + 86_400)["solar"] == {"today_energy_Wh": 500}


def test_an_endpoint_that_is_renamed_goes_on_with_its_interval(store: EnergyStore) -> None:
    def serving(**endpoints: str | None) -> AggregationSettings:
        return AggregationSettings(
            endpoints={name: SummarySettings(formerly=formerly) for name, formerly in endpoints.items()}
        )

    totals = Aggregator([PV1], serving(near=None, far=None), store)
    totals.observe([PV1], scan(1000.0, active_power=5.0), WALL)
    totals.close(1000.0, WALL, "near")
    totals.observe([PV1], scan(1010.0, active_power=7.0), WALL + 10)
    totals.reconfigure([PV1], serving(near=None, distant="far", third=None))
    got = {name: totals.close(1010.0, WALL + 10, name).nodes[0].summary.got for name in ("near", "distant", "third")}
    assert got == {"near": 1, "distant": 2, "third": 0}


def test_a_reload_keeps_what_is_known_of_nodes_that_did_not_change(store: EnergyStore) -> None:
    totals = Aggregator([PV1, PV2], settings(), store)
    for second, value in ((0, 100.0), (10, 130.0)):
        for node in (PV1, PV2):
            totals.observe([node], scan(1000.0 + second, active_power=5.0, produced_energy=value), WALL + second)
    changed = replace(PV2, limits={Quantity.ACTIVE_POWER: (0.0, 9.0)})
    totals.reconfigure([PV1, changed], settings(partial_totals="sum"))
    assert body(totals, at=1010.0)["solar"] == {"active_power_W": 5, "today_energy_Wh": 60}
    totals.reconfigure([PV1, changed], replace(settings(), timezone=ZoneInfo("Pacific/Auckland")))
    assert body(totals, at=1010.0)["solar"] == {"today_energy_Wh": 60}


def test_a_reload_changes_the_age_at_which_a_value_is_stale(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(stale_after_s=30.0), store)
    totals.observe([PV1], scan(1000.0, active_power=5.0), WALL)
    totals.reconfigure([PV1], settings(stale_after_s=60.0))
    totals.observe([PV1], scan(1010.0, active_power=5.0), WALL + 10)
    assert body(totals, at=1070.0)["solar"] == {"active_power_W": 5}
    assert body(totals, at=1070.1)["solar"] == {}


# What belongs to whom


def test_a_node_within_another_is_sent_and_not_summed(store: EnergyStore) -> None:
    main = Node("main", NodeType.GRID, Kind.METER)
    inner = Node("inner", NodeType.GRID, Kind.METER, within="main")
    totals = Aggregator([main, inner], settings(), store)
    totals.observe([main], scan(1000.0, active_power=500.0), WALL)
    totals.observe([inner], scan(1000.0, active_power=300.0), WALL)
    summary = totals.close(1000.0, WALL)
    types, *devices = map(json.loads, bodies(summary, PayloadOptions("S", levels=("device_type", "device"))))
    assert types["grid"] == {"active_power_W": 500}
    assert {device["nodeId"]: device["grid"] for device in devices} == {
        "main": {"active_power_W": 500},
        "inner": {"active_power_W": 300},
    }


def test_a_hybrids_nodes_take_what_is_theirs(store: EnergyStore) -> None:
    nodes = [Node(f"h-{type_}", type_, Kind.HYBRID, of_hybrid=True) for type_ in (NodeType.SOLAR, NodeType.STORAGE)]
    totals = Aggregator(nodes, settings(), store)
    totals.observe(nodes, marked_scan(1000.0, solar=4000.0, storage=-1000.0, grid=-5000.0), WALL)
    message = body(totals)
    assert message["solar"] == {"active_power_W": 4000}
    assert message["storage"] == {"active_power_W": -1000}
    assert message["grid"] == {}


# What cannot be


@pytest.mark.parametrize("value", [20_000.0, -20_000.0, math.nan, math.inf, -math.inf])
def test_an_implausible_value_is_dropped_counted_and_told_once(store: EnergyStore, value: float) -> None:
    node = replace(PV1, limits={Quantity.ACTIVE_POWER: (-100.0, 11_000.0)})
    totals = Aggregator([node], settings(), store)
    with capture_logs() as logs:
        for second, power in ((990.0, 5000.0), (995.0, value), (1000.0, value)):
            totals.observe([node], scan(second, active_power=power), WALL)
    assert body(totals)["solar"] == {"active_power_W": 5000}
    assert body(totals, at=1020.1)["solar"] == {}
    assert totals.dropped == {"pv-1": 2}
    assert [(entry["event"], entry["quantity"], entry["log_level"]) for entry in logs] == [
        ("implausible_value", "active_power_W", "warning"),
        ("implausible_value", "active_power_W", "debug"),
    ]
    assert [(repr(entry["value"]), entry["low"], entry["high"]) for entry in logs] == [
        (repr(value), -100.0, 11_000.0)
    ] * 2


@pytest.mark.parametrize("quantity", [Quantity.OPERATION_MODE, Quantity.ACTIVE_POWER])
def test_a_reading_that_the_driver_calls_invalid_is_told_without_a_range(
    store: EnergyStore, quantity: Quantity
) -> None:
    """The range of the node is not the reason: the profile has a narrower one, or no name for the state."""
    pump = Node("hp-1", NodeType.HEAT_PUMP, Kind.HEAT_PUMP)
    totals = Aggregator([pump], settings(), store)
    invalid = Reading(quantity, None, None, Quality.INVALID, 1000.0)
    with capture_logs() as logs:
        totals.observe([pump], Scan((invalid,), 1000.0, 1000.0), WALL)
    assert totals.dropped == {"hp-1": 1}
    assert logs == [
        {"event": "implausible_value", "node": "hp-1", "quantity": quantity.label(), "log_level": "warning"},
    ]


@pytest.mark.parametrize(("power", "sent"), [(-100.0, -100), (11_000.0, 11_000)])
def test_a_value_at_the_end_of_its_range_is_sent(store: EnergyStore, power: float, sent: int) -> None:
    node = replace(PV1, limits={Quantity.ACTIVE_POWER: (-100.0, 11_000.0)})
    totals = Aggregator([node], settings(), store)
    totals.observe([node], scan(1000.0, active_power=power), WALL)
    assert body(totals)["solar"] == {"active_power_W": sent}


@hsettings(max_examples=150)
@given(st.dictionaries(st.sampled_from([q.value for q in Quantity if q.unit]), st.floats() | st.floats(-2, 102)))
def test_whatever_is_read_what_leaves_is_valid(values: dict[str, float]) -> None:
    nodes = [Node(type_, type_, Kind.METER) for type_ in NodeType]
    totals = Aggregator(nodes, settings(), cast("EnergyStore", NoStore()))
    with capture_logs():
        for node in nodes:
            for second in range(2):
                totals.observe([node], scan(1000.0 + second, **values), WALL + second)
    summary = totals.close(1001.0, WALL + 1)
    for text in bodies(summary, PayloadOptions("S", levels=("device_type", "device"), device_fields="all")):
        message = json.loads(text, parse_constant=pytest.fail)
        assert problems(message) == unknown_fields(message) == []


def test_a_damaged_store_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "energy.sqlite3"
    path.write_bytes(b"not a database" * 1000)
    store = EnergyStore.open(path)
    assert store.load() == {}
    store.close()
    assert (tmp_path / "energy.sqlite3.damaged").exists()


@pytest.mark.parametrize("quantity", [each for each in Quantity if each.nature is Nature.GAUGE])
def test_a_scale_factor_gone_wrong_is_in_no_message(store: EnergyStore, quantity: Quantity) -> None:
    totals = Aggregator([PV1], settings(), store)
    with capture_logs() as logs:
        totals.observe([PV1], scan(999.0, **{"active_power": 1500.0, quantity.value: 1e11}), WALL)
    assert "100000000000" not in json.dumps(body(totals, levels=("device",), device_fields="all"))
    assert [event["quantity"] for event in logs] == [quantity.label()]


def test_quality_limits_and_time_as_text(store: EnergyStore) -> None:
    meter = Node("m", NodeType.GRID, Kind.METER)
    totals = Aggregator([meter, PV1, PV2], settings(), store)
    totals.observe([meter], scan(999.0, active_power=1.0), WALL)
    totals.observe([PV1], scan(988.0, active_power=1.0), WALL)
    message = body(totals, quality=True, import_limit_W=17250.0, time_format="string")
    assert message["time"] == str(WALL)
    assert message["grid"] == {"active_power_W": 1, "import_limit_W": 17250}
    assert message["quality"] == {
        "grid": {"devices": 1, "fresh": 1, "expected": 1, "got": 1, "oldest_s": 1},
        "solar": {"devices": 2, "fresh": 1, "expected": 1, "got": 1, "oldest_s": 12},
    }


METER = Node("meter", NodeType.SOLAR, Kind.METER)
INNER = Node("pv-inner", NodeType.SOLAR, Kind.INVERTER, within="meter")


def test_each_endpoint_has_statistics_over_its_own_interval(store: EnergyStore) -> None:
    endpoints = {"slow": SummarySettings(), "fast": SummarySettings()}
    totals = Aggregator([PV1], settings(endpoints=endpoints, statistic="mean"), store)
    for at, power in ((980.0, 100.0), (990.0, 300.0)):
        totals.observe([PV1], scan(at, active_power=power), WALL)
    fast = totals.close(990.0, WALL, "fast").nodes[0].summary
    assert last_and_mean(fast) == (300, 100)
    assert (fast.expected, fast.got) == (2, 2)
    totals.observe([PV1], scan(1000.0, active_power=500.0), WALL)
    totals.missed([PV1])
    fast = totals.close(1000.0, WALL + 10, "fast").nodes[0].summary
    assert last_and_mean(fast) == (500, 300)
    assert (fast.expected, fast.got) == (2, 1)
    slow = totals.close(1000.0, WALL + 10, "slow").nodes[0].summary
    assert last_and_mean(slow) == (500, 200)
    assert (slow.expected, slow.got) == (4, 3)


def test_a_total_is_that_of_the_chosen_devices(store: EnergyStore) -> None:
    endpoints = {
        "all": SummarySettings(),
        "inner": SummarySettings(frozenset({"pv-inner", "pv-1"})),
        "outer": SummarySettings(frozenset({"meter", "pv-inner"}), sign={NodeType.SOLAR: -1}),
    }
    nodes = [METER, INNER, PV1, PV2]
    totals = Aggregator(nodes, settings(endpoints=endpoints), store)
    for node, power in zip(nodes, (-900.0, 800.0, 50.0, 7.0), strict=True):
        totals.observe([node], scan(1000.0, active_power=power), WALL)
    summaries = {name: totals.close(1000.0, WALL, name) for name in endpoints}
    assert {name: each.groups[NodeType.SOLAR]["active_power_W"] for name, each in summaries.items()} == {
        "all": 957,
        "inner": 850,
        "outer": -900,
    }
    assert [result.summary.node.node_id for result in summaries["inner"].nodes] == ["pv-inner", "pv-1"]
    assert {name: sum(1 for _ in each.members(NodeType.SOLAR)) for name, each in summaries.items()} == {
        "all": 3,
        "inner": 2,
        "outer": 1,
    }


def test_an_endpoint_that_is_added_begins_its_own_interval_with_the_last_values(store: EnergyStore) -> None:
    totals = Aggregator([PV1], settings(statistic="mean"), store)
    for at, power in ((980.0, 100.0), (990.0, 300.0)):
        totals.observe([PV1], scan(at, active_power=power), WALL)
    endpoints = {"default": SummarySettings(), "new": SummarySettings()}
    totals.reconfigure([PV1], settings(statistic="mean", endpoints=endpoints))
    new = totals.close(995.0, WALL, "new").nodes[0].summary
    assert last_and_mean(new) == (300, 300)
    assert (new.expected, new.got) == (0, 0)
    old = totals.close(995.0, WALL).nodes[0].summary
    assert last_and_mean(old) == (300, 100)
    assert (old.expected, old.got) == (2, 2)
    totals.observe([PV1], scan(1000.0, active_power=500.0), WALL)
    for name in endpoints:
        assert last_and_mean(totals.close(1000.0, WALL, name).nodes[0].summary) == (500, 300)


def test_an_endpoint_that_chooses_a_node_later_begins_its_interval_then(store: EnergyStore) -> None:
    def choosing(*node_ids: str) -> AggregationSettings:
        return settings(endpoints={"all": SummarySettings(), "some": SummarySettings(frozenset(node_ids))})

    totals = Aggregator([PV1, PV2], choosing("pv-2"), store)
    totals.observe([PV1], scan(1000.0, active_power=5.0), WALL)
    totals.reconfigure([PV1, PV2], choosing("pv-1", "pv-2"))
    totals.observe([PV1], scan(1010.0, active_power=7.0), WALL + 10)
    got = {name: totals.close(1010.0, WALL + 10, name).nodes[0].summary.got for name in ("all", "some")}
    assert got == {"all": 2, "some": 1}


def test_a_node_that_a_reload_removes_is_gone(store: EnergyStore) -> None:
    pump = Node("h", NodeType.HEAT_PUMP, Kind.HEAT_PUMP)
    totals = Aggregator([PV1, PV2, pump], settings(), store)
    for node in (PV1, PV2, pump):
        totals.observe([node], scan(1000.0, active_power=5.0, consumed_energy=7.0), WALL)
    assert (list(totals.counter_events), list(totals.nights)) == (["pv-1", "pv-2"], ["pv-1", "pv-2"])
    totals.reconfigure([PV2, pump], settings())
    assert (list(totals.counter_events), list(totals.nights)) == (["pv-2"], ["pv-2"])


def test_a_node_that_no_endpoint_chooses_keeps_its_energies(store: EnergyStore) -> None:
    totals = Aggregator([PV1, PV2], settings(endpoints={"other": SummarySettings(frozenset({"pv-2"}))}), store)
    for at, energy in ((990.0, 5000.0), (1000.0, 5100.0)):
        totals.observe([PV1], scan(at, produced_energy=energy), WALL + at - 1000)
    totals.reconfigure([PV1, PV2], settings())
    assert totals.close(1000.0, WALL).nodes[0].fields["today_energy_Wh"] == 100


def test_a_push_of_the_day_before_that_ends_after_midnight_has_the_energy_of_its_day(store: EnergyStore) -> None:
    endpoints = {"slow": SummarySettings(), "fast": SummarySettings()}
    totals = Aggregator([PV1], settings(endpoints=endpoints), store)

    def energy(at: float, wall: float, endpoint: str) -> object:
        return totals.close(at, int(wall), endpoint).nodes[0].fields.get("today_energy_Wh")

    for before, total in ((20, 5000.0), (10, 5010.0), (0, 5020.0)):
        totals.observe([PV1], scan(1000.0 - before, produced_energy=total), MIDNIGHT - before)
    assert energy(999.0, MIDNIGHT - 1, "fast") == 20
    totals.observe([PV1], scan(1005.0, produced_energy=5025.0), MIDNIGHT + 5)
    assert energy(1005.0, MIDNIGHT + 5, "fast") == 5
    assert energy(1006.0, MIDNIGHT - 1, "slow") == 20
    assert energy(1007.0, MIDNIGHT + 7, "fast") == 5


def test_a_push_of_the_day_before_does_not_reset_what_was_published_today() -> None:
    field, account = EnergyField("today_energy_Wh", Published()), Account(advance(None, 0.0, WALL, None, Register()))
    yesterday, today = "2026-06-01", "2026-06-02"
    for date, found in ((yesterday, 20.0), (today, 5.0), (yesterday, 20.5)):
        assert field.publish(account, date, DayEnergy(found, Basis.SEEN)) == (found, Basis.SEEN)
    assert field.publish(account, today, DayEnergy(4.9, Basis.SEEN)) == (5.0, Basis.ESTIMATED)
    assert field.publish(account, yesterday, DayEnergy(20.4, Basis.SEEN)) == (20.4, Basis.ESTIMATED), "it is over"
    assert field.published.date == today


PHASE_METER = Node("m", NodeType.GRID, Kind.METER)
HYBRID_NODES = (
    Node("g", NodeType.GRID, Kind.HYBRID, of_hybrid=True),
    Node("pv", NodeType.SOLAR, Kind.HYBRID, of_hybrid=True, invert=True),
)
_POWERS = tuple((None, Quantity.ACTIVE_POWER, phase) for phase in (None, *Phase))
_OF_METER = (*_POWERS, (None, Quantity.VOLTAGE, Phase.L1), (None, Quantity.IMPORTED_ENERGY, None))
_OF_HYBRID = tuple(
    (type_, quantity, None)
    for type_ in (NodeType.GRID, NodeType.SOLAR, NodeType.STORAGE)
    for quantity in (Quantity.ACTIVE_POWER, Quantity.EXPORTED_ENERGY, Quantity.ON)
)
LAYOUTS = (_OF_METER, tuple(reversed(_OF_METER)), _OF_METER[:2], _OF_HYBRID, _OF_HYBRID[3:])
"""Keys of readings. Another variant of a device changes its keys from one poll to the next."""
_CELL = st.tuples(st.sampled_from([None, 0.0, 100.0, -250.0, 9e9, True, "on"]), st.sampled_from(Quality))
_POLLS = st.tuples(st.sampled_from(LAYOUTS), st.lists(_CELL, min_size=9, max_size=9), st.booleans())


_GOOD = [[(value, Quality.GOOD)] * 9 for value in (100.0, -250.0, 0.0)]


@example([(_OF_METER, _GOOD[0], False), (_OF_METER, _GOOD[1], True), (_OF_METER, _GOOD[2], False)])
@given(st.lists(_POLLS, min_size=1, max_size=6))
def test_columns_and_readings_of_a_poll_give_the_same_messages(
    polls: list[tuple[Any, list[tuple[Value | None, Quality]], bool]],
) -> None:
    nodes = [PHASE_METER, *HYBRID_NODES]
    options = PayloadOptions("S", ("device_type", "device"), "snapshot", "all", quality=True)
    both = [Aggregator(nodes, settings(), cast("EnergyStore", NoStore())) for _ in range(2)]
    statistic = "last"
    for number, (keys, cells, reload) in enumerate(polls):
        at = 1000.0 + 10 * number
        if reload:
            statistic = "mean" if statistic == "last" else "last"
        times = [at + index / 16 for index in range(len(keys))]
        values, qualities = zip(*cells[: len(keys)], strict=True)
        columns = ReadingColumns(keys, values, qualities, times)
        sent = []
        for aggregator, readings in zip(both, (columns, tuple(columns)), strict=True):
            if reload:
                aggregator.reconfigure(nodes, settings(statistic=statistic))
            aggregator.observe(nodes, Scan(readings, at, at + 1), WALL + at)
            summary = aggregator.close(at + 2, WALL + int(at) + 2)
            sent.append((bodies(summary, options), aggregator.dropped))
        assert sent[0] == sent[1]
