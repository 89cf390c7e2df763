"""What no device can measure is dropped, whatever its scale factor."""

from __future__ import annotations

from agent.domain.ranges import WIDEST, ranges
from drivers.model import Nature, Quantity


def test_every_gauge_has_physical_bounds() -> None:
    assert {quantity for quantity in Quantity if quantity.nature is Nature.GAUGE} == set(WIDEST)
    assert all(low < high <= 1e9 and low >= -1e9 for low, high in WIDEST.values())


def test_a_scale_factor_of_ten_makes_no_current() -> None:
    low, high = ranges({})[Quantity.CURRENT]
    assert low <= -6_000 < 6_000 <= high, "a feeder of a large site"
    assert not low <= 10 * 10.0**10 <= high
