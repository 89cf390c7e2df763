"""Extends a path by one reading: total, days and events. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agent.energy.candidate import NEVER, Candidate, EnergyEvent, day_offset
from agent.energy.days import Basis, Day, day_of
from agent.energy.links import DAILY_S, Kind, Link, Sight

SEEN_S = 300.0
"""If the usual readings around midnight are at most this far apart, the beginning of the day was observed."""
_STEADY_S = 30.0
_PACE = 1.5
_EVENTS = 8
"""Maximum number of events of a path that are not reported yet."""

_FLAGS = {Kind.ESTIMATED: Basis.ESTIMATED, Kind.RESET: Basis.RESET, Kind.REPLACED: Basis.REPLACED}
_NAMES = {
    Kind.RESET: "counter_reset",
    Kind.REPLACED: "counter_replaced",
    Kind.ROLLED_OVER: "counter_rolled_over",
}
_LEVELS = frozenset({Kind.NEW_DAY, Kind.RESET, Kind.REPLACED})
"""After these links, the counter has not moved yet."""


def first_sight(sight: Sight, mass: float, cost: float) -> Candidate:
    """Return the beginning of a path, for the first reading of a counter."""
    value, at, register = sight.value, sight.at, sight.register
    date, start, end = day_of(at, sight.zone)
    day = Day(date, start, end, 0.0, Basis.PARTIAL)
    since = at - start
    if register.daily and since >= DAILY_S:
        most = sight.step_Wh + sight.turnover.most_W * since / 3600
        if 0.0 <= value <= most:
            day = Day(date, start, end, -value, Basis.REGISTER, believed=value)
    return Candidate(value, at, NEVER, mass, cost, 0.0, sight.area, day)


def extended(
    before: Candidate, link: Link, sight: Sight, mass: float, cost: float, skipped: Sequence[Candidate], pace_s: float
) -> Candidate:
    """Extend `before` by a reading with `link`. `skipped` are the readings between, `pace_s` is the usual interval."""
    kind = link.kind
    seconds = sight.at - before.at
    seen = seconds <= _STEADY_S or (seconds <= SEEN_S and seconds <= _PACE * pace_s)
    new_day = before.new_day
    if seen and (kind is Kind.NEW_DAY or (kind is Kind.RESET and sight.register.daily)):
        new_day = (before.at + sight.at) / 2
    day, yesterday = _days(before, link, sight, new_day, seen=seen)
    changed, area = before.changed, before.area
    if kind in _LEVELS:
        changed, area = NEVER, sight.area
    elif sight.value != before.value:
        changed, area = sight.at, sight.area
    return Candidate(
        sight.value,
        sight.at,
        changed,
        mass,
        cost,
        before.total + link.growth,
        area,
        day,
        yesterday,
        new_day,
        _events(before, kind, sight, skipped),
    )


def _events(before: Candidate, kind: Kind, sight: Sight, skipped: Sequence[Candidate]) -> tuple[EnergyEvent, ...]:
    events = before.events
    if skipped and kind not in _LEVELS:
        worst = max(skipped, key=lambda each: abs(each.value - before.value))
        events = (*events, EnergyEvent("counter_glitch_removed", worst.at, before.value, worst.value))
    if kind in _NAMES:
        events = (*events, EnergyEvent(_NAMES[kind], sight.at, before.value, sight.value))
    return events[-_EVENTS:]


def _days(before: Candidate, link: Link, sight: Sight, new_day: float, *, seen: bool) -> tuple[Day, Day | None]:
    """Return (day, previous day) at the reading."""
    kind, day = link.kind, before.day
    flag = _FLAGS.get(kind, Basis.SEEN)
    if kind is Kind.ROLLED_OVER and not seen:
        flag = Basis.ESTIMATED  # it may also be a new meter that begins near zero
    if kind in (Kind.RESET, Kind.REPLACED) and day.believed:
        # The register's day begins only now, so its earlier value was of the previous day.
        day = day._replace(base=day.base + day.believed, basis=Basis.PARTIAL, believed=0.0)
    if sight.at >= day.end:
        if kind is Kind.NEW_DAY:
            return _of_register(before, link, sight, new_day, day, seen=seen)
        return _over_midnight(before, link, sight, day, flag, seen=seen)
    if kind is Kind.NEW_DAY and (not seen or _unsure(before, sight) > sight.step_Wh):
        flag = Basis.ESTIMATED
    return (day if flag <= day.basis else day._replace(basis=flag)), before.before


def _unsure(before: Candidate, sight: Sight) -> float:
    """Return the possible error of the estimated growth before a new day, Wh."""
    return 2 * sight.turnover.ratio * (sight.expected_W - sight.steady_W) * (sight.at - before.at) / 3600


def _of_register(
    before: Candidate, link: Link, sight: Sight, new_day: float, last: Day, *, seen: bool
) -> tuple[Day, Day | None]:
    """Begin a local day together with the device's day. The value of the register belongs to the new day."""
    date, start, end = day_of(sight.at, sight.zone)
    value = sight.value
    midnight = start + day_offset(new_day, sight.zone)
    early = value * (start - midnight) / (sight.at - midnight) if midnight < start else 0.0
    basis = Basis.SEEN if seen else Basis.REGISTER
    base = before.total + link.growth - value + early
    day = Day(date, start, end, base, basis, believed=0.0 if seen else value)
    return day, last if last.end == start else None


def _over_midnight(
    before: Candidate, link: Link, sight: Sight, last: Day, flag: Basis, *, seen: bool
) -> tuple[Day, Day | None]:
    """Begin a local day between two readings. The growth is divided in proportion to time."""
    date, start, end = day_of(sight.at, sight.zone)
    basis = max(flag, Basis.SEEN if seen or link.growth == 0.0 else Basis.INTERPOLATED)
    rate = link.growth / (sight.at - before.at)

    def total_at(moment: float) -> float:
        return before.total + rate * max(0.0, moment - before.at)

    if flag > last.basis:
        last = last._replace(basis=flag)
    if last.end < start:  # there is more than one midnight between the readings
        date_before, began, _ = day_of(start - 1, sight.zone)
        last = Day(date_before, began, start, total_at(began), basis)
    return Day(date, start, end, total_at(start), basis), last
