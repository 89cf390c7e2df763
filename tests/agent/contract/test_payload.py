"""Messages of nodes that differ: in the age of their values, in the basis of their energies, in the kind of values."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from agent.aggregation.aggregator import Aggregator
from agent.contract.payload import PayloadOptions, bodies
from agent.domain.node import Node
from agent.energy.store import EnergyStore
from drivers.model import Kind, NodeType
from tests.agent.aggregation.test_aggregator import MIDNIGHT, WALL, NoStore, body, scan, settings

PV1 = Node("pv-1", NodeType.SOLAR, Kind.INVERTER)
PV2 = Node("pv-2", NodeType.SOLAR, Kind.INVERTER)


def aggregator(*nodes: Node, **changes: Any) -> Aggregator:
    return Aggregator(list(nodes), settings(**changes), cast("EnergyStore", NoStore()))


@pytest.mark.parametrize("nodes", [(PV1, PV2), (PV2, PV1)])
def test_quality_tells_the_worst_basis_and_the_oldest_value_of_two_nodes(nodes: tuple[Node, Node]) -> None:
    totals = aggregator(*nodes)
    for second in (-10, 10):
        totals.observe([PV1], scan(1000.0 + second, produced_energy=5.0), MIDNIGHT + second)
    totals.observe([PV2], scan(1018.0, produced_energy=5.0), MIDNIGHT + 18)
    quality = body(totals, at=1020.0, wall=MIDNIGHT + 20, quality=True)["quality"]["solar"]
    assert quality == {"devices": 2, "fresh": 2, "expected": 3, "got": 3, "oldest_s": 10, "today": "partial"}


def test_the_age_of_a_node_is_that_of_its_oldest_value() -> None:
    totals = aggregator(PV1)
    totals.observe([PV1], scan(990.0, active_power=1.0, temperature=20.0), WALL)
    totals.observe([PV1], scan(999.0, active_power=1.0), WALL)
    assert body(totals, quality=True)["quality"]["solar"]["oldest_s"] == 10


def test_states_are_sent_as_the_driver_gives_them() -> None:
    relay = Node("r", NodeType.SWITCHED_LOAD, Kind.RELAY)
    pumps = [Node(name, NodeType.HEAT_PUMP, Kind.HEAT_PUMP) for name in ("h1", "h2")]
    totals = aggregator(relay, *pumps)
    totals.observe([relay], scan(1000.0, on=True), WALL)
    totals.observe([pumps[0]], scan(1000.0, operation_mode="on"), WALL)
    totals.observe([pumps[1]], scan(1000.0, operation_mode="off"), WALL)
    options = PayloadOptions("S", levels=("device",), device_format="snapshot", device_fields="all")
    (message,) = bodies(totals.close(1000.0, WALL), options)
    nodes = json.loads(message)["nodes"]
    assert nodes["r"]["switched_load"]["on"] is True
    assert [nodes[name]["heat_pump"]["operation_mode"] for name in ("h1", "h2")] == ["on", "off"]


def test_a_total_is_the_sum_of_the_numbers_of_its_nodes_to_the_last_digit() -> None:
    """562.5856 + 515.1856 W: each is sent with three decimals."""
    totals = aggregator(PV1, PV2)
    for node, power in ((PV1, 562.5856), (PV2, 515.1856)):
        totals.observe([node], scan(1000.0, active_power=power), WALL)
    messages = bodies(totals.close(1000.0, WALL), PayloadOptions("S", levels=("device_type", "device")))
    sent = [json.loads(message)["solar"]["active_power_W"] for message in messages]
    assert sent == [1077.772, 562.586, 515.186]


def test_a_register_with_the_name_of_a_field_is_sent_only_as_this_field() -> None:
    """A capacity of 0 is not a value. A daily register has no energy of the site's day while the clock is unknown."""
    battery = Node("b", NodeType.STORAGE, Kind.BATTERY)
    meter = Node("m", NodeType.GRID, Kind.METER)
    totals = aggregator(battery, meter)
    totals.observe([battery], scan(1000.0, soc=50.0, energy_capacity=0.0), WALL)
    daily = {"today_imported_energy": 700.0, "today_exported_energy": 300.0}
    totals.observe([meter], scan(1000.0, active_power=5.0, **daily), None)
    options = PayloadOptions("S", levels=("device",), device_format="snapshot", device_fields="all")
    (message,) = bodies(totals.close(1000.0, WALL), options)
    nodes = json.loads(message)["nodes"]
    assert nodes["b"]["storage"] == {"mean_soc_perc": 50, "soc_perc": 50}
    assert nodes["m"]["grid"] == {"active_power_W": 5}


def test_a_counter_of_a_battery_without_a_field_in_its_group_is_sent_as_read() -> None:
    """Only the group of a grid meter has a field for the exported energy of the day."""
    battery = Node("b", NodeType.STORAGE, Kind.BATTERY)
    totals = aggregator(battery)
    totals.observe([battery], scan(1000.0, energy_stored=500.0, today_exported_energy=300.0), WALL)
    options = PayloadOptions("S", levels=("device",), device_fields="all")
    (message,) = bodies(totals.close(1000.0, WALL), options)
    assert json.loads(message)["storage"] == {"energy_stored_Wh": 500, "today_exported_energy_Wh": 300}


def test_the_charge_as_read_is_beside_the_charge_of_the_contract() -> None:
    """`soc_perc` is the reading. `mean_soc_perc` is within 0..100, and is calculated if the device has no charge."""
    nodes = [Node(name, NodeType.STORAGE, Kind.BATTERY) for name in ("b1", "b2")]
    totals = aggregator(*nodes)
    totals.observe([nodes[0]], scan(1000.0, soc=100.5), WALL)
    totals.observe([nodes[1]], scan(1000.0, energy_stored=2000.0, energy_capacity=8000.0), WALL)
    for fields, charges in (("contract", {"mean_soc_perc": 100}), ("all", {"mean_soc_perc": 100, "soc_perc": 100.5})):
        options: Any = {"levels": ("device",), "device_format": "snapshot", "device_fields": fields}
        (message,) = bodies(totals.close(1000.0, WALL), PayloadOptions("S", **options))
        sent = json.loads(message)["nodes"]
        assert sent["b1"]["storage"] == charges
        assert sent["b2"]["storage"] == {
            "mean_soc_perc": 25,
            "energy_stored_Wh": 2000,
            "energy_capacity_Wh": 8000,
        }


def test_quality_has_the_same_form_at_both_levels() -> None:
    """Per type in the device-type message, and per node for its type. A node within another one has only its own."""
    main = Node("main", NodeType.GRID, Kind.METER)
    inner = Node("inner", NodeType.GRID, Kind.METER, within="main")
    totals = aggregator(main, inner, PV1)
    totals.observe([main], scan(999.0, active_power=5.0), WALL)
    totals.observe([inner], scan(998.0, active_power=1.0), WALL)
    summary = totals.close(1000.0, WALL)
    both: Any = {"levels": ("device_type", "device"), "quality": True}
    types, *nodes = map(json.loads, bodies(summary, PayloadOptions("S", **both)))
    fresh = {"devices": 1, "fresh": 1, "expected": 1, "got": 1}
    missing = {"devices": 1, "fresh": 0, "expected": 0, "got": 0}
    assert types["quality"] == {"grid": fresh | {"oldest_s": 1}, "solar": missing}
    of_nodes = {
        "main": {"grid": fresh | {"oldest_s": 1}},
        "inner": {"grid": fresh | {"oldest_s": 2}},
        "pv-1": {"solar": missing},
    }
    assert {node["nodeId"]: node["quality"] for node in nodes} == of_nodes
    (snapshot,) = bodies(summary, PayloadOptions("S", **both | {"levels": ("device",), "device_format": "snapshot"}))
    assert {name: node["quality"] for name, node in json.loads(snapshot)["nodes"].items()} == of_nodes


def test_an_age_below_a_second_is_sent_as_it_is() -> None:
    totals = aggregator(PV1)
    totals.observe([PV1], scan(999.75, active_power=1.0), WALL)
    assert body(totals, quality=True)["quality"]["solar"]["oldest_s"] == 0.25


def test_names_are_sent_as_they_are_written() -> None:
    (message,) = bodies(aggregator().close(1000.0, WALL), PayloadOptions("Straße"))
    assert "Straße".encode() in message


@pytest.mark.parametrize("metered", [True, False])
def test_limits_are_sent_only_with_a_grid_meter(metered: bool) -> None:
    meter = Node("m", NodeType.GRID, Kind.METER)
    totals = aggregator(*([meter] if metered else []), PV1)
    summary = totals.close(1000.0, WALL)
    both: list[dict[str, Any]] = [{}, {"import_limit_W": 5000.0, "export_limit_W": 1000.5}]
    for limits in both:
        types, *nodes = map(
            json.loads, bodies(summary, PayloadOptions("S", levels=("device_type", "device"), **limits))
        )
        expected = limits if metered else {}
        assert types["grid"] == expected
        assert [node["grid"] for node in nodes if "grid" in node] == ([expected] if metered else [])
