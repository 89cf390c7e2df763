"""Counters of devices → the energy of the local day. Pure.

A `Ledger` follows one counter. Its `total` is what the counter really grew since it was first seen; the energy of a day
is the total now minus the total at local midnight, interpolated between the readings around it. What cannot be energy
does not enter the total:

- A counter that falls, or rises faster than the device can, is in doubt: the total waits. When the counter comes back
  (a reboot, a half-written value), it goes on from where it was. When it stays for `PATIENCE_S`, it was reset or
  replaced: what it grew since then counts, and where it began at zero, what it showed then counts too.
- A rise that is too fast since the last reading, but not since the counter last moved, needs a second reading to agree:
  the steps of a coarse counter.
- A counter that falls back onto its way had one value too high: that one is taken out again, unless it comes back.
- A counter at the end of 16 or 32 bits that goes on from the beginning has rolled over.
- A counter that is first seen at 0, and within `PATIENCE_S` far from it, is that of a device that started: it begins
  there.
- Readings dated before the last one are left out; when they go on for `PATIENCE_S`, the clock was wrong before.

A register that the device itself sets to zero every day is followed in the same way, so that it does not matter when
its day begins. It is believed as a whole only where nothing better is known: when it was set to zero while nobody
looked, and when it is seen for the first time, long enough after midnight for its own midnight to be past.
"""

from __future__ import annotations

from datetime import tzinfo
from typing import NamedTuple

from agent.energy.days import Basis, Day, DayEnergy, day_of

PATIENCE_S = 600.0
"""How long a counter that fell or jumped may take to come back."""
SEEN_S = 300.0
"""Readings no further apart than this around midnight: the day was seen from its beginning."""
REGISTER_S = 3 * 3600.0
"""After midnight, when a daily register is believed to count the same day: device clocks ignore summer time, or run on
UTC, or are some minutes off."""
RELABEL_S = 12 * 3600.0
"""A clock that was set by more than this labelled its days at random."""
POWER_W = 1e6
"""What a device can turn over where its limits do not say."""

# A counter in whole kWh moves by this at once.
_RESOLUTION_WH = 1.1e3
# Ends of registers of 32 and 16 bits, unsigned and signed, in the resolutions that energy counters have.
_SIZES_WH = [2.0**32 * 10.0**n for n in range(-3, 5)] + [2.0**16 * 10.0**n for n in range(5)]
_RANGES_WH = [(0.0, size) for size in _SIZES_WH] + [(-size / 2, size / 2) for size in _SIZES_WH]
# How near its end a counter must have been to roll over instead of being reset: this part of its range.
_ROLLOVER_SHARE = 0.01


class Doubt(NamedTuple):
    """A level that the counter fell or jumped to, not yet believed."""

    first: float
    last: float
    since: float
    again: bool = False
    """More than one reading agreed, so that it is no slip of a single one."""


class Ledger(NamedTuple):
    """What is kept per counter. Energies in Wh, times in Unix seconds."""

    value: float
    """The counter as it was believed last."""
    at: float
    changed: float
    """When it last moved."""
    total: float
    day: Day
    before: Day | None = None
    """The day before, for a push whose tick is older than its readings."""
    doubt: Doubt | None = None
    prior: Ledger | None = None
    """Before the counter last moved."""
    undone: Ledger | None = None
    """Before its last move was taken out again. Like `doubt` and `prior` not worth keeping on disk."""

    def bare(self) -> Ledger:
        """Without what is not worth keeping."""
        return self._replace(doubt=None, prior=None, undone=None)


def advance(
    ledger: Ledger | None,
    value: float,
    at: float,
    zone: tzinfo | None,
    *,
    power_W: float = POWER_W,
    daily: bool = False,
) -> Ledger:
    """The ledger after one more reading (Wh, Unix seconds). It believed the reading when its `at` is the reading's.

    `power_W` is the most that the device can turn over; `daily` marks a register that the device resets every day.
    """
    if ledger is None:
        return _first_sight(value, at, zone, daily=daily)
    if at <= ledger.at:
        doubt = ledger.doubt or Doubt(value, value, at)
        if not doubt.since <= at - PATIENCE_S:
            return ledger._replace(doubt=doubt)
        # Nobody knows how long ago that last reading really was.
        ledger = shifted(ledger, at - ledger.at, zone)._replace(changed=0.0)
    started = ledger.value == ledger.total == 0.0 and at - ledger.changed <= PATIENCE_S
    if started and not daily and value > _RESOLUTION_WH + power_W * (at - ledger.at) / 3600:
        return _first_sight(value, at, zone, daily=False)
    if _undone_explains(ledger, value, at, power_W):
        # Keep the line without the move: when the counter falls back onto it, the move is taken out for good.
        again = _next(ledger.undone or ledger, value, at, zone, power_W, daily=daily)
        return again._replace(prior=ledger.bare(), undone=None)
    undone = ledger.undone
    if undone is not None and (at - undone.at > PATIENCE_S or value >= undone.value):
        undone = None
    prior = ledger.prior
    if (
        prior is not None
        and prior.value <= value < ledger.value
        and at - ledger.changed <= PATIENCE_S
        and not (daily and at >= ledger.day.end)
    ):
        ledger, undone = prior, ledger._replace(undone=None)
    after = _next(ledger, value, at, zone, power_W, daily=daily)
    return after if undone is None else after._replace(undone=undone)


def of_day(ledger: Ledger, date: str) -> DayEnergy | None:
    """The energy of a date, None for one that the ledger does not know; 0 for a day after its last reading."""
    day, before = ledger.day, ledger.before
    if date == day.date:
        return DayEnergy(ledger.total - day.base, day.basis)
    if before is not None and date == before.date:
        return DayEnergy(day.base - before.base, before.basis)
    return DayEnergy(0.0, Basis.SEEN) if date > day.date else None


def shifted(ledger: Ledger, seconds: float, zone: tzinfo | None) -> Ledger:
    """The ledger when its readings turn out to be dated wrong by that much (the clock was set), or in another zone."""
    at = ledger.at + seconds
    ledger = ledger.bare()._replace(at=at, changed=ledger.changed + seconds)
    date, start, end = day_of(at, zone)
    day, before = ledger.day, ledger.before
    if day.start == start or day.end <= at < day.end + RELABEL_S:  # a midnight that is past now waits for `advance`
        return ledger
    if before is not None and before.start == start:  # it was not midnight yet
        return ledger._replace(day=before, before=None)
    return ledger._replace(day=Day(date, start, end, day.base, Basis.PARTIAL), before=None)


def resumed(ledger: Ledger, then: Ledger) -> Ledger:
    """`ledger` with the days that it had `then`, before the clock left for another day; it is back now."""
    if then.day.start <= ledger.at < then.day.end + RELABEL_S:
        return ledger._replace(day=then.day, before=then.before)
    return ledger


def _first_sight(value: float, at: float, zone: tzinfo | None, *, daily: bool) -> Ledger:
    date, start, end = day_of(at, zone)
    if daily and at - start >= REGISTER_S and value >= 0:
        return Ledger(value, at, at, 0.0, Day(date, start, end, -value, Basis.REGISTER, believed=value))
    return Ledger(value, at, at, 0.0, Day(date, start, end, 0.0, Basis.PARTIAL))


def _undone_explains(ledger: Ledger, value: float, at: float, power_W: float) -> bool:
    """Whether the move that was taken out was right after all.

    Only if the ledger without it cannot explain the value, and the ledger with it can, from the last believed reading
    on: a longer time would explain any jump.
    """
    undone = ledger.undone
    if undone is None or value < undone.value or at - undone.at > PATIENCE_S:
        return False
    possible = _RESOLUTION_WH + power_W * (at - ledger.at) / 3600
    return value - undone.value <= possible < value - ledger.value


def _next(ledger: Ledger, value: float, at: float, zone: tzinfo | None, power_W: float, *, daily: bool) -> Ledger:
    if at >= ledger.day.end:
        return _over_midnight(ledger, value, at, zone, power_W, daily=daily)
    return _step(ledger, value, at, power_W)


def _step(ledger: Ledger, value: float, at: float, power_W: float) -> Ledger:
    """One more reading; the day stays as it is."""
    growth = _growth(ledger.value, value)
    possible = _RESOLUTION_WH + power_W * (at - ledger.at) / 3600
    doubt = ledger.doubt
    if doubt is not None and doubt.again and at - doubt.since >= PATIENCE_S and ledger.value < doubt.last <= value:
        return _settled(ledger, doubt._replace(last=value), at, power_W)  # a long silence explains no jump before it
    if growth is not None and growth <= possible:
        return _grown(ledger, value, at, growth)
    if doubt is None or not 0.0 <= value - doubt.last <= possible:
        return ledger._replace(doubt=Doubt(value, value, at))
    if growth is not None and growth <= _RESOLUTION_WH + power_W * (doubt.since - ledger.changed) / 3600:
        return _grown(ledger, value, at, growth)
    doubt = doubt._replace(last=value, again=True)
    if at - doubt.since < PATIENCE_S:
        return ledger._replace(doubt=doubt)
    return _settled(ledger, doubt, at, power_W)


def _settled(ledger: Ledger, doubt: Doubt, at: float, power_W: float) -> Ledger:
    """The counter stays where it fell or jumped to: it was reset or replaced."""
    growth = doubt.last - doubt.first
    from_zero = _RESOLUTION_WH + power_W * (doubt.since - ledger.at) / 3600
    if 0.0 <= doubt.first <= min(ledger.value / 2, from_zero):
        growth += doubt.first
    ledger = _grown(ledger, doubt.last, at, growth)
    day = ledger.day
    if not day.believed:
        return ledger
    # The register's day began only now: what it showed was of the day before.
    return ledger._replace(day=day._replace(base=day.base + day.believed, basis=Basis.PARTIAL, believed=0.0))


def _grown(ledger: Ledger, value: float, at: float, growth: float) -> Ledger:
    if value == ledger.value:
        return ledger._replace(at=at, doubt=None)
    prior = ledger.bare()
    return Ledger(value, at, at, ledger.total + growth, ledger.day, ledger.before, None, prior)


def _growth(before: float, after: float) -> float | None:
    """Wh between two values of a counter that only grows, or rolls over; None where it fell."""
    if after >= before:
        return after - before
    for low, high in _RANGES_WH:
        near = (high - low) * _ROLLOVER_SHARE
        if 0 <= high - before <= near and 0 <= after - low <= near:
            return high - before + after - low
    return None


def _over_midnight(
    ledger: Ledger, value: float, at: float, zone: tzinfo | None, power_W: float, *, daily: bool
) -> Ledger:
    """The first reading of a new day."""
    date, start, end = day_of(at, zone)
    seconds = at - ledger.at
    if daily and ledger.doubt is None and 0.0 <= value < ledger.value:
        # Set to zero in between: what it shows is the new day's, all of it.
        seen = seconds <= SEEN_S
        basis = Basis.SEEN if seen else Basis.REGISTER
        day = Day(date, start, end, ledger.total, basis, believed=0.0 if seen else value)
        before = ledger.day if ledger.day.end == start else None
        return Ledger(value, at, at, ledger.total + value, day, before)
    after = _step(ledger, value, at, power_W)
    if after.doubt is not None:
        return after  # the day begins when it is known what the counter grew
    grown = after.total - ledger.total
    basis = Basis.SEEN if seconds <= SEEN_S or grown == 0 else Basis.INTERPOLATED

    def total_at(moment: float) -> float:
        return ledger.total + grown * max(0.0, moment - ledger.at) / seconds

    before = ledger.day
    if before.end < start:  # more than one midnight lies between
        yesterday, began, _ = day_of(start - 1, zone)
        before = Day(yesterday, began, start, total_at(began), basis)
    return after._replace(day=Day(date, start, end, total_at(start), basis), before=before)
