"""Totals of several nodes of a type, of which some lack a value, and nodes whose device counts the other way."""

from __future__ import annotations

from typing import cast

import pytest

from agent.aggregation.aggregator import Aggregator
from agent.domain.node import Node
from agent.energy.store import EnergyStore
from drivers.model import Kind, NodeType
from tests.agent.aggregation.test_aggregator import WALL, NoStore, body, scan, settings

B1 = Node("b1", NodeType.STORAGE, Kind.BATTERY, energy_capacity_Wh=10_000.0)
B2 = Node("b2", NodeType.STORAGE, Kind.BATTERY)


@pytest.mark.parametrize("nodes", [(B1, B2), (B2, B1)])
def test_a_sum_without_a_missing_charge_has_the_charge_of_the_others(nodes: tuple[Node, Node]) -> None:
    totals = Aggregator(list(nodes), settings(partial_totals="sum"), cast("EnergyStore", NoStore()))
    totals.observe([B1], scan(1000.0, active_power=100.0, soc=40.0), WALL)
    totals.observe([B2], scan(1000.0, active_power=200.0), WALL)
    assert body(totals)["storage"] == {
        "active_power_W": 300,
        "energy_stored_Wh": 4000,
        "energy_capacity_Wh": 10_000,
        "mean_soc_perc": 40,
    }


@pytest.mark.parametrize("day", ["", "today_"])
def test_invert_turns_a_battery_with_its_counters(day: str) -> None:
    node = Node("b", NodeType.STORAGE, Kind.BATTERY, invert=True)
    totals = Aggregator([node], settings(), cast("EnergyStore", NoStore()))
    for second, charged in ((0, 0.0), (10, 7.0)):
        values = {f"{day}charged_energy": charged, f"{day}discharged_energy": charged / 7 * 3}
        totals.observe([node], scan(1000.0 + second, active_power=50.0, **values), WALL + second)
    assert body(totals, at=1010.0, wall=WALL + 10)["storage"] == {
        "active_power_W": -50,
        "today_charged_Wh": 3,
        "today_discharged_Wh": 7,
    }


def test_only_a_sign_of_minus_1_turns_a_group() -> None:
    pv = Node("pv", NodeType.SOLAR, Kind.INVERTER)
    signs = {NodeType.SOLAR: 1, NodeType.STORAGE: -1}
    totals = Aggregator([pv, B2], settings(sign=signs), cast("EnergyStore", NoStore()))
    for node in (pv, B2):
        totals.observe([node], scan(1000.0, active_power=100.0), WALL)
    message = body(totals)
    assert message["solar"] == {"active_power_W": 100}
    assert message["storage"] == {"active_power_W": -100}
