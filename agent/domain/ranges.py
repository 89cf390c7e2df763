"""Physical ranges. A value outside its range is invalid. Pure.

The default ranges are wide enough for any device. A site can replace them for a device (`limits` of a [[device]]). If
the profile gives the range of a register (`min`, `max`), the value must be in that range too. All ranges have the sign
of the device, not that of the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import float_info

from drivers.model import Nature, Quantity

Range = tuple[float, float]

_FINITE: Range = (-float_info.max, float_info.max)
# A plant of 10 MW counts less than 1e12 Wh in ten years, and less than 1e9 Wh in a day. A larger value usually comes
# from a wrong word order.
_COUNTED: dict[Nature, Range] = {Nature.COUNTER: (-1e12, 1e12), Nature.DAILY: (-1e9, 1e9)}
WIDEST: dict[Quantity, Range] = {
    Quantity.ACTIVE_POWER: (-1e7, 1e7),
    Quantity.REACTIVE_POWER: (-1e7, 1e7),
    Quantity.APPARENT_POWER: (-1e7, 1e7),
    Quantity.DC_POWER: (-1e7, 1e7),
    Quantity.POWER_FACTOR: (-1.1, 1.1),  # rounding in the device can give a value beyond 1
    Quantity.VOLTAGE: (-1e5, 1e5),
    Quantity.CURRENT: (-1e5, 1e5),
    Quantity.DC_VOLTAGE: (-1e5, 1e5),
    Quantity.DC_CURRENT: (-1e5, 1e5),
    Quantity.FREQUENCY: (0.0, 1000.0),
    Quantity.TEMPERATURE: (-273.15, 1000.0),
    Quantity.SOC: (-1.0, 101.0),  # rounding can give a value outside 0..100; `mean_soc_perc` is limited to 0..100
    Quantity.SOH: (0.0, 200.0),
    Quantity.ENERGY_STORED: (0.0, 1e9),
    Quantity.ENERGY_CAPACITY: (0.0, 1e9),
    **{quantity: _COUNTED[quantity.nature] for quantity in Quantity if quantity.nature in _COUNTED},
}
"""Lowest and highest value, in the unit of the quantity."""

QUANTITIES = {quantity.label(): quantity for quantity in Quantity if quantity.unit}
"""Key of `limits` in the configuration (for example `active_power_W`) → quantity."""


def ranges(own: Mapping[Quantity, Range]) -> dict[Quantity, Range]:
    """Return the range of every quantity of a device with the limits `own`. NaN is in no range."""
    return {quantity: own.get(quantity, WIDEST.get(quantity, _FINITE)) for quantity in Quantity}


def largest_power(own: Mapping[Quantity, Range]) -> float | None:
    """Return the largest power of the device in W, in either direction. None if its limits have no power."""
    range_ = own.get(Quantity.ACTIVE_POWER)
    return None if range_ is None else max(abs(bound) for bound in range_)
