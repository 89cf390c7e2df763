"""Local days around a change of the clock at midnight, and the names of how their energy is known."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from agent.energy.days import Basis, day_of

ST_JOHNS = ZoneInfo("America/St_Johns")
FIRST = datetime(2010, 11, 7, tzinfo=ST_JOHNS).timestamp()
"""The first of two midnights: at 00:01 the clock went back to 23:01."""
HOUR_S = 3600


@pytest.mark.parametrize(
    ("at", "date", "start", "end"),
    [
        (FIRST - 1, "2010-11-06", FIRST - 24 * HOUR_S, FIRST),
        (FIRST, "2010-11-07", FIRST, FIRST + 25 * HOUR_S),
        (FIRST + HOUR_S / 2, "2010-11-07", FIRST, FIRST + 25 * HOUR_S),
        (FIRST + HOUR_S, "2010-11-07", FIRST, FIRST + 25 * HOUR_S),
        (FIRST + 25 * HOUR_S - 1, "2010-11-07", FIRST, FIRST + 25 * HOUR_S),
        (FIRST + 25 * HOUR_S, "2010-11-08", FIRST + 25 * HOUR_S, FIRST + 49 * HOUR_S),
    ],
)
def test_a_clock_that_shows_midnight_twice_begins_the_day_at_the_first(
    at: float, date: str, start: float, end: float
) -> None:
    assert day_of(at, ST_JOHNS) == (date, start, end)


def test_the_numbers_of_a_basis_are_those_on_the_disk_and_the_worst_is_the_largest() -> None:
    """`energy.sqlite3` of an older version has these numbers."""
    assert {basis.name: basis.value for basis in Basis} == {
        "SEEN": 0,
        "REGISTER": 1,
        "INTERPOLATED": 2,
        "ESTIMATED": 3,
        "RESET": 4,
        "REPLACED": 5,
        "PARTIAL": 6,
    }
