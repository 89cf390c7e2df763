"""Counters of devices → the energy of the local day. Pure.

A `Ledger` follows one counter. Its `total` is what the counter really grew since it was first seen; the energy of a day
is the total now minus the total at local midnight, interpolated between the readings around it. The total never falls
and never takes in what cannot be energy:

- A counter that falls, or rises faster than any site could, is in doubt: the total waits. When the counter comes back
  (a reboot, a half-written value), it goes on from where it was. When it stays for `PATIENCE_S`, it was reset or
  replaced: what it grew since then counts, and where it began at zero, what it showed then counts too.
- A rise that is possible but large counts as soon as a second reading confirms it.
- A counter at the end of 16 or 32 bits that goes on from the beginning has rolled over.

A register that the device itself sets to zero every day is followed in the same way, so that it does not matter when
its day begins. It is believed as a whole only where nothing better is known: when it was set to zero while nobody
looked, and when it is seen for the first time, long enough after midnight for its own midnight to be past.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from enum import IntEnum
from typing import NamedTuple

PATIENCE_S = 600.0
"""How long a counter that fell or jumped may take to come back."""
SEEN_S = 300.0
"""Readings no further apart than this around midnight: the day was seen from its beginning."""
REGISTER_S = 3 * 3600.0
"""After midnight, when a daily register is believed to count the same day: device clocks ignore summer time, or run on
UTC, or are some minutes off."""

# A step up to this is taken at once: 5 kWh for the resolution of the counter, and 100 kW for the time that has passed.
_USUAL_STEP_WH, _USUAL_POWER_W = 5e3, 1e5
# A confirmed step up to this is energy: 10 MW since the counter last moved.
_POSSIBLE_POWER_W = 1e7
# Registers of 32 and 16 bits in the resolutions that energy counters have.
_SIZES_WH = [2.0**32 * 10.0**n for n in range(-3, 5)] + [2.0**16 * 10.0**n for n in range(4)]
_RANGES_WH = [(0.0, size) for size in _SIZES_WH] + [(-size / 2, size / 2) for size in _SIZES_WH]
# How near its end a counter must have been to roll over instead of being reset: this part of its range.
_ROLLOVER_SHARE = 1e-3


class Basis(IntEnum):
    """How the beginning of a day is known, best first."""

    SEEN = 0
    """Readings stand close around midnight."""
    REGISTER = 1
    """By the device's own daily register."""
    INTERPOLATED = 2
    """Between the last reading before midnight and the first one after it, longer ago than `SEEN_S`."""
    PARTIAL = 3
    """Not at all: the day counts since the device was first seen."""


class Day(NamedTuple):
    """One local day of a ledger."""

    date: str
    """ISO 8601."""
    start: float
    end: float
    """Unix seconds of both midnights."""
    base: float
    """The total at its beginning, Wh."""
    basis: Basis
    believed: float = 0.0
    """The part of its energy that was taken from a daily register as it stood, Wh."""


class Doubt(NamedTuple):
    """A level that the counter fell or jumped to, not yet believed."""

    first: float
    last: float
    since: float


class Ledger(NamedTuple):
    """What is kept per counter, on disk too, except for `doubt`. Energies in Wh, times in Unix seconds."""

    value: float
    """The counter as it was believed last."""
    at: float
    changed: float
    """When it last moved."""
    total: float
    day: Day
    before: Day | None = None
    """The day before, for a push whose tick is older than its readings."""
    foreign: bool = False
    """A daily register that was seen to start its day far from midnight."""
    doubt: Doubt | None = None


class DayEnergy(NamedTuple):
    """The energy of one day, Wh."""

    energy: float
    basis: Basis


def day_of(at: float, zone: tzinfo | None) -> tuple[str, float, float]:
    """(date, start, end) of the local day of a moment; None is the system's zone."""
    local = datetime.fromtimestamp(at, zone)
    start = datetime(local.year, local.month, local.day, tzinfo=zone)
    end = start + timedelta(days=1)  # by the clock on the wall: 23 or 25 hours where it changes
    return start.date().isoformat(), start.timestamp(), end.timestamp()


def advance(ledger: Ledger | None, value: float, at: float, zone: tzinfo | None, *, daily: bool = False) -> Ledger:
    """The ledger after one more reading (Wh, Unix seconds); `daily` for a register that the device resets every day."""
    if ledger is None or at < ledger.at - PATIENCE_S:  # what was kept lies in the future: the clock was wrong then
        return _first_sight(value, at, zone, daily=daily)
    if at <= ledger.at:
        return ledger
    if at < ledger.day.end:
        step = value - ledger.value
        if ledger.doubt is None and 0.0 <= step <= _USUAL_STEP_WH:
            return Ledger(
                value,
                at,
                at if step else ledger.changed,
                ledger.total + step,
                ledger.day,
                ledger.before,
                ledger.foreign,
            )
        return _step(ledger, value, at, daily=daily)
    return _over_midnight(ledger, value, at, zone, daily=daily)


def of_day(ledger: Ledger, date: str) -> DayEnergy | None:
    """The energy of a date, None for one that the ledger does not know; 0 for the day after its last reading."""
    day, before = ledger.day, ledger.before
    if date == day.date:
        return DayEnergy(ledger.total - day.base, day.basis)
    if before is not None and date == before.date:
        return DayEnergy(day.base - before.base, before.basis)
    return DayEnergy(0.0, Basis.SEEN) if date > day.date else None


def shifted(ledger: Ledger, seconds: float, zone: tzinfo | None) -> Ledger:
    """The ledger after its readings turn out to belong to other times (the clock was set) or to another time zone."""
    at = ledger.at + seconds
    date, start, end = day_of(at, zone)
    day, before = ledger.day, ledger.before
    if start != day.start:
        if before is not None and start == before.start:
            day, before = before, None
        else:
            day, before = Day(date, start, end, day.base, Basis.PARTIAL), None
    return ledger._replace(at=at, changed=ledger.changed + seconds, day=day, before=before, doubt=None)


def _first_sight(value: float, at: float, zone: tzinfo | None, *, daily: bool) -> Ledger:
    date, start, end = day_of(at, zone)
    if daily and at - start >= REGISTER_S and value >= 0:
        return Ledger(value, at, at, 0.0, Day(date, start, end, -value, Basis.REGISTER, believed=value))
    return Ledger(value, at, at, 0.0, Day(date, start, end, 0.0, Basis.PARTIAL))


def _step(ledger: Ledger, value: float, at: float, *, daily: bool) -> Ledger:
    """One more reading, in the general case; the day stays as it is."""
    growth = _growth(ledger.value, value)
    usual = _usual(at - ledger.at)
    if growth is not None and growth <= usual:
        return _grown(ledger, value, at, growth)
    doubt = ledger.doubt
    if doubt is None or not 0.0 <= value - doubt.last <= usual:
        return ledger._replace(doubt=Doubt(value, value, at))
    if growth is not None and growth <= _USUAL_STEP_WH + _POSSIBLE_POWER_W * (doubt.since - ledger.changed) / 3600:
        return _grown(ledger, value, at, growth)
    doubt = doubt._replace(last=value)
    if at - doubt.since < PATIENCE_S:
        return ledger._replace(doubt=doubt)
    return _settled(ledger, doubt, at, daily=daily)


def _settled(ledger: Ledger, doubt: Doubt, at: float, *, daily: bool) -> Ledger:
    """The counter stays where it fell or jumped to: it was reset or replaced."""
    growth = doubt.last - doubt.first
    if _began_at_zero(ledger, doubt):
        growth += doubt.first
    ledger = _grown(ledger, doubt.last, at, growth)
    if not daily:
        return ledger
    day = ledger.day
    if doubt.since - day.start > REGISTER_S and day.end - doubt.since > REGISTER_S:
        ledger = ledger._replace(foreign=True)
    if day.believed:  # the register's day began only now: what it showed was of the day before
        day = day._replace(base=day.base + day.believed, basis=Basis.PARTIAL, believed=0.0)
    return ledger._replace(day=day)


def _began_at_zero(ledger: Ledger, doubt: Doubt) -> bool:
    return 0.0 <= doubt.first <= ledger.value / 2 and doubt.first <= _usual(doubt.since - ledger.at)


def _grown(ledger: Ledger, value: float, at: float, growth: float) -> Ledger:
    changed = at if value != ledger.value else ledger.changed
    return ledger._replace(value=value, at=at, changed=changed, total=ledger.total + growth, doubt=None)


def _growth(before: float, after: float) -> float | None:
    """Wh between two values of a counter that only grows, or rolls over; None where it fell."""
    if after >= before:
        return after - before
    for low, high in _RANGES_WH:
        near = (high - low) * _ROLLOVER_SHARE
        if 0 <= high - before <= near and 0 <= after - low <= near:
            return high - before + after - low
    return None


def _usual(seconds: float) -> float:
    return _USUAL_STEP_WH + _USUAL_POWER_W * seconds / 3600


def _over_midnight(ledger: Ledger, value: float, at: float, zone: tzinfo | None, *, daily: bool) -> Ledger:
    """The first reading of a new day."""
    date, start, end = day_of(at, zone)
    seconds = at - ledger.at
    if daily and not ledger.foreign and 0.0 <= value < ledger.value:
        # Set to zero in between: what it shows is the new day's, all of it.
        basis = Basis.SEEN if seconds <= SEEN_S else Basis.REGISTER
        day = Day(date, start, end, ledger.total, basis, believed=value)
        before = ledger.day if ledger.day.end == start else None
        return Ledger(value, at, at, ledger.total + value, day, before)
    after = _step(ledger, value, at, daily=daily)
    if after.doubt is not None:
        return after  # the day begins when it is known what the counter grew
    grown = after.total - ledger.total
    basis = Basis.SEEN if seconds <= SEEN_S or grown == 0 else Basis.INTERPOLATED

    def total_at(moment: float) -> float:
        return ledger.total + grown * (moment - ledger.at) / seconds

    before = ledger.day
    if before.end < start:  # more than one midnight lies between
        yesterday, began, _ = day_of(start - 1, zone)
        before = Day(yesterday, began, start, total_at(began), basis)
    return after._replace(day=Day(date, start, end, total_at(start), basis), before=before)
