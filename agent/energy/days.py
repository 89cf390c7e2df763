"""Local days and how well their beginning is known. Pure.

A day runs from its first local midnight to that of the next date: 23 or 25 hours where the clock changes, and from the
moment of the change where midnight itself is skipped.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from enum import IntEnum
from math import floor
from typing import NamedTuple


class Basis(IntEnum):
    """How well the energy of a day is known, best first. The names are the words of `quality.today`."""

    SEEN = 0
    """Readings lie close around midnight."""
    REGISTER = 1
    """By the device's own daily register."""
    INTERPOLATED = 2
    """Midnight lies in a gap between readings; the growth over the gap is divided by time."""
    ESTIMATED = 3
    """A part of it is the likelier of two explanations, or is not decided yet."""
    RESET = 4
    """The counter was set to zero; its growth between the last reading and that moment is lost."""
    REPLACED = 5
    """The counter continued from another number; its growth between the readings around that moment is lost."""
    PARTIAL = 6
    """The day counts since the device was first seen."""


class Day(NamedTuple):
    """One local day of a counter."""

    date: str
    """ISO 8601."""
    start: float
    end: float
    """Unix seconds of both midnights."""
    base: float
    """The ledger's total at its beginning, Wh."""
    basis: Basis
    believed: float = 0.0
    """The part of its energy that was taken from a daily register as it stood, Wh."""


class DayEnergy(NamedTuple):
    """The energy of one day, Wh."""

    energy: float
    basis: Basis


def day_of(at: float, zone: tzinfo | None) -> tuple[str, float, float]:
    """(date, start, end) of the local day of a moment; None is the system's zone."""
    local = datetime.fromtimestamp(floor(at), zone)  # it would round the last half microsecond up to midnight
    start = datetime(local.year, local.month, local.day, tzinfo=zone)
    end = start + timedelta(days=1)  # by the clock on the wall
    if at >= end.timestamp():  # a clock set back over midnight: the date has begun already
        start, end = end, end + timedelta(days=1)
    return start.date().isoformat(), start.timestamp(), end.timestamp()
