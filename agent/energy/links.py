"""What a counter can have done between two readings, and what each explanation costs. Pure.

Prices are in seconds: an explanation wins when it explains more seconds of readings than it costs. A growth that counts
is never more than the register's step plus what the device can turn over in the time.
"""

from __future__ import annotations

from datetime import tzinfo
from enum import Enum
from typing import NamedTuple

from agent.energy.candidate import NEVER, Candidate, day_offset
from agent.energy.days import day_of
from agent.energy.turnover import Register, Turnover

SLACK_S = 5.0
"""Devices update their counters at moments of their own."""
CREDIT = 1.5
"""A counter may be late: it can make up this multiple of the energy that the power told since it last moved."""
MINUTE_S = 60.0
DAILY_S = 3 * 3600.0
"""How far a device's midnight may be from the local one: device clocks ignore summer time, run on UTC, or drift."""

LATE_PRICE = ROLLOVER_PRICE = JITTER_PRICE = 60.0
ESTIMATED_PRICE = 300.0
DAY_PRICE = 10.0
RESET_PRICE = 600.0
RUN_PRICE = 1000.0
"""Readings in a row that are passed over cost no more than this: less than a reset and another one back."""
_ALONE = 1.5
"""A late growth costs at least so many weights of its reading: one reading confirms nothing."""


class Kind(Enum):
    """What a counter did between two readings."""

    CONTINUED = "continued"
    LATE = "late"
    """More than at the usual pace, but possible since the counter last moved."""
    ESTIMATED = "estimated"
    """Possible only with the highest power that the site lets through, or with an unknown number of rollovers."""
    ROLLED_OVER = "rolled_over"
    NEW_DAY = "new_day"
    """The device set its daily register to zero."""
    RESET = "reset"
    REPLACED = "replaced"


class Link(NamedTuple):
    """The cheapest explanation of a pair of readings."""

    kind: Kind
    price: float
    growth: float


class Sight(NamedTuple):
    """A reading with its circumstances."""

    value: float
    at: float
    zone: tzinfo | None
    register: Register
    turnover: Turnover
    weight: float
    """Seconds that the reading stands for."""
    regular: bool
    """It comes at the usual pace after the reading before."""
    area: float
    """Integrated power until now, Wh."""
    steady_W: float
    """The lower of the powers of this reading and the one before; 0 where they are not known."""
    expected_W: float
    """The mean of the two."""


def explain(before: Candidate, sight: Sight) -> Link:
    """The cheapest explanation of `sight` after `before`."""
    register = sight.register
    seconds = sight.at - before.at
    if register.daily and seconds > 2 * DAILY_S:
        midnight = _last_certain_midnight(before, sight)
        if before.at + DAILY_S < midnight:
            return _of_another_day(before, sight, midnight)
    bound = _bound(before, sight)
    if sight.value >= before.value:
        return _rise(before, sight, bound)
    return _fall(before, sight, bound)


def is_doubtful(before: Candidate, sight: Sight, growth: float) -> bool:
    """Whether a growth that is possible is more than the measured power tells."""
    turnover = sight.turnover
    told = CREDIT * turnover.ratio * (sight.area - before.area) + turnover.near_W * SLACK_S / 3600
    return turnover.ratio > 0.0 and sight.at - before.at <= MINUTE_S and growth > sight.register.step_Wh + told


def _bound(before: Candidate, sight: Sight) -> float:
    """The most that the counter can have grown at the usual power, Wh."""
    turnover, seconds = sight.turnover, sight.at - before.at
    power = turnover.near_W if sight.regular or seconds <= MINUTE_S else turnover.gap_W
    late = CREDIT * turnover.ratio * (sight.area - before.area)
    return sight.register.step_Wh + power * (seconds + SLACK_S) / 3600 + late


def _rise(before: Candidate, sight: Sight, bound: float) -> Link:
    register, turnover = sight.register, sight.turnover
    rise = sight.value - before.value
    if before.value == before.total == 0.0 and before.changed == NEVER and not register.daily:
        # It was only seen at 0: a device that starts shows that, whatever it counted before.
        bound = min(bound, register.step_Wh + turnover.near_W * MINUTE_S / 3600)
    if rise <= bound:
        turns = _turns(rise, before, sight, bound)
        return Link(Kind.ESTIMATED if turns else Kind.CONTINUED, 0.0, rise + turns * register.range_Wh)
    rest = sight.at - before.changed + SLACK_S
    alone = _ALONE * sight.weight
    if rise <= register.step_Wh + turnover.gap_W * rest / 3600:
        return Link(Kind.LATE, max(LATE_PRICE, alone), rise)
    if rise <= register.step_Wh + turnover.most_W * rest / 3600:
        return Link(Kind.ESTIMATED, max(ESTIMATED_PRICE, alone), rise)
    # Nobody replaces a device by one that produced more on the same day.
    return Link(Kind.REPLACED, RUN_PRICE if register.daily else RESET_PRICE, 0.0)


def _fall(before: Candidate, sight: Sight, bound: float) -> Link:
    register, value = sight.register, sight.value
    rise = value - before.value
    if -rise <= register.jitter:
        return Link(Kind.CONTINUED, JITTER_PRICE, rise)
    if register.range_Wh:
        around = rise + register.range_Wh
        if 0.0 <= around <= bound:
            turns = _turns(around, before, sight, bound)
            price = max(ROLLOVER_PRICE, _ALONE * sight.weight)
            kind = Kind.ESTIMATED if turns else Kind.ROLLED_OVER
            return Link(kind, price, around + turns * register.range_Wh)
    if register.daily and 0.0 <= value <= bound and _can_begin_a_day(before, sight):
        return Link(Kind.NEW_DAY, DAY_PRICE, max(value, min(bound, _unread(before, sight))))
    from_zero = 0.0 <= value <= min(bound, before.value / 2)
    return Link(Kind.RESET if from_zero else Kind.REPLACED, RESET_PRICE, value if from_zero else 0.0)


def _of_another_day(before: Candidate, sight: Sight, midnight: float) -> Link:
    """The device's own midnight passed: what a daily register shows is the energy since then."""
    value, register = sight.value, sight.register
    if not 0.0 <= value <= register.step_Wh + sight.turnover.gap_W * (sight.at - midnight + DAILY_S) / 3600:
        return Link(Kind.REPLACED, RESET_PRICE, 0.0)
    # An inverter that wakes up shows the value of the day before for a while.
    unchanged = value > 0.0 and abs(value - before.value) < register.step_Wh / 2
    return Link(Kind.NEW_DAY, RESET_PRICE if unchanged else 0.0, value)


def _turns(growth: float, before: Candidate, sight: Sight, bound: float) -> int:
    """How often the register went all the way around, beyond `growth`: the number next to what the power tells."""
    size, turnover = sight.register.range_Wh, sight.turnover
    if not size or growth + size > bound:
        return 0
    expected = turnover.ratio * sight.expected_W * (sight.at - before.at) / 3600
    return max(0, min(int((bound - growth) / size), round((expected - growth) / size)))


def _unread(before: Candidate, sight: Sight) -> float:
    """What a daily register counted before it was set to zero and nobody read, by the measured power, Wh."""
    seconds = sight.at - before.at
    if seconds > MINUTE_S:
        return 0.0
    ratio = sight.turnover.ratio
    # Less than a step since the register last moved, then what the lower of two powers makes certain.
    since_step = ratio * (sight.area - before.area - sight.expected_W * seconds / 3600)
    return min(max(0.0, since_step), sight.register.step_Wh) + ratio * sight.steady_W * seconds / 3600


def _last_certain_midnight(before: Candidate, sight: Sight) -> float:
    """The latest moment at which the device began a day, as far as that is certain."""
    offset = day_offset(before.new_day, sight.zone)
    return day_of(sight.at - DAILY_S - offset, sight.zone)[1] + offset


def _can_begin_a_day(before: Candidate, sight: Sight) -> bool:
    """Whether the device's day can have begun between the two readings."""
    for offset in {0.0, day_offset(before.new_day, sight.zone)}:
        if day_of(sight.at + DAILY_S - offset, sight.zone)[1] + offset >= before.at - DAILY_S:
            return True
    return False
