"""Local days, and how exact their energy is. Pure.

A day lasts from its first local midnight to the first midnight of the next date. A day on which summer time begins
or ends is shorter or longer, usually by an hour. If the clock skips midnight, the day begins at the change.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from enum import IntEnum
from math import floor
from typing import NamedTuple


class Basis(IntEnum):
    """How exactly the energy of a day is known, best first. `quality.today` uses the names in lower case."""

    SEEN = 0
    """There are readings shortly before and after midnight, or the counter did not grow over the gap at midnight."""
    REGISTER = 1
    """Midnight is before the first reading, or in a gap between readings. The energy from midnight to the next reading
    is the value of the device's daily register."""
    INTERPOLATED = 2
    """Midnight is in a gap between readings. The growth over the gap is divided in proportion to time."""
    ESTIMATED = 3
    """A part of the energy is not certain. Later readings can change it, or another explanation may be correct."""
    RESET = 4
    """The counter was set to zero. The growth between the last reading and the reset is not counted."""
    REPLACED = 5
    """The counter continued from another value. The growth between the readings before and after the change is not
    counted."""
    PARTIAL = 6
    """The energy before some moment of the day is unknown, for example before the first reading of the device."""


class Day(NamedTuple):
    """One local day of a counter."""

    date: str
    """ISO 8601."""
    start: float
    """The midnight at which the day begins, in Unix seconds."""
    end: float
    """The midnight at which the day ends, in Unix seconds."""
    base: float
    """The ledger's total at the beginning of the day, Wh."""
    basis: Basis
    believed: float = 0.0
    """The part of the energy that was read directly from a daily register, Wh; 0 if all of it is growth."""


class DayEnergy(NamedTuple):
    """The energy of one day, Wh."""

    energy: float
    basis: Basis


def day_of(at: float, zone: tzinfo | None) -> tuple[str, float, float]:
    """Return (date, start, end) of the local day of Unix time `at`, both midnights in Unix seconds.

    `zone` None is the system's time zone.
    """
    local = datetime.fromtimestamp(floor(at), zone)  # without floor, fromtimestamp could round up to midnight
    start = datetime(local.year, local.month, local.day, tzinfo=zone)
    end = start + timedelta(days=1)  # in local time
    if at >= end.timestamp():  # summer time ended just after midnight: local time repeats the end of the day before
        start, end = end, end + timedelta(days=1)
    return start.date().isoformat(), start.timestamp(), end.timestamp()
