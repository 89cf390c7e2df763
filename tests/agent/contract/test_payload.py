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
