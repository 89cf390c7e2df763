"""Calculates the energy of the local day from the readings of a counter. Pure.

A `Ledger` follows one counter. A link (`links`) explains a reading from an earlier one: the counter continued, was
late, rolled over, was reset, or was replaced. A path is a chain of links. A path may skip a reading; this costs the
seconds that the reading represents. Each link has a price in seconds, so that it competes with the time it would skip.
The total is the growth along the cheapest path. The energy of a day is the total now minus the total at local midnight,
interpolated between the readings around midnight. A reading is undecided while another path can still become the
cheapest: usually a quarter of an hour, at most half an hour.

Invariants:

1. If all links of a path are continuations, the total is the growth between its first and last reading. Glitches,
   restarts of the agent and missed readings between them do not change it.
2. A link that explains fewer seconds of readings than its price has no lasting effect, even if this happens often.
3. A link adds at most the register's step plus what the device can turn over in the time (`turnover`).
4. A rollover is possible only in a register with a known range.
5. Undecided readings survive a restart, because the candidates are part of the state.
6. An energy of a day is never negative.
7. Lost or estimated energy is declared in the `Basis` of its day. Each event is reported once, when it is decided.
8. The device's clock has no effect. A daily register is followed like any counter and may be set to zero at any hour.
   Its value is used directly only at the first reading and after a gap over the device's midnight.

From the best candidate, a path to any new reading costs at most `RUN_PRICE`. So a candidate that costs `RUN_PRICE` more
than the best one can never become the cheapest, and is removed.
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
"""If the time goes back, readings are ignored for this long. After that, the times before the jump were wrong."""
WINDOW_S = 1800.0
"""After this many observed seconds, a reading is decided by the path that is then the cheapest."""
RELABEL_S = 12 * 3600.0
"""If the clock is set by more than this, the dates of earlier days are not reliable."""
CANDIDATES = 24
"""Maximum number of candidates. More are thinned, because neighbours on one path differ little."""
_FRESH = 6
"""The latest candidates, which are never thinned."""
_APART_S = 60.0
"""An older candidate is removed if it is nearer than this to the one before it on the same path."""
_BEGINNING_S = 120.0
"""During this time, a path may begin at a later reading if the counter has not moved: some devices start with a wrong
value."""
_FIRST_S = 15.0
"""The seconds that the first reading represents."""
_WEIGHT_S = 300.0
"""Maximum of the seconds that a reading represents."""
_PACE = 3
_NO_POWER = -1.0
_PLAIN = Register()
# Creates a Candidate without its __new__, which is slow Python code.
_new: Any = tuple.__new__


class Ledger(NamedTuple):
    """The state of one counter. Energies in Wh, times in Unix seconds."""

    candidates: tuple[Candidate, ...]
    """Sorted by the time of their readings."""
    best: Candidate
    """The end of the cheapest path. It is one of the candidates."""
    at: float
    """Time of the last reading, on the path or not."""
    pace_s: float
    """Seconds between the last two readings; 0 before the second."""
    mass: float
    """Observed seconds: the sum of the seconds that the readings represent. A gap counts as one reading."""
    area: float
    """Integrated power, Wh."""
    power_W: float
    """Power at the last reading, in the direction of the counter; negative if unknown."""
    turnover: Turnover
    doubt: float = 0.0
    """While `mass` is below this, the last growth is not confirmed: the measured power does not explain it."""
    early: float = 0.0
    """If the time went back: the time of the first reading after that; else 0."""
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
    """Return the ledger after one more reading: `value` in Wh at Unix second `at`.

    `power_W` is the device's power in the direction of the counter, not negative; None if unknown.
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
    """Return the seconds that a reading represents. It does not use min(), which is slower."""
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
    """Return the ledger if the reading continues the best path, which ends with the last reading; else None.

    A continuation has no price. No other link can be cheaper, so none is tried.
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
    """Remove the candidate that is no longer fresh, if it is close to the one before it on the same path."""
    if len(candidates) > _FRESH:
        late, early = candidates[-_FRESH], candidates[-_FRESH - 1]
        if late.mass - early.mass < _APART_S and late.cost == early.cost:
            return candidates[:-_FRESH] + candidates[1 - _FRESH :]
    return candidates


def of_day(ledger: Ledger, date: str) -> DayEnergy | None:
    """Return the energy of a date: 0 for a day after the last reading, None for any other day without data."""
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
    """Return the ledger with all times moved by `seconds` (the clock was set), in time zone `zone`."""
    candidates = tuple(moved(each, seconds, zone, RELABEL_S) for each in ledger.candidates)
    best = candidates[_index(ledger)]
    return ledger._replace(candidates=candidates, best=best, at=ledger.at + seconds, early=0.0, decided=())


def resumed(ledger: Ledger, then: Ledger) -> Ledger:
    """Return `ledger` with the days that it had before the clock jumped (`then`). The clock has come back."""
    day, before = then.best.day, then.best.before
    if not day.start <= ledger.at < day.end + RELABEL_S:
        return ledger
    candidates = tuple(each._replace(day=day, before=before) for each in ledger.candidates)
    return ledger._replace(candidates=candidates, best=candidates[_index(ledger)])


def thinned(ledger: Ledger, most: int = CANDIDATES) -> Ledger:
    """Return the ledger with about `most` candidates. It keeps the latest ones and at least one of each path."""
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
    """Handle a reading with a time before the last one."""
    early = ledger.early or at
    if at - early < PATIENCE_S:
        return ledger._replace(early=early, decided=())
    # The real time of that last reading is unknown.
    back = shifted(ledger, at - ledger.at - 1.0, zone)
    candidates = tuple(each._replace(changed=0.0) for each in back.candidates)
    back = back._replace(candidates=candidates, best=candidates[_index(back)])
    return advance(back, value, at, zone, register, power_W)


def _explained(ledger: Ledger, sight: Sight, pace: float, power: float) -> Ledger:
    """Return the ledger after a reading that is not a simple continuation of the best path."""
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
        # With equal cost, the older one wins if the new one has a price: an explanation must save more than its price.
        if cost < _cost(best, now) or (best is candidate and cost == best.cost and not free):
            best = each
    doubt = ledger.doubt
    if link is not None and link.kind is Kind.CONTINUED and is_doubtful(origin, sight, link.growth):
        doubt = now + ROLLOVER_PRICE
    turnover = sight.turnover
    if link is not None and not sight.regular:  # no power was measured in the gap
        turnover = turnover._replace(total_then=turnover.total_then + link.growth)
    candidates = (*ledger.candidates, candidate)
    seconds = sight.at - ledger.at
    return _pruned(Ledger(candidates, best, sight.at, seconds, now, sight.area, power, turnover, doubt))


def _cost(candidate: Candidate, mass: float) -> float:
    """Return the cost of the path that ends at `candidate` and skips all later readings."""
    since = mass - candidate.mass
    return candidate.cost + min(since, RUN_PRICE)


def _pruned(ledger: Ledger) -> Ledger:
    """Remove candidates that can never become the best, and collect the events that this decides."""
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
