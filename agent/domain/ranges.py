"""What a reading can be: values outside are no measurements. Pure.

A profile narrows single registers (`min`, `max`), a site its devices (`limits` of a [[device]]), both in the device's
own sign. Here stand the bounds for the rest, wide enough for any device of a site.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import float_info

from drivers.model import Quantity

Range = tuple[float, float]

_FINITE: Range = (-float_info.max, float_info.max)
WIDEST: dict[Quantity, Range] = {
    Quantity.ACTIVE_POWER: (-1e7, 1e7),
    Quantity.REACTIVE_POWER: (-1e7, 1e7),
    Quantity.APPARENT_POWER: (-1e7, 1e7),
    Quantity.DC_POWER: (-1e7, 1e7),
    Quantity.VOLTAGE: (-1e5, 1e5),
    Quantity.FREQUENCY: (0.0, 1000.0),
    Quantity.TEMPERATURE: (-273.15, 1000.0),
    Quantity.SOC: (-1.0, 101.0),  # rounded by the device; what leaves is 0..100
    Quantity.SOH: (0.0, 200.0),
    Quantity.ENERGY_STORED: (0.0, 1e9),
    Quantity.ENERGY_CAPACITY: (0.0, 1e9),
}
"""In the unit of the quantity; what is not named is bounded by being a number."""

QUANTITIES = {quantity.label(): quantity for quantity in Quantity if quantity.unit}
"""The keys of `limits` in the configuration: `active_power_W`, `temperature_C`."""


def ranges(own: Mapping[Quantity, Range]) -> dict[Quantity, Range]:
    """The range of every quantity of a device that names `own`. NaN is in none."""
    return {quantity: own.get(quantity, WIDEST.get(quantity, _FINITE)) for quantity in Quantity}


def largest_power(own: Mapping[Quantity, Range]) -> float | None:
    """The most that the device can turn over in W, None where its limits do not say."""
    range_ = own.get(Quantity.ACTIVE_POWER)
    return None if range_ is None else max(abs(bound) for bound in range_)
