"""Adds a reading to a ledger. Pure.

`agent.energy.ledger` explains path, cost, price and candidate. The best path is the cheapest one so far. It ends at the
best candidate. `advance` handles the common reading quickly. `explained` handles all readings.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from math import inf
from typing import Any

from agent.energy.candidate import NEVER, Candidate
from agent.energy.ledger import CANDIDATES, FRESH, Ledger, shifted, thinned
from agent.energy.paths import extended, first_candidate
from agent.energy.transitions import (
    BEGIN_FACTOR,
    LATE_FACTOR,
    ROLLOVER_PRICE,
    RUN_PRICE,
    Observation,
    Transition,
    TransitionKind,
    confirmed,
    exceeds_power,
    explain,
)
from agent.energy.turnover import (
    FINER,
    MINUTE_S,
    SLACK_S,
    UNKNOWN_STEP_WH,
    Register,
    Turnover,
    first_turnover,
    reviewed,
    with_growth,
    with_peak,
)

PATIENCE_S = 600.0
"""Readings that are not later than `Ledger.at` are ignored, until the first and the last of them are this many seconds
apart. Then `Ledger.at` was wrong, and is moved back."""
WINDOW_S = 1800.0
"""A candidate is removed when it is older than this many observed seconds (`Ledger.observed_s`), unless it is the best
one."""
_APART_S = 90.0
"""`_thinner` removes a candidate if another one on the same path is less than this many observed seconds older."""
_BEGINNING_S = 120.0
"""Until this many seconds are observed, a new path may begin at any reading, because some devices start with a wrong
value. Once a path shows that the counter moved, no new path begins."""
_EVENTS = 8
"""Maximum number of undecided events of the best path. If there are more, the oldest ones are reported although they
are undecided, so that the state stays small."""
_FIRST_S = 15.0
"""The seconds that the first reading represents, and the maximum for the second one."""
_WEIGHT_S = 300.0
"""Maximum seconds that a reading represents. From the third reading on, the previous interval is a maximum too."""
_INTERVALS = 3
"""A reading is at the usual interval if it comes at most a minute after the previous reading, or at most this many
times the previous interval after it."""
_SLACK_H = SLACK_S / 3600
_NO_POWER = -1.0
_PLAIN = Register()
# Creates a Candidate or a Ledger without its __new__, which is slow Python code.
_new: Any = tuple.__new__


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

    This function itself handles only the common reading, for which `explained` gives the same result. The common
    reading continues the best path, which has no undecided events, at the usual interval and on the same local day. The
    counter does not fall, and its growth does not exceed the power limits. This continuation has no price, so no other
    transition can be cheaper.
    """
    power = _NO_POWER if power_W is None else power_W
    if ledger is None:
        return _first(value, at, zone, register, power)
    others, best, last_at, interval, observed_s, integral_Wh, power_before, turnover, unconfirmed, _, _ = ledger
    value_then, _, changed, observed_then, cost, total, integral_then, day, before, new_day, events = best
    seconds = at - last_at
    weight = seconds if seconds < interval else interval  # noqa: FURB136 - min() is slower
    now = observed_s + (weight if weight < _WEIGHT_S else _WEIGHT_S)  # noqa: FURB136 - min() is slower
    usual = seconds > 0.0 and (seconds <= MINUTE_S or seconds <= _INTERVALS * interval)
    common = usual and observed_then == observed_s and interval and at < day[2] and not events
    if not common:
        return explained(ledger, value, at, zone, register, power)
    if power > turnover.peak_W < power_before:
        turnover = with_peak(turnover, min(power, power_before), register)
    flow_Wh = (power + power_before) * seconds / 7200 if power_before >= 0.0 <= power else 0.0
    integral_Wh += flow_Wh
    if now >= turnover.review:
        turnover = reviewed(turnover, total, integral_Wh, now, register)
    growth = value - value_then
    if growth == 0.0:
        candidate = value, at, changed, now, cost, total, integral_then, day, before, new_day, ()
    else:
        step, range_Wh, near_W, ratio = register.step_Wh, register.range_Wh, turnover.near_W, turnover.ratio
        if not step:
            if growth < FINER * turnover.step_Wh:
                return explained(ledger, value, at, zone, register, power)
            step = turnover.step_Wh if seconds <= MINUTE_S else UNKNOWN_STEP_WH
        late = LATE_FACTOR * ratio * (integral_Wh - integral_then)
        bound = step + late + BEGIN_FACTOR * ratio * flow_Wh + near_W * (seconds + SLACK_S) / 3600
        begins = value_then == 0.0 == total
        plain = 0.0 < growth <= bound and not 0.0 < range_Wh <= bound and not begins
        if not plain or (not ratio and growth > near_W * seconds / 3600):
            return explained(ledger, value, at, zone, register, power)
        if ratio and seconds <= MINUTE_S and growth > step + late + near_W * _SLACK_H:
            unconfirmed = now + ROLLOVER_PRICE
        candidate = value, at, at, now, cost, total + growth, integral_Wh, day, before, new_day, ()
        others = others + (best,) if len(others) < CANDIDATES else _thinner(others, best)  # noqa: RUF005 - faster
    state = others, _new(Candidate, candidate), at, seconds, now, integral_Wh, power, turnover, unconfirmed, 0.0, ()
    return _new(Ledger, state)  # type: ignore[no-any-return]


def _thinner(others: tuple[Candidate, ...], best: Candidate) -> tuple[Candidate, ...]:
    """Return `others` and `best`, without the least useful of `others`.

    One is left out if it can never become the best again, or if another one on the same path is less than `_APART_S`
    older. The latest `FRESH` ones are kept.
    """
    limit = RUN_PRICE + best.cost - best.observed_s
    kept: list[Candidate] = []
    for each in others[:-FRESH]:
        near = kept and each.cost == kept[-1].cost and each.observed_s - kept[-1].observed_s < _APART_S
        if not near and each.cost - each.observed_s < limit:
            kept.append(each)
    return (*kept, *others[-FRESH:], best)


def _first(value: float, at: float, zone: tzinfo | None, register: Register, power: float) -> Ledger:
    turnover = first_turnover(register)
    reading = Observation(value, at, zone, register, turnover, turnover.step_Wh, 0.0, 0.0, True, 0.0, 0.0, 0.0, 0.0)
    return Ledger((), first_candidate(reading, _FIRST_S, 0.0), at, 0.0, _FIRST_S, 0.0, power, turnover)


def _early(ledger: Ledger, value: float, at: float, zone: tzinfo | None, register: Register, power: float) -> Ledger:
    """Return the ledger after a reading whose time is not later than `ledger.at`."""
    early = ledger.early or at
    if at - early < PATIENCE_S:
        return ledger._replace(early=early, decided=())
    # The real time of the last change of the counter is unknown. So `changed` becomes 0, which is long ago, and the
    # next growth may be late by any time.
    back = shifted(ledger, at - ledger.at - 1.0, zone)
    others = tuple(each._replace(changed=0.0) for each in back.others)
    back = back._replace(others=others, best=back.best._replace(changed=0.0))
    return explained(back, value, at, zone, register, power)


def explained(ledger: Ledger, value: float, at: float, zone: tzinfo | None, register: Register, power: float) -> Ledger:
    """Return the ledger after one more reading of any kind. `power` is negative if unknown."""
    seconds, observed_s = at - ledger.at, ledger.observed_s
    if seconds <= 0.0:
        return _early(ledger, value, at, zone, register, power)
    reading = _observed(ledger, value, at, zone, register, power)
    now = observed_s + reading.weight
    candidates = _pruned(ledger).candidates
    origin, transition, cost = _cheapest(candidates, ledger.best, observed_s, reading)
    exceeds = False
    if transition is None:
        new = first_candidate(reading, now, observed_s)
    else:
        skipped = [each for each in candidates if each.observed_s > origin.observed_s]
        transition = confirmed(transition, skipped, reading.step_Wh)
        exceeds = exceeds_power(origin, transition, skipped, reading)
        new = extended(origin, transition, reading, now, cost, skipped, ledger.interval_s)
    turnover = _learned(reading, origin, transition, usual=reading.regular and origin.observed_s == observed_s)
    free = transition is not None and transition.price == 0.0
    common = _continues(origin, reading, transition) and origin is ledger.best and not origin.events
    best = new if common else _best((*candidates, new), now, free=free)
    # If `origin` is earlier and higher than the end of the previous best path, that path skipped `origin` as too high.
    # The new reading continues from `origin`, but both may be glitches. So the growth is not confirmed yet.
    exceeds |= best is new and origin.observed_s < ledger.best.observed_s and origin.total > ledger.best.total
    unconfirmed_until = now + ROLLOVER_PRICE if exceeds else ledger.unconfirmed_until
    if best is new and not exceeds and origin.observed_s < unconfirmed_until - ROLLOVER_PRICE:
        unconfirmed_until = 0.0  # the path skips the reading with the growth that was not confirmed
    after = Ledger(ledger.others, new, at, seconds, now, reading.integral_Wh, power, turnover, unconfirmed_until)
    if common:
        if value != origin.value:
            few = len(ledger.others) < CANDIDATES
            others = (*ledger.others, origin) if few else _thinner(ledger.others, origin)
            after = after._replace(others=tuple(sorted(others, key=_time)) if new.events else others)
        return _pruned(after) if new.events else after
    return _pruned(after._replace(others=tuple(each for each in (*candidates, new) if each is not best), best=best))


def _observed(
    ledger: Ledger, value: float, at: float, zone: tzinfo | None, register: Register, power: float
) -> Observation:
    seconds, integral_Wh, turnover = at - ledger.at, ledger.integral_Wh, ledger.turnover
    regular = seconds <= max(MINUTE_S, _INTERVALS * ledger.interval_s)
    lower = min(power, ledger.power_W)
    steady_W, expected_W = (lower, (power + ledger.power_W) / 2) if lower >= 0.0 else (0.0, 0.0)
    flow_Wh = (power + ledger.power_W) * seconds / 7200 if lower >= 0.0 and regular else 0.0
    integral_Wh += flow_Wh
    if lower > turnover.peak_W:
        turnover = with_peak(turnover, lower, register)
    weight = min(seconds, ledger.interval_s or _FIRST_S, _WEIGHT_S)
    if ledger.observed_s + weight >= turnover.review:
        turnover = reviewed(turnover, ledger.best.total, integral_Wh, ledger.observed_s + weight, register)
    # Over a long interval, the power may have been higher than at the readings. So a large step is assumed.
    step = register.step_Wh or (turnover.step_Wh if seconds <= MINUTE_S else UNKNOWN_STEP_WH)
    return Observation(
        *(value, at, zone, register, turnover, step, seconds, weight, regular),
        *(integral_Wh, flow_Wh, steady_W, expected_W),
    )


def _learned(reading: Observation, origin: Candidate, transition: Transition | None, *, usual: bool) -> Turnover:
    """Return the turnover after a transition from `origin`, with a finer step of the register if the growth shows one.

    `usual`: whether `origin` is the previous reading, at the usual interval.
    """
    turnover = reading.turnover
    if transition is None:
        return turnover
    if not reading.regular:  # no power was measured in the gap
        turnover = turnover._replace(total_then=turnover.total_then + transition.growth)
    unknown = not reading.register.step_Wh
    if (
        unknown
        and usual
        and _continues(origin, reading, transition)
        and 0.0 < transition.growth < FINER * turnover.step_Wh
    ):
        turnover = with_growth(turnover, transition.growth)
    return turnover


def _continues(origin: Candidate, reading: Observation, transition: Transition | None) -> bool:
    """Whether the transition is a continuation without a price, within one local day."""
    return (
        transition == Transition(TransitionKind.CONTINUED, 0.0, reading.value - origin.value)
        and reading.at < origin.day.end
    )


def _best(candidates: tuple[Candidate, ...], observed_s: float, *, free: bool) -> Candidate:
    """Return the end of the cheapest path. `free`: whether the transition to the newest candidate has no price.

    If costs are equal, an older candidate wins, unless `free`. So a transition with a price must explain more seconds
    of readings than its price.
    """
    best = newest = candidates[-1]
    least = newest.cost
    for each in candidates[:-1]:
        cost = _cost(each, observed_s)
        if cost < least or (best is newest and cost == least and not free):
            best, least = each, cost
    return best


def _cheapest(
    candidates: Sequence[Candidate], best: Candidate, observed_s: float, reading: Observation
) -> tuple[Candidate, Transition | None, float]:
    """Return the origin, the transition and the cost of the cheapest path to a reading.

    The origin is the candidate before the reading on this path. If costs are equal, the path from `best` wins if its
    transition has no price, as in `advance`. Otherwise the path with the oldest origin wins. The transition is None if
    a new path begins at the reading.
    """
    cheapest, origin, transition, free = inf, best, None, False
    for each in reversed(candidates):
        cost = _cost(each, observed_s)
        if cost < cheapest or (cost == cheapest and not free):
            found = explain(each, reading)
            if cost + found.price < cheapest or (cost + found.price == cheapest and not free):
                cheapest, origin, transition = cost + found.price, each, found
                free = each.observed_s == best.observed_s and found.price == 0.0
    if observed_s < _BEGINNING_S and observed_s < cheapest and all(each.changed == NEVER for each in candidates):
        transition = None
    return origin, transition, cheapest


def _time(candidate: Candidate) -> float:
    return candidate.observed_s


def _cost(candidate: Candidate, observed_s: float) -> float:
    """Return the cost of the path that ends at `candidate` and skips all later readings."""
    since = observed_s - candidate.observed_s
    return candidate.cost + (since if since < RUN_PRICE else RUN_PRICE)  # noqa: FURB136 - min() is slower


def _pruned(ledger: Ledger) -> Ledger:
    """Remove candidates that can never become the best, and those that are too old (`WINDOW_S`) or too many.

    Events that the paths of all remaining candidates share at their beginning are decided. Move them to `decided`. If
    the best path has more than `_EVENTS` events, move its oldest ones too.
    """
    best, observed_s = ledger.best, ledger.observed_s
    limit = _cost(best, observed_s) + RUN_PRICE
    others = tuple(
        each for each in ledger.others if _cost(each, observed_s) < limit and observed_s - each.observed_s <= WINDOW_S
    )
    ledger = ledger._replace(others=others)
    if len(others) > CANDIDATES:
        ledger = thinned(ledger)
    if not best.events:
        return ledger
    early, late = best.events[:-_EVENTS], best.events[-_EVENTS:]
    others_events = [each.events[-_EVENTS:] for each in ledger.others]
    if early:
        others_events = [
            tuple(event for event in each.events if event not in early)[-_EVENTS:] for each in ledger.others
        ]
    shared = 0
    while shared < len(late) and all(events[shared : shared + 1] == (late[shared],) for events in others_events):
        shared += 1
    decided = early + late[:shared]
    if not decided:
        return ledger
    others = tuple(
        each._replace(events=events[shared:]) for each, events in zip(ledger.others, others_events, strict=True)
    )
    return ledger._replace(others=others, best=best._replace(events=late[shared:]), decided=decided)
