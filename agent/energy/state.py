"""Converts a ledger to JSON and back, with a version number. Pure."""

from __future__ import annotations

from typing import Any

from agent.energy.candidate import Candidate, EnergyEvent
from agent.energy.days import Basis, Day
from agent.energy.ledger import Ledger, thinned
from agent.energy.transitions import RUN_PRICE
from agent.energy.turnover import Register, Turnover, first_turnover

VERSION = 2
_SAVED = 12
"""Approximate maximum number of candidates that are saved."""
_OLD_PARTIAL = 3
"""The number of `Basis.PARTIAL` in version 1."""


def to_json(ledger: Ledger) -> list[Any]:
    """Return the list [version, candidates, …]. Its JSON is below 4 KiB, unless the counter is often wrong."""
    ledger = thinned(ledger, _SAVED)
    days: list[Day] = []

    def number(day: Day | None) -> int:
        if day is None:
            return -1
        if day not in days:
            days.append(day)
        return days.index(day)

    candidates = [
        [*each[:7], number(each.day), number(each.before), each.new_day, [[*event] for event in each.events]]
        for each in ledger.candidates
    ]
    best = next(place for place, each in enumerate(ledger.candidates) if each is ledger.best)
    rest = [
        ledger.at,
        ledger.interval_s,
        ledger.observed_s,
        ledger.integral_Wh,
        ledger.power_W,
        [*ledger.turnover],
        ledger.unconfirmed_until,
    ]
    return [VERSION, candidates, [[*day] for day in days], best, *rest]


def from_json(row: list[Any]) -> Ledger:
    """Return the ledger of a JSON list. Raises ValueError, TypeError, IndexError or KeyError for a wrong list."""
    if row[0] != VERSION or not isinstance(row[1], list):
        return _version_1(row)
    _, candidates, days, best, at, interval_s, observed_s, integral_Wh, power_W, turnover, unconfirmed_until = row
    known = [_day(day) for day in days]
    restored = tuple(_candidate(each, known) for each in candidates)
    at, interval_s, observed_s, integral_Wh, power_W, unconfirmed_until = map(
        float, (at, interval_s, observed_s, integral_Wh, power_W, unconfirmed_until)
    )
    limits = Turnover(*map(float, turnover))
    ledger = Ledger((), restored[best], at, interval_s, observed_s, integral_Wh, power_W, limits, unconfirmed_until)
    return ledger.with_candidates(restored, best)


def _candidate(row: list[Any], days: list[Day]) -> Candidate:
    *numbers, day, before, new_day, events = row
    value, at, changed, observed_s, cost, total, integral_Wh = map(float, numbers)
    told = tuple(EnergyEvent(str(name), float(then), float(old), float(new)) for name, then, old, new in events)
    yesterday = None if before < 0 else days[before]
    return Candidate(
        value, at, changed, observed_s, cost, total, integral_Wh, days[day], yesterday, float(new_day), told
    )


def _day(row: list[Any]) -> Day:
    date, start, end, base, basis, believed = row
    return Day(str(date), float(start), float(end), float(base), Basis(basis), float(believed))


def _version_1(row: list[Any]) -> Ledger:
    """Return the ledger of a row of version 1, which has one value and no candidates."""
    value, at, changed, total, day, before, *_ = row
    restored = Candidate(
        float(value),
        float(at),
        float(changed),
        RUN_PRICE,
        0.0,
        float(total),
        0.0,
        _old_day(day),
        None if before is None else _old_day(before),
    )
    return Ledger((), restored, restored.at, 0.0, RUN_PRICE, 0.0, -1.0, first_turnover(Register()))


def _old_day(row: list[Any]) -> Day:
    day = _day(row)
    return day._replace(basis=Basis.PARTIAL) if day.basis == _OLD_PARTIAL else day
