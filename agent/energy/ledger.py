"""From a counter's readings to the energy of the local day. Pure.

A `Ledger` follows one counter. Each reading is explained by a link from an earlier one (`links`): the counter
continued, was late, rolled over, was reset, was replaced. A link has a price in seconds. A reading that is passed over
costs the seconds that it stands for. The total is the growth along the cheapest path; the energy of a day is the total
now minus the total at local midnight, interpolated between the readings around it. Readings stay undecided while
another explanation can still win: a quarter of an hour as a rule, half an hour at most.

Invariants:

1. The total is the growth between the first and the last reading of the path, where its links are continuations. What
   lies in between leaves no trace: glitches, restarts of the agent, readings that were missed.
2. Readings that explain fewer seconds than their price leave no trace in the end, however often they come.
3. A link that counts adds at most the register's step plus what the device can turn over in the time (`turnover`).
4. A rollover exists only in a register whose range is known.
5. What is not decided survives a restart: the candidates are part of the state.
6. An energy of a day is never negative.
7. Energy that is lost or estimated is declared in the `Basis` of its day. Events are told once, when they are decided.
8. The counter's own clock is no matter: a daily register is followed like any counter, and may be set to zero at any
   hour. Its value as a whole is used only where nothing better is known: at first sight, and after a gap over the
   device's midnight.

Each value can be reached from the best candidate for at most `RUN_PRICE`. A candidate that is dearer than the best by
that much cannot win any more, whatever comes, and is dropped.
"""

from __future__ import annotations

from datetime import tzinfo
from typing import Any, NamedTuple

from agent.energy.candidate import NEVER, Candidate, EnergyEvent, moved
from agent.energy.days import Basis, DayEnergy
from agent.energy.links import (
    CREDIT,
    MINUTE_S,
    ROLLOVER_PRICE,
    RUN_PRICE,
    SLACK_S,
    Kind,
    Sight,
    explain,
    is_doubtful,
)
from agent.energy.paths import extended, first_sight
from agent.energy.turnover import Register, Turnover, first_turnover, reviewed, with_peak

PATIENCE_S = 600.0
"""Readings dated before the last one are left out for so long; then the clock was wrong before."""
WINDOW_S = 1800.0
"""A reading that was not decided after so many observed seconds is decided by what is best then."""
RELABEL_S = 12 * 3600.0
"""A clock that was set by more than this labelled its days at random."""
CANDIDATES = 24
"""More of them are thinned: neighbours on one path differ by little."""
_FRESH = 6
"""Of the latest candidates none is left out;"""
_APART_S = 60.0
"""of the older ones on a path those that are this near to the one before: what they know differs by little."""
_BEGINNING_S = 120.0
"""Until then a counter that was not seen to move may as well begin at a later reading: devices start with a wrong
value."""
_FIRST_S = 15.0
"""What the first reading stands for."""
_WEIGHT_S = 300.0
"""A reading stands for no more seconds than this."""
_PACE = 3
_NO_POWER = -1.0
_PLAIN = Register()
# Candidate(…) without the detour through its __new__ in Python.
_new: Any = tuple.__new__


class Ledger(NamedTuple):
    """What is kept per counter. Energies in Wh, times in Unix seconds."""

    candidates: tuple[Candidate, ...]
    """In the order of their readings."""
    best: Candidate
    """The end of the cheapest path, one of the candidates."""
    at: float
    """Of the last reading, on the path or not."""
    pace_s: float
    """Seconds between the last two readings; 0 before the second."""
    mass: float
    """Observed seconds: the sum of what the readings stand for. A gap counts as one reading."""
    area: float
    """Integrated power, Wh."""
    power_W: float
    """At the last reading, in the direction of the counter; negative if it is not known."""
    turnover: Turnover
    doubt: float = 0.0
    """Up to this mass the last growth is more than the power told, and not confirmed by readings after it."""
    early: float = 0.0
    """When readings dated before the last one began; 0 if there are none."""
    decided: tuple[EnergyEvent, ...] = ()
    """Events that this reading decided."""


def advance(
    ledger: Ledger | None,
    value: float,
    at: float,
    zone: tzinfo | None,
    register: Register = _PLAIN,
    power_W: float | None = None,
) -> Ledger:
    """The ledger after one more reading: `value` in Wh at Unix second `at`.

    `power_W` is the device's power in the direction of the counter, not negative; None if it is not known.
    """
    power = _NO_POWER if power_W is None else power_W
    if ledger is None:
        return _first(value, at, zone, register, power)
    _, best, last_at, pace, mass, area, power_before, turnover, _, _, _ = ledger
    seconds = at - last_at
    if seconds <= 0.0:
        return _early(ledger, value, at, zone, register, power_W)
    regular = seconds <= MINUTE_S or seconds <= _PACE * pace
    pace = pace or _FIRST_S
    lower = power
    if power_before < lower:
        lower = power_before
    if lower >= 0.0:
        if regular:
            area += (power + power_before) * seconds / 7200
        if lower > turnover.peak_W:
            turnover = with_peak(turnover, lower, register)
    weight = _weight(seconds, pace)
    now = mass + weight
    if now >= turnover.review:
        turnover = reviewed(turnover, best.total, area, now, register)
    if regular and best.mass == mass and at < best.day.end:
        continued = _continued(ledger, value, at, seconds, now, area, power, turnover, register)
        if continued is not None:
            return continued
    steady_W, expected_W = (lower, (power + power_before) / 2) if lower >= 0.0 else (0.0, 0.0)
    sight = Sight(value, at, zone, register, turnover, weight, regular, area, steady_W, expected_W)
    return _explained(ledger, sight, pace, power)


def _weight(seconds: float, pace: float) -> float:
    """The seconds that a reading stands for; without min(), which costs more."""
    if pace < seconds:
        seconds = pace
    return seconds if seconds < _WEIGHT_S else _WEIGHT_S  # noqa: FURB136 - see above


def _continued(
    ledger: Ledger,
    value: float,
    at: float,
    seconds: float,
    now: float,
    area: float,
    power: float,
    turnover: Turnover,
    register: Register,
) -> Ledger | None:
    """The ledger if the reading continues the best path, which ends with the last reading; else None.

    That costs nothing, so that no other link can be cheaper and none is tried.
    """
    candidates, best, _, _, _, _, _, _, doubt, _, _ = ledger
    value_then, _, changed, _, cost, total, area_then, day, before, new_day, events = best
    growth = value - value_then
    if growth == 0.0:
        candidate = _new(
            Candidate, (value_then, at, changed, now, cost, total, area_then, day, before, new_day, events)
        )
        candidates = (*candidates[:-1], candidate)
    else:
        near_W, ratio, range_Wh = turnover.near_W, turnover.ratio, register.range_Wh
        told = register.step_Wh + CREDIT * ratio * (area - area_then) + near_W * (SLACK_S / 3600)
        bound = told + near_W * seconds / 3600
        if not 0.0 < growth <= bound or 0.0 < range_Wh <= bound:
            return None
        if growth > told and ratio and seconds <= MINUTE_S:
            doubt = now + ROLLOVER_PRICE
        candidate = _new(Candidate, (value, at, at, now, cost, total + growth, area, day, before, new_day, events))
        candidates = (*_spaced(candidates), candidate)
    oldest = candidates[0]
    since = now - oldest.mass
    if since >= RUN_PRICE + cost - oldest.cost and not events:
        candidates = candidates[1:]
    after: Ledger = _new(Ledger, (candidates, candidate, at, seconds, now, area, power, turnover, doubt, 0.0, ()))
    if len(candidates) > CANDIDATES or (events and since >= RUN_PRICE):
        return _pruned(after)
    return after


def _spaced(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Without the one that is no longer fresh, if it is near to the one before on the same path."""
    if len(candidates) > _FRESH:
        late, early = candidates[-_FRESH], candidates[-_FRESH - 1]
        if late.mass - early.mass < _APART_S and late.cost == early.cost:
            return candidates[:-_FRESH] + candidates[1 - _FRESH :]
    return candidates


def of_day(ledger: Ledger, date: str) -> DayEnergy | None:
    """The energy of a date, None for one that the ledger does not know; 0 for a day after its last reading."""
    _, best, _, _, mass, _, _, _, doubt, _, _ = ledger
    _, _, _, mass_then, _, total, _, day, before, _, _ = best
    today, _, _, base, basis, _ = day
    undecided = mass_then != mass or doubt > mass
    if date == today:
        if undecided and basis < Basis.ESTIMATED:
            basis = Basis.ESTIMATED
        energy: DayEnergy = _new(DayEnergy, (total - base if total > base else 0.0, basis))
        return energy
    if before is not None and date == before.date:
        return DayEnergy(max(0.0, base - before.base), before.basis)
    return DayEnergy(0.0, Basis.ESTIMATED if undecided else Basis.SEEN) if date > today else None


def shifted(ledger: Ledger, seconds: float, zone: tzinfo | None) -> Ledger:
    """The ledger when its readings turn out to be dated wrong by that much (the clock was set), or in another zone."""
    candidates = tuple(moved(each, seconds, zone, RELABEL_S) for each in ledger.candidates)
    best = candidates[_index(ledger)]
    return ledger._replace(candidates=candidates, best=best, at=ledger.at + seconds, early=0.0, decided=())


def resumed(ledger: Ledger, then: Ledger) -> Ledger:
    """`ledger` with the days that it had `then`, before the clock left for another day; it is back now."""
    day, before = then.best.day, then.best.before
    if not day.start <= ledger.at < day.end + RELABEL_S:
        return ledger
    candidates = tuple(each._replace(day=day, before=before) for each in ledger.candidates)
    return ledger._replace(candidates=candidates, best=candidates[_index(ledger)])


def thinned(ledger: Ledger, most: int = CANDIDATES) -> Ledger:
    """The ledger with about `most` candidates, the latest among them and at least one of each path."""
    candidates = list(ledger.candidates)
    while len(candidates) > most:
        old, fresh = candidates[:-_FRESH], candidates[-_FRESH:]
        kept = [
            each
            for number, each in enumerate(old)
            if number % 2 == 0 or each is ledger.best or each.cost != (*old, fresh[0])[number + 1].cost
        ]
        if len(kept) == len(old):
            break
        candidates = kept + fresh
    return ledger._replace(candidates=tuple(candidates))


def _index(ledger: Ledger) -> int:
    return next(number for number, each in enumerate(ledger.candidates) if each is ledger.best)


def _first(value: float, at: float, zone: tzinfo | None, register: Register, power: float) -> Ledger:
    turnover = first_turnover(register)
    sight = Sight(value, at, zone, register, turnover, 0.0, regular=True, area=0.0, steady_W=0.0, expected_W=0.0)
    candidate = first_sight(sight, _FIRST_S, 0.0)
    return Ledger((candidate,), candidate, at, 0.0, _FIRST_S, 0.0, power, turnover)


def _early(
    ledger: Ledger, value: float, at: float, zone: tzinfo | None, register: Register, power_W: float | None
) -> Ledger:
    """A reading dated before the last one."""
    early = ledger.early or at
    if at - early < PATIENCE_S:
        return ledger._replace(early=early, decided=())
    # Nobody knows how long ago that last reading really was.
    back = shifted(ledger, at - ledger.at - 1.0, zone)
    candidates = tuple(each._replace(changed=0.0) for each in back.candidates)
    back = back._replace(candidates=candidates, best=candidates[_index(back)])
    return advance(back, value, at, zone, register, power_W)


def _explained(ledger: Ledger, sight: Sight, pace: float, power: float) -> Ledger:
    """The ledger after a reading that does not simply continue the best path."""
    mass = ledger.mass
    now = mass + sight.weight
    cheapest, origin, link = RUN_PRICE * 1e3, ledger.best, None
    for each in reversed(ledger.candidates):
        cost = _cost(each, mass)
        if cost <= cheapest:
            found = explain(each, sight)
            if cost + found.price <= cheapest:
                cheapest, origin, link = cost + found.price, each, found
    may_begin = mass < _BEGINNING_S and all(each.changed == NEVER for each in ledger.candidates)
    if link is None or (may_begin and mass < cheapest):
        candidate, free = first_sight(sight, now, mass), False
    else:
        skipped = [each for each in ledger.candidates if each.mass > origin.mass]
        candidate, free = extended(origin, link, sight, now, cheapest, skipped, pace), link.price == 0.0
    best = candidate
    for each in ledger.candidates:
        cost = _cost(each, now)
        # An older one wins a tie against a price: nothing is believed before it explains more than it costs.
        if cost < _cost(best, now) or (best is candidate and cost == best.cost and not free):
            best = each
    doubt = ledger.doubt
    if link is not None and link.kind is Kind.CONTINUED and is_doubtful(origin, sight, link.growth):
        doubt = now + ROLLOVER_PRICE
    turnover = sight.turnover
    if link is not None and not sight.regular:  # no power was measured meanwhile
        turnover = turnover._replace(total_then=turnover.total_then + link.growth)
    candidates = (*ledger.candidates, candidate)
    seconds = sight.at - ledger.at
    return _pruned(Ledger(candidates, best, sight.at, seconds, now, sight.area, power, turnover, doubt))


def _cost(candidate: Candidate, mass: float) -> float:
    """Of the path that ends there and passes over all readings since."""
    since = mass - candidate.mass
    return candidate.cost + min(since, RUN_PRICE)


def _pruned(ledger: Ledger) -> Ledger:
    """Without candidates that cannot win any more; with the events that this decides."""
    best, mass = ledger.best, ledger.mass
    limit = _cost(best, mass) + RUN_PRICE
    candidates = tuple(
        each
        for each in ledger.candidates
        if each is best or (_cost(each, mass) < limit and mass - each.mass <= WINDOW_S)
    )
    ledger = ledger._replace(candidates=candidates)
    if len(candidates) > CANDIDATES:
        ledger = thinned(ledger)
    decided = 0
    for number, event in enumerate(best.events):
        if not all(each.events[number : number + 1] == (event,) for each in ledger.candidates):
            break
        decided = number + 1
    if not decided:
        return ledger
    place = _index(ledger)
    candidates = tuple(each._replace(events=each.events[decided:]) for each in ledger.candidates)
    return ledger._replace(candidates=candidates, best=candidates[place], decided=best.events[:decided])
