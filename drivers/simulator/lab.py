"""A laboratory with a meter, a SunSpec inverter, a hybrid, a relay board and a charger behind one gateway.

`telemetry-agent simulate --lab` serves these devices. All powers are constant. Each counter begins at a fixed value and
counts one direction of a power: the meter exports, so its export counter grows, and its import counter is constant.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drivers.model import Key, Phase, Quantity, Value
from drivers.profile import load, profile_files
from drivers.simulator.modbus_server import SimulatedUnit
from drivers.simulator.register_image import Values, profile_unit
from drivers.simulator.sunspec_units import (
    PV,
    STORAGE,
    DcPort,
    battery_model,
    dc_ports_model,
    inverter_model,
    sunspec_unit,
)

_VOLTAGE_V = 230.0
# Signs of the payload contract: the grid exports, the battery charges.
_GRID_W = -4000.0
_ROOF_W = 6000.0
_HYBRID_AC_W = 2500.0
_BATTERY_W = 500.0
_HYBRID_PV_W = _HYBRID_AC_W + _BATTERY_W
_CHARGER_W = 3000.0


@dataclass(frozen=True, slots=True)
class LabDevice:
    """A unit, and its description for people."""

    unit: SimulatedUnit
    what: str


def lab_devices(now: Callable[[], float] = time.monotonic) -> tuple[LabDevice, ...]:
    """Return the devices with the unit ids 1 to 5. `now` returns the present time in seconds, for the counters."""
    start_s = now()

    def counted(start_Wh: float, power_W: float) -> float:
        return start_Wh + power_W * (now() - start_s) / 3600

    def by_profile(name: str, values: Callable[[], Values], unit_id: int) -> SimulatedUnit:
        return profile_unit(load(profile_files()[name]), values, unit_id)

    def meter() -> Values:
        exported_Wh = counted(3_400_000, -_GRID_W)
        return _three_phases(_GRID_W, {Quantity.IMPORTED_ENERGY: 1_200_000.0, Quantity.EXPORTED_ENERGY: exported_Wh})

    def charger() -> Values:
        return _three_phases(_CHARGER_W, {Quantity.CONSUMED_ENERGY: counted(500_000, _CHARGER_W)})

    def roof() -> list[list[int]]:
        return [inverter_model(_ROOF_W, counted(9_000_000, _ROOF_W), _VOLTAGE_V)]

    def hybrid() -> list[list[int]]:
        inverter = inverter_model(_HYBRID_AC_W, counted(4_000_000, _HYBRID_AC_W), _VOLTAGE_V)
        roof = DcPort(PV, "roof", _HYBRID_PV_W, counted(4_200_000, _HYBRID_PV_W))
        battery = DcPort(STORAGE, "battery", -_BATTERY_W, 700_000, counted(800_000, _BATTERY_W))
        return [inverter, battery_model(_BATTERY_W, 61.0, 10_000.0), dc_ports_model(roof, battery)]

    return (
        LabDevice(by_profile("eastron-sdm630", meter, 1), "meter (Eastron SDM630) at the grid: exports 4000 W"),
        LabDevice(sunspec_unit("roof", roof, 2), "inverter with SunSpec models: produces 6000 W"),
        LabDevice(
            sunspec_unit("hybrid", hybrid, 3),
            "hybrid with SunSpec models: produces 3000 W; 500 W charge its battery",
        ),
        LabDevice(by_profile("relay", lambda: {(None, Quantity.ON, None): True}, 4), "relay board: its output is on"),
        LabDevice(by_profile("peblar", charger, 5), "charger (Peblar): charges a car with 3000 W"),
    )


def _three_phases(power_W: float, counters_Wh: Mapping[Quantity, float]) -> Values:
    totals = {Quantity.ACTIVE_POWER: power_W, Quantity.CURRENT: abs(power_W) / _VOLTAGE_V}
    values: dict[Key, Value] = {(None, quantity, None): value for quantity, value in totals.items()}
    for phase in Phase:
        values |= {(None, quantity, phase): value / 3 for quantity, value in totals.items()}
        values[None, Quantity.VOLTAGE, phase] = _VOLTAGE_V
    return values | {(None, quantity, None): value for quantity, value in counters_Wh.items()}
