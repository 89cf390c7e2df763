"""What no device can measure is dropped, whatever its scale factor."""

from __future__ import annotations

import pytest

from agent.domain.ranges import WIDEST, largest_power, ranges
from drivers.model import Nature, Quantity


def test_every_number_has_physical_bounds() -> None:
    assert {quantity for quantity in Quantity if quantity.nature is not Nature.STATE} == set(WIDEST)
    for quantity, (low, high) in WIDEST.items():
        most = 1e12 if quantity.nature is Nature.COUNTER else 1e9
        assert -most <= low < high <= most, quantity


@pytest.mark.parametrize(
    ("quantities", "lowest", "highest"),
    [
        ("active_power reactive_power apparent_power dc_power", -1e7, 1e7),  # a plant of 10 MW
        ("power_factor", -1.1, 1.1),
        ("voltage current dc_voltage dc_current", -1e5, 1e5),
        ("frequency", 0.0, 1000.0),
        ("temperature", -273.15, 1000.0),
        ("soc", -1.0, 101.0),
        ("soh", 0.0, 200.0),
        ("energy_stored energy_capacity", 0.0, 1e9),
        ("produced_energy imported_energy charged_energy", -1e12, 1e12),
        ("today_produced_energy today_imported_energy today_charged_energy", -1e9, 1e9),
    ],
)
def test_what_any_device_may_measure(quantities: str, lowest: float, highest: float) -> None:
    for quantity in quantities.split():
        assert ranges({})[Quantity(quantity)] == (lowest, highest)  # type: ignore[call-arg]  # __new__ takes three


def test_a_counter_in_the_wrong_word_order_is_none() -> None:
    """A charger that has counted 840 kWh, low word first, read high word first: 55 TWh."""
    assert not ranges({})[Quantity.CONSUMED_ENERGY][1] >= 55e12


def test_a_scale_factor_of_ten_makes_no_current() -> None:
    low, high = ranges({})[Quantity.CURRENT]
    assert low <= -6_000 < 6_000 <= high, "a feeder of a large site"
    assert not low <= 10 * 10.0**10 <= high


def test_the_largest_power_of_a_device_is_that_of_its_stronger_direction() -> None:
    assert largest_power({Quantity.ACTIVE_POWER: (0.0, 9000.0)}) == 9000.0
    assert largest_power({Quantity.ACTIVE_POWER: (-11_000.0, 5000.0)}) == 11_000.0
    assert largest_power({}) is None
