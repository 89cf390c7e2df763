"""The devices of the simulated site: their registers, node ids, types and drivers.

The site has devices of all six node types: a grid meter, two inverters, a battery, a heat pump, a relay and a charger.
The household has no meter. Its power is the difference between the grid meter and the other devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drivers.model import Key, NodeType, Phase, Quantity, Value
from drivers.profile import load, profile_files
from drivers.simulator.modbus_server import SimulatedUnit
from drivers.simulator.physics import Flow, SimulatedPlant
from drivers.simulator.plants import Boiler
from drivers.simulator.register_image import Values, profile_unit
from drivers.simulator.sunspec_units import inverter_model, sunspec_unit


@dataclass(slots=True, eq=False)
class SimulatedDevice:
    """One device of the simulated site. `options` are further keys of its [[device]] table."""

    node_id: str
    type: NodeType
    driver: str
    unit: SimulatedUnit
    options: dict[str, float] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    """0 until the server has started."""

    @property
    def unit_id(self) -> int:
        return self.unit.unit_id

    @property
    def online(self) -> bool:
        """If False, the device accepts connections and requests but does not respond."""
        return self.unit.online

    @online.setter
    def online(self, online: bool) -> None:
        self.unit.online = online


def demo_devices(site: SimulatedPlant) -> tuple[SimulatedDevice, ...]:
    """Return the devices of `site`, without a server."""
    return (
        _by_profile("meter-1", NodeType.GRID, "eastron-sdm630", lambda: meter_values(site.grid, voltage(site))),
        SimulatedDevice("pv-south", NodeType.SOLAR, "sunspec", _sunspec_inverter(site)),
        _by_profile("pv-west", NodeType.SOLAR, "simulated-inverter", lambda: _west(site)),
        _by_profile("battery-1", NodeType.STORAGE, "simulated-battery", lambda: _battery(site)),
        _by_profile("heat-pump-1", NodeType.HEAT_PUMP, "simulated-heat-pump", lambda: _heat_pump(site)),
        _by_profile(
            "boiler-1",
            NodeType.SWITCHED_LOAD,
            "relay",
            lambda: _plain({Quantity.ON: site.boiler.power_W > 0}),
            {"nominal_power_W": Boiler.RATED_W},
        ),
        _by_profile(
            "charger-1",
            NodeType.VARIABLE_POWER_LOAD,
            "simulated-charger",
            lambda: _plain(
                {
                    Quantity.ACTIVE_POWER: site.charger.power_W,
                    Quantity.CONSUMED_ENERGY: site.charger.positive_Wh,
                }
            ),
        ),
    )


def voltage(site: SimulatedPlant) -> float:
    """Return the voltage from line to neutral in V. Export increases it, import decreases it."""
    return 230.0 - site.grid.power_W / 2000


def meter_values(flow: Flow, voltage_V: float) -> Values:
    """Return the values of a three-phase meter. Import is positive; all phases have the same load."""
    totals = {
        Quantity.ACTIVE_POWER: flow.power_W,
        Quantity.REACTIVE_POWER: 0.0,
        Quantity.APPARENT_POWER: abs(flow.power_W),
        Quantity.CURRENT: abs(flow.power_W) / voltage_V,
        Quantity.IMPORTED_ENERGY: flow.positive_Wh,
        Quantity.EXPORTED_ENERGY: flow.negative_Wh,
    }
    same = {Quantity.VOLTAGE: voltage_V, Quantity.POWER_FACTOR: 1.0}
    values = _plain({**totals, **same, Quantity.FREQUENCY: 50.0})
    for phase in Phase:
        values |= {(None, quantity, phase): value / 3 for quantity, value in totals.items()}
        values |= {(None, quantity, phase): value for quantity, value in same.items()}
    return values


def _plain(values: Mapping[Quantity, Value]) -> dict[Key, Value]:
    """Return the values of a device with one node and no phases."""
    return {(None, quantity, None): value for quantity, value in values.items()}


def _by_profile(
    node_id: str,
    node_type: NodeType,
    profile: str,
    values: Callable[[], Values],
    options: dict[str, float] | None = None,
) -> SimulatedDevice:
    unit = profile_unit(load(profile_files()[profile]), values)
    return SimulatedDevice(node_id, node_type, profile, unit, options or {})


def _sunspec_inverter(site: SimulatedPlant) -> SimulatedUnit:
    south = site.pv_south
    return sunspec_unit("south", lambda: [inverter_model(south.power_W, south.positive_Wh, voltage(site))])


def _west(site: SimulatedPlant) -> Values:
    return _plain(
        {
            Quantity.ACTIVE_POWER: site.pv_west.power_W,
            Quantity.PRODUCED_ENERGY: site.pv_west.positive_Wh,
        }
    )


def _battery(site: SimulatedPlant) -> Values:
    return _plain(
        {
            Quantity.ACTIVE_POWER: site.storage.power_W,
            Quantity.SOC: site.soc,
            Quantity.ENERGY_STORED: site.battery.stored_Wh,
            Quantity.ENERGY_CAPACITY: site.battery.capacity_Wh,
            Quantity.CHARGED_ENERGY: site.storage.positive_Wh,
            Quantity.DISCHARGED_ENERGY: site.storage.negative_Wh,
        }
    )


def _heat_pump(site: SimulatedPlant) -> Values:
    return _plain(
        {
            Quantity.ACTIVE_POWER: site.heat_pump.power_W,
            Quantity.OPERATION_MODE: "on" if site.heat_pump.power_W > 0 else "off",
            Quantity.CONSUMED_ENERGY: site.heat_pump.positive_Wh,
        }
    )
