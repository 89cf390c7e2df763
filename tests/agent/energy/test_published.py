"""The published energy of a day waits for the counter only while the counter can reach it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.energy.days import Basis, DayEnergy
from agent.energy.published import Published, publish

TODAY = "2026-06-01"
MINUTE_WH = 101.0
HOUR = 3600.0


@pytest.mark.parametrize(
    ("found", "flow_W", "left_s", "energy", "basis"),
    [
        (4990.0, 3000.0, HOUR, 5000.0, Basis.ESTIMATED),
        (4990.0, 0.0, HOUR, 4990.0, Basis.ESTIMATED),
        (4999.0, 0.0, HOUR, 4999.0, Basis.SEEN),
        (4999.5, 3000.0, HOUR, 5000.0, Basis.ESTIMATED),
        (4999.9985, 3000.0, HOUR, 5000.0, Basis.ESTIMATED),
        (4990.0, 40.0, HOUR, 5000.0, Basis.ESTIMATED),
        (4990.0, 39.99, HOUR, 4990.0, Basis.ESTIMATED),
        (4990.0, 3000.0, 5.0, 4990.0, Basis.ESTIMATED),
        (4990.0, 3000.0, 0.0, 4990.0, Basis.ESTIMATED),
        (4899.0, 3000.0, HOUR, 5000.0, Basis.ESTIMATED),
        (4890.0, 3000.0, HOUR, 4890.0, Basis.ESTIMATED),
        (5000.0, 0.0, 0.0, 5000.0, Basis.SEEN),
        (5001.0, 0.0, 0.0, 5001.0, Basis.SEEN),
    ],
    ids=[
        "soon reached",
        "no power",
        "no power, one step",
        "half a Wh",
        "more than a rounding error",
        "in a quarter of an hour",
        "not in a quarter of an hour",
        "not before midnight",
        "the day is over",
        "the energy of a minute",
        "more than the energy of a minute",
        "equal",
        "risen",
    ],
)
def test_an_energy_that_was_too_high(found: float, flow_W: float, left_s: float, energy: float, basis: Basis) -> None:
    before = Published(TODAY, 5000.0)
    after, published = publish(before, TODAY, DayEnergy(found, Basis.SEEN), 1.0, MINUTE_WH, flow_W, left_s)
    assert published == (energy, basis)
    assert after.energy == energy


def test_an_energy_that_is_too_high_by_a_rounding_error_is_known() -> None:
    _, published = publish(Published(TODAY, 1e-3), TODAY, DayEnergy(0.0, Basis.SEEN), 1.0, MINUTE_WH, 3000.0, HOUR)
    assert published == (1e-3, Basis.SEEN)


def test_a_wait_ends_when_the_power_ends() -> None:
    """Regression: the last step of a coarse register, read too early in the evening, stayed until midnight."""
    published = Published(TODAY, 20_000.0)
    found = DayEnergy(19_000.0, Basis.SEEN)
    published, shown = publish(published, TODAY, found, 1000.0, 1100.0, 5000.0, HOUR)
    assert shown == (20_000.0, Basis.ESTIMATED)
    published, shown = publish(published, TODAY, found, 1000.0, 1100.0, 0.0, HOUR)
    assert shown == (19_000.0, Basis.SEEN)


ENERGY = st.floats(0, 1e6)


@example(5000.0, 4999.9999, 0.0, MINUTE_WH, 3000.0, HOUR)  # a rounding error
@given(ENERGY, ENERGY, st.floats(0, 1000), st.floats(0, 1e4), st.floats(0, 1e5), st.floats(0, 86_400))
def test_a_day_ends_with_what_was_found(
    before: float, found: float, step_Wh: float, minute_Wh: float, flow_W: float, left_s: float
) -> None:
    published = Published(TODAY, before)
    for seconds in (left_s, 0.0):
        published, shown = publish(published, TODAY, DayEnergy(found, Basis.SEEN), step_Wh, minute_Wh, flow_W, seconds)
        assert shown.energy >= found
        allowed = 1e-3 if shown.energy > found else max(step_Wh, 1e-3)
        assert (shown.basis is Basis.ESTIMATED) == (before - found > allowed)
    assert shown.energy == found
