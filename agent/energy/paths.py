"""Begins a path at a reading, or extends it by one reading: total, days and events. Pure.

`agent.energy.ledger` explains path, cost, price and candidate.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.energy.candidate import DAILY_S, NEVER, Candidate, EnergyEvent, day_offset
from agent.energy.days import Basis, Day, day_of
from agent.energy.transitions import Observation, Transition, TransitionKind

SEEN_S = 300.0
"""A midnight is observed if the readings before and after it are at most this many seconds apart, and their interval
is usual."""
_STEADY_S = 30.0
"""An interval of at most this many seconds is always usual."""
_INTERVALS = 1.5
"""A longer interval is usual if it is at most this many times the interval before it."""

# Transition → basis of a day with this transition, unless the day has a worse one.
_FLAGS = {
    TransitionKind.ESTIMATED: Basis.ESTIMATED,
    TransitionKind.RESET: Basis.RESET,
    TransitionKind.REPLACED: Basis.REPLACED,
}
_NAMES = {
    TransitionKind.RESET: "counter_reset",
    TransitionKind.REPLACED: "counter_replaced",
    TransitionKind.ROLLED_OVER: "counter_rolled_over",
}
_RESTARTS = frozenset({TransitionKind.NEW_DAY, TransitionKind.RESET, TransitionKind.REPLACED})
"""After these transitions, the counter continues from another value, and `changed` is `NEVER` until it moves."""


def first_candidate(reading: Observation, observed_s: float, cost: float) -> Candidate:
    """Return the candidate of a path that begins at `reading`.

    `cost` is the seconds of all earlier readings, because the path skips them; 0 for the first reading of a counter.

    If a daily register is read at least `DAILY_S` after local midnight and has a possible value, the energy of the day
    is this value. Otherwise, the energy counts from this reading.
    """
    value, at, register = reading.value, reading.at, reading.register
    date, start, end = day_of(at, reading.zone)
    day = Day(date, start, end, 0.0, Basis.PARTIAL)
    since = at - start
    if register.daily and since >= DAILY_S:
        most = reading.step_Wh + reading.turnover.most_W * since / 3600
        if 0.0 <= value <= most:
            day = Day(date, start, end, -value, Basis.REGISTER, believed=value)
    return Candidate(value, at, NEVER, observed_s, cost, 0.0, reading.integral_Wh, day)


def extended(
    before: Candidate,
    transition: Transition,
    reading: Observation,
    observed_s: float,
    cost: float,
    skipped: Sequence[Candidate],
    interval_s: float,
) -> Candidate:
    """Return the candidate of `reading`, whose path leads from `before` by `transition`.

    `skipped` are the readings between `before` and `reading`. `interval_s` is the interval of the last two readings
    before `reading`.
    """
    kind = transition.kind
    seconds = reading.at - before.at
    seen = seconds <= _STEADY_S or (seconds <= SEEN_S and seconds <= _INTERVALS * interval_s)
    new_day = before.new_day
    if seen and (kind is TransitionKind.NEW_DAY or (kind is TransitionKind.RESET and reading.register.daily)):
        new_day = (before.at + reading.at) / 2
    day, yesterday = _days(before, transition, reading, new_day, seen=seen)
    changed, integral_Wh = before.changed, before.integral_Wh
    if kind in _RESTARTS:
        changed, integral_Wh = NEVER, reading.integral_Wh
    elif reading.value != before.value:
        changed, integral_Wh = reading.at, reading.integral_Wh
    return Candidate(
        reading.value,
        reading.at,
        changed,
        observed_s,
        cost,
        before.total + transition.growth,
        integral_Wh,
        day,
        yesterday,
        new_day,
        _events(before, kind, reading, skipped),
    )


def _events(
    before: Candidate, kind: TransitionKind, reading: Observation, skipped: Sequence[Candidate]
) -> tuple[EnergyEvent, ...]:
    events = before.events
    if skipped and kind not in _RESTARTS:
        worst = max(skipped, key=lambda each: abs(each.value - before.value))
        events = (*events, EnergyEvent("counter_glitch_removed", worst.at, before.value, worst.value))
    if kind in _NAMES:
        events = (*events, EnergyEvent(_NAMES[kind], reading.at, before.value, reading.value))
    return events


def _days(
    before: Candidate, transition: Transition, reading: Observation, new_day: float, *, seen: bool
) -> tuple[Day, Day | None]:
    """Return (day, previous day) at the reading."""
    kind, day = transition.kind, before.day
    flag = _FLAGS.get(kind, Basis.SEEN)
    if kind is TransitionKind.ROLLED_OVER and not seen:
        flag = Basis.ESTIMATED  # the counter may also be that of a new meter that begins near zero
    if kind in (TransitionKind.RESET, TransitionKind.REPLACED) and day.believed:
        # The counter restarts now, so it did not restart at midnight. The value that was believed to be the energy of
        # today therefore belongs to the day before, or to another device.
        day = day._replace(base=day.base + day.believed, basis=Basis.PARTIAL, believed=0.0)
    if reading.at >= day.end:
        if kind is TransitionKind.NEW_DAY:
            return _of_register(before, transition, reading, new_day, day, seen=seen)
        return _over_midnight(before, transition, reading, day, flag, seen=seen)
    if kind is TransitionKind.NEW_DAY and (not seen or _unsure(before, reading) > reading.step_Wh):
        flag = Basis.ESTIMATED
    return _flagged(day, flag), before.before


def _flagged(day: Day, flag: Basis) -> Day:
    """Return the day with the worse of its basis and `flag`."""
    return day._replace(basis=max(day.basis, flag))


def _unsure(before: Candidate, reading: Observation) -> float:
    """Return the possible error, in Wh, of the growth that `transitions._unread` estimates."""
    turnover, hours = reading.turnover, (reading.at - before.at) / 3600
    if not turnover.ratio:  # no usable power
        return turnover.mean_W * hours
    power_W = 2 * turnover.ratio * (reading.expected_W - reading.steady_W)
    return (power_W + abs(turnover.ratio - 1.0) * reading.expected_W) * hours


def _of_register(
    before: Candidate, transition: Transition, reading: Observation, new_day: float, last: Day, *, seen: bool
) -> tuple[Day, Day | None]:
    """Begin a local day whose energy is the value of the register.

    If the device's midnight was before local midnight, the energy between the two midnights is estimated and subtracted
    from this value.
    """
    date, start, end = day_of(reading.at, reading.zone)
    value = reading.value
    midnight = start + day_offset(new_day, reading.zone)
    early = value * (start - midnight) / (reading.at - midnight) if midnight < start else 0.0
    basis = Basis.SEEN if seen else Basis.REGISTER
    base = before.total + transition.growth - value + early
    day = Day(date, start, end, base, basis, believed=0.0 if seen else value)
    return day, last if last.end == start else None


def _over_midnight(
    before: Candidate, transition: Transition, reading: Observation, last: Day, flag: Basis, *, seen: bool
) -> tuple[Day, Day | None]:
    """Begin a local day between two readings. The growth is divided between the days in proportion to time."""
    date, start, end = day_of(reading.at, reading.zone)
    basis = max(flag, Basis.SEEN if seen or transition.growth == 0.0 else Basis.INTERPOLATED)
    rate = transition.growth / (reading.at - before.at)

    def total_at(moment: float) -> float:
        return before.total + rate * max(0.0, moment - before.at)

    last = _flagged(last, flag)
    if last.end < start:  # there is more than one midnight between the readings
        date_before, began, _ = day_of(start - 1, reading.zone)
        last = Day(date_before, began, start, total_at(began), basis)
    return Day(date, start, end, total_at(start), basis), last
