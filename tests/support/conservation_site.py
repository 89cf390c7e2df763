"""The simulated site of the conservation tests, and the true values for its messages.

A household meter is added to the demo's devices, so that every load of the site is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

from drivers.model import NodeType
from drivers.profile.loader import load, profile_files
from drivers.simulator.devices import SimulatedDevice, demo_devices, meter_values, voltage
from drivers.simulator.physics import DAY_S, Energy, SimulatedPlant
from drivers.simulator.register_image import profile_unit

ZONE = ZoneInfo("Europe/Brussels")
HOUR_S = 3600.0
# The counters have steps of 1 Wh, or of a float32 with some thousand kWh. An energy is the difference of two values.
RESOLUTION_WH = 1.0
# A power is rounded to 1 W, so the sum of eight powers has an error of at most 4 W.
RESOLUTION_W = 4.0

NAMES = {
    "meter-1": "grid",
    "pv-south": "pv_south",
    "pv-west": "pv_west",
    "battery-1": "storage",
}
"""Node → device of the simulation, for nodes with energies of the day."""
FIELDS = {
    NodeType.GRID: ("today_imported_energy_Wh", "today_exported_energy_Wh"),
    NodeType.SOLAR: ("today_energy_Wh",),
    NodeType.STORAGE: ("today_charged_Wh", "today_discharged_Wh"),
}

Changes = tuple[tuple[float, float], ...]
"""`drivers.simulator.physics.SimulatedPlant.clock_changes`."""
# First days. The next day has 23 hours in spring and 25 hours in autumn.
SPRING: tuple[str, Changes] = ("2026-03-28", ((DAY_S + 2 * HOUR_S, HOUR_S),))
AUTUMN: tuple[str, Changes] = ("2026-10-24", ((DAY_S + 3 * HOUR_S, -HOUR_S),))


def metered_devices(site: SimulatedPlant) -> tuple[SimulatedDevice, ...]:
    household = profile_unit(
        load(profile_files()["eastron-sdm630"]), lambda: meter_values(site.household, voltage(site))
    )
    metered = SimulatedDevice("household", NodeType.VARIABLE_POWER_LOAD, "eastron-sdm630", household, {})
    return (*demo_devices(site), metered)


def is_complete(message: dict[str, Any]) -> bool:
    return all("active_power_W" in message[type_] for type_ in NodeType)


def imbalance(message: dict[str, Any]) -> float:
    """Return grid - (loads + storage - solar) of a message, in W."""
    power = {type_.value: message[type_]["active_power_W"] for type_ in NodeType}
    loads = power["heat_pump"] + power["switched_load"] + power["variable_power_load"]
    return float(power["grid"] - (loads + power["storage"] - power["solar"]))


def energies(nodes: dict[str, Any], true: dict[str, Energy]) -> Iterator[tuple[str, str, float, float]]:
    """Yield (node, field, published Wh, true Wh) for every energy of the day in the nodes of a snapshot."""
    for node_id, name in NAMES.items():
        for type_, fields in nodes[node_id].items():
            if type_ == "quality":
                continue
            for number, key in enumerate(FIELDS[NodeType(type_)]):
                if key in fields:
                    yield node_id, key, fields[key], true[name][number]
