"""The worked example of docs/contract.md is what the code makes of its readings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from agent.aggregation.aggregator import AggregationSettings, Aggregator
from agent.contract.payload import PayloadOptions, bodies
from agent.domain.node import Node
from agent.energy.days import day_of
from agent.energy.store import EnergyStore
from drivers.model import Kind, NodeType, Quality, Quantity, Reading, Scan

DOCS = Path(__file__).parents[2] / "docs"
ZONE = ZoneInfo("Europe/Brussels")
NOON = 1_795_518_000

METER = Node("meter", NodeType.GRID, Kind.METER)
SOUTH = Node("roof-south", NodeType.SOLAR, Kind.INVERTER)
WEST = Node("roof-west", NodeType.SOLAR, Kind.INVERTER)
BATTERY = Node("battery", NodeType.STORAGE, Kind.BATTERY, energy_capacity_Wh=10_000.0)

MIDNIGHT: dict[Node, dict[str, float]] = {
    METER: {"imported_energy": 8_000_100, "exported_energy": 3_000_000},
    SOUTH: {"produced_energy": 20_000_000},
    WEST: {"produced_energy": 9_000_000},
    BATTERY: {"charged_energy": 500_000, "discharged_energy": 450_000},
}
NOW: dict[Node, dict[str, float]] = {
    METER: {"active_power": -1500, "imported_energy": 8_001_100, "exported_energy": 3_004_000},
    SOUTH: {"active_power": 4000, "produced_energy": 20_009_000},
    WEST: {"active_power": 1000, "produced_energy": 9_001_500},
    BATTERY: {"active_power": 2000, "soc": 60, "charged_energy": 503_000, "discharged_energy": 451_000},
}


def documented() -> dict[str, Any]:
    text = (DOCS / "contract.md").read_text(encoding="utf-8")
    found = re.search(rf'^(\{{"time": {NOON},.*?\}})\n(?:```|\{{)', text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return dict(json.loads(found[1]))


def test_the_worked_example(tmp_path: Path) -> None:
    store = EnergyStore.open(tmp_path / "energy.sqlite3")
    totals = Aggregator(list(NOW), AggregationSettings(ZONE), store)
    start = day_of(NOON, ZONE)[1]
    for wall, values in ((start, MIDNIGHT), (float(NOON), NOW)):
        for node, quantities in values.items():
            readings = [
                Reading(Quantity(name), None, float(value), Quality.GOOD, wall)  # type: ignore[call-arg]
                for name, value in quantities.items()
            ]
            totals.observe([node], Scan(tuple(readings), wall, wall), wall)
    message = json.loads(bodies(totals.close(NOON, NOON), PayloadOptions("HOUSE"))[0])
    store.close()
    assert message == documented()
