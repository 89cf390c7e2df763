"""Lifetime counters → the energy of the local day. Pure.

A `Day` adds up what a counter grew since local midnight. Where the counter falls, it was reset or it jumped: nothing
is added for that step and counting goes on from the new value, so that a day is never negative and never doubled. A
fall to almost nothing that is followed by a return to the old value adds only what really grew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

# Above this a step is no energy: 2 MW for the time that has passed, and 1 kWh for the resolution of the counter.
_MAX_POWER_W = 2e6
_MAX_STEP_WH = 1000.0


@dataclass(frozen=True, slots=True)
class Day:
    """What is kept per counter, on disk too. Energies in Wh, times in Unix seconds."""

    date: str
    """Local date, ISO 8601."""
    energy: float
    """Since local midnight."""
    last: float
    """The counter as it was read last."""
    at: float
    peak: float
    """The highest value of the counter before it fell, to know it again when it comes back."""
    whole: bool
    """Whether the day was seen from its midnight."""


def local_date(at: float, zone: tzinfo | None) -> str:
    """The local date of a moment."""
    return datetime.fromtimestamp(at, zone).date().isoformat()


def midnight(date: str, zone: tzinfo | None) -> float:
    """The moment at which a local date begins."""
    start = datetime.fromisoformat(date)
    return (start.replace(tzinfo=zone) if zone is not None else start.astimezone()).timestamp()


def advance(day: Day | None, value: float, at: float, zone: tzinfo | None) -> Day:
    """The day after one more reading of its counter."""
    today = local_date(at, zone)
    if day is None:
        return Day(today, 0.0, value, at, value, whole=False)
    if at <= day.at:
        return day
    grown, peak = _grown(day, value, at)
    if grown is None:
        return day  # a value that no site can have produced: wait for the next
    if today == day.date:
        return replace(day, energy=day.energy + grown, last=value, at=at, peak=peak)
    if today < day.date:  # the clock was set back over midnight: go on with the later day
        return replace(day, energy=day.energy + grown, last=value, at=at, peak=peak)
    # Midnight lies between the readings: the part of the growth after it belongs to today.
    share = min(1.0, max(0.0, (at - midnight(today, zone)) / (at - day.at)))
    return Day(today, grown * share, value, at, peak, whole=True)


def _grown(day: Day, value: float, at: float) -> tuple[float | None, float]:
    """(Wh since the last reading, new peak); None for a jump that cannot be energy."""
    step = value - day.last
    if step < 0:
        return 0.0, max(day.peak, day.last)
    if day.last < day.peak <= value:
        step = value - day.peak  # it fell and came back
    if step > _MAX_STEP_WH + _MAX_POWER_W * (at - day.at) / 3600:
        return None, day.peak
    return step, max(value, day.peak)


def of_today(day: Day | None, at: float, zone: tzinfo | None) -> float | None:
    """Today's energy at `at`, None while there is none."""
    if day is None:
        return None
    return day.energy if day.date >= local_date(at, zone) else 0.0
