"""How the reference extends a path, and which day an energy belongs to."""

from __future__ import annotations

from dataclasses import replace

from tests.support.energy_reference.facts import (
    DAY_SHIFT,
    ESTIMATED,
    HOUR,
    INTERPOLATED,
    PARTIAL,
    REGISTER,
    REPLACED,
    RESET,
    SEEN,
    Day,
    Facts,
    Link,
    Now,
    Point,
    date_of,
    shift_of,
)
from tests.support.energy_reference.power import Power


def first(
    facts: Facts, known: Power, value: float, at: float, step: float, seen: float, cost: float, integral: float
) -> Point:
    date, start, end = date_of(at)
    day = Day(date, start, end, 0.0, PARTIAL)
    if facts.daily and at - start >= DAY_SHIFT and 0 <= value <= step + known.most * (at - start) / HOUR:
        day = Day(date, start, end, -value, REGISTER, value)
    return Point(value, at, None, seen, cost, 0.0, integral, day)


def extended(
    facts: Facts, known: Power, then: Point, link: Link, now: Now, seen: float, cost: float, skipped: list[Point]
) -> Point:
    kind, seconds = link.kind, now.at - then.at
    usual = seconds <= 30 or (seconds <= 300 and seconds <= 1.5 * now.interval)
    zeroed = then.zeroed
    if usual and (kind == "new day" or (kind == "reset" and facts.daily)):
        zeroed = (then.at + now.at) / 2
    day, yesterday = _days(known, then, link, now, zeroed, usual=usual)
    changed, integral = then.changed, then.integral
    level = kind in ("new day", "reset", "replaced")
    if level:
        changed, integral = None, now.integral
    elif now.value != then.value:
        changed, integral = now.at, now.integral
    events = list(then.events)
    if skipped and not level:
        worst = max(skipped, key=lambda each: abs(each.value - then.value))
        events.append(("counter_glitch_removed", worst.at, then.value, worst.value))
    names = {"reset": "counter_reset", "replaced": "counter_replaced", "rolled over": "counter_rolled_over"}
    if kind in names:
        events.append((names[kind], now.at, then.value, now.value))
    total = then.total + link.growth
    return Point(now.value, now.at, changed, seen, cost, total, integral, day, yesterday, zeroed, tuple(events[-8:]))


def _days(known: Power, then: Point, link: Link, now: Now, zeroed: float, *, usual: bool) -> tuple[Day, Day | None]:
    kind, day = link.kind, then.day
    basis = {"estimated": ESTIMATED, "reset": RESET, "replaced": REPLACED}.get(kind, SEEN)
    if kind == "rolled over" and not usual:
        basis = ESTIMATED
    if kind in ("reset", "replaced") and day.believed:
        day = replace(day, base=day.base + day.believed, basis=PARTIAL, believed=0.0)
    if now.at < day.end:
        if kind == "new day" and (not usual or _unsure(known, then, now) > now.step):
            basis = ESTIMATED
        return replace(day, basis=max(basis, day.basis)), then.yesterday
    date, start, end = date_of(now.at)
    if kind == "new day":
        midnight = start + shift_of(zeroed)
        early = now.value * (start - midnight) / (now.at - midnight) if midnight < start else 0.0
        base = then.total + link.growth - now.value + early
        new = Day(date, start, end, base, SEEN, 0.0) if usual else Day(date, start, end, base, REGISTER, now.value)
        return new, day if day.end == start else None
    parts = basis if usual or link.growth == 0 else max(basis, INTERPOLATED)

    def total_at(moment: float) -> float:
        return then.total + link.growth / (now.at - then.at) * max(0.0, moment - then.at)

    last = replace(day, basis=max(basis, day.basis))
    if day.end < start:
        date_before, began, _ = date_of(start - 1)
        last = Day(date_before, began, start, total_at(began), parts)
    return Day(date, start, end, total_at(start), parts), last


def _unsure(known: Power, then: Point, now: Now) -> float:
    hours = (now.at - then.at) / HOUR
    if not known.ratio:
        return known.mean * hours
    return (2 * known.ratio * (now.expected - now.steady) + abs(known.ratio - 1) * now.expected) * hours
