"""Explains two readings of a counter by a link, with a price for each kind of link. Pure.

Prices are in seconds. An explanation is used if it explains more seconds of readings than its price. The growth of a
link is at most the register's step plus what the device can turn over in the time.
"""

from __future__ import annotations

from datetime import tzinfo
from enum import Enum
from typing import NamedTuple

from agent.energy.candidate import NEVER, Candidate, day_offset
from agent.energy.days import day_of
from agent.energy.turnover import SLACK_S, Register, Turnover, proven_power

CREDIT = 1.5
"""A counter may be late. It may then grow by this factor times the integrated power since its last change."""
MINUTE_S = 60.0
DAILY_S = 3 * 3600.0
"""Maximum distance of the device's midnight from the local one. Device clocks ignore summer time, use UTC, or drift."""

LATE_PRICE = ROLLOVER_PRICE = JITTER_PRICE = 60.0
ESTIMATED_PRICE = 300.0
DAY_PRICE = 10.0
RESET_PRICE = 600.0
RUN_PRICE = 1000.0
"""Maximum cost of skipped readings in a row. It is less than two resets."""
_ALONE = 1.5
"""A late growth costs at least this factor times the weight of its reading, because one reading is no confirmation."""


class Kind(Enum):
    """What a counter did between two readings."""

    CONTINUED = "continued"
    LATE = "late"
    """More than the usual power allows, but possible since the last change of the counter."""
    ESTIMATED = "estimated"
    """Possible only with the maximum power of the site, or with an unknown number of rollovers."""
    ROLLED_OVER = "rolled_over"
    NEW_DAY = "new_day"
    """The device set its daily register to zero."""
    RESET = "reset"
    REPLACED = "replaced"


class Link(NamedTuple):
    """The cheapest explanation of two readings."""

    kind: Kind
    price: float
    growth: float


class Sight(NamedTuple):
    """A new reading, with the data that explain it."""

    value: float
    at: float
    zone: tzinfo | None
    register: Register
    turnover: Turnover
    step_Wh: float
    """The step of the register, known or learned."""
    weight: float
    """The seconds that the reading represents."""
    regular: bool
    """Whether the time since the previous reading is usual."""
    area: float
    """Integrated power until this reading, Wh."""
    steady_W: float
    """The lower power of this reading and the previous one; 0 if unknown."""
    expected_W: float
    """The mean power of this reading and the previous one; 0 if unknown."""


def explain(before: Candidate, sight: Sight) -> Link:
    """Return the cheapest link from `before` to `sight`."""
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


def is_doubtful(before: Candidate, link: Link | None, sight: Sight) -> bool:
    """Whether the growth of a continuation exceeds the measured power."""
    turnover = sight.turnover
    if link is None or link.kind is not Kind.CONTINUED:
        return False
    told = CREDIT * turnover.ratio * (sight.area - before.area) + turnover.near_W * SLACK_S / 3600
    return turnover.ratio > 0.0 and sight.at - before.at <= MINUTE_S and link.growth > sight.step_Wh + told


def _bound(before: Candidate, sight: Sight) -> float:
    """Return the maximum growth of the counter at the usual power, Wh."""
    turnover = sight.turnover
    return _at_power(turnover.gap_W if _in_gap(before, sight) else turnover.near_W, before, sight)


def _proven(before: Candidate, sight: Sight, bound: float) -> float:
    """Return the growth up to which a growth is not an estimate, Wh; at most `bound`."""
    if not _in_gap(before, sight):
        return bound
    return min(bound, _at_power(proven_power(sight.turnover, sight.register), before, sight))


def _in_gap(before: Candidate, sight: Sight) -> bool:
    return not sight.regular and sight.at - before.at > MINUTE_S


def _at_power(power_W: float, before: Candidate, sight: Sight) -> float:
    late = CREDIT * sight.turnover.ratio * (sight.area - before.area)
    return sight.step_Wh + power_W * (sight.at - before.at + SLACK_S) / 3600 + late


def _rise(before: Candidate, sight: Sight, bound: float) -> Link:
    register, turnover = sight.register, sight.turnover
    rise = sight.value - before.value
    if before.value == before.total == 0.0 and before.changed == NEVER and not register.daily:
        # All readings so far are 0. A device that starts shows 0 at first, whatever its counter is.
        bound = min(bound, sight.step_Wh + turnover.near_W * MINUTE_S / 3600)
    if rise <= bound:
        turns = _turns(rise, before, sight, bound)
        estimated = turns or rise > _proven(before, sight, bound)
        return Link(Kind.ESTIMATED if estimated else Kind.CONTINUED, 0.0, rise + turns * register.range_Wh)
    rest = sight.at - before.changed + SLACK_S
    alone = _ALONE * sight.weight
    if rise <= sight.step_Wh + turnover.gap_W * rest / 3600:
        estimated = rise > sight.step_Wh + proven_power(turnover, register) * rest / 3600
        return Link(Kind.ESTIMATED if estimated else Kind.LATE, max(LATE_PRICE, alone), rise)
    if rise <= sight.step_Wh + turnover.most_W * rest / 3600:
        return Link(Kind.ESTIMATED, max(ESTIMATED_PRICE, alone), rise)
    # A replacement for a daily register is unlikely: the new device would have produced more on the same day.
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
    """Explain a daily register after the device's midnight: its value is the energy since then."""
    value = sight.value
    if not 0.0 <= value <= sight.step_Wh + sight.turnover.gap_W * (sight.at - midnight + DAILY_S) / 3600:
        return Link(Kind.REPLACED, RESET_PRICE, 0.0)
    # An inverter that wakes up may show the value of the previous day for some time.
    unchanged = value > 0.0 and abs(value - before.value) < sight.step_Wh / 2
    return Link(Kind.NEW_DAY, RESET_PRICE if unchanged else 0.0, value)


def _turns(growth: float, before: Candidate, sight: Sight, bound: float) -> int:
    """Return the number of additional rollovers that fits the measured power best."""
    size, turnover = sight.register.range_Wh, sight.turnover
    if not size or growth + size > bound:
        return 0
    expected = turnover.ratio * sight.expected_W * (sight.at - before.at) / 3600
    return max(0, min(int((bound - growth) / size), round((expected - growth) / size)))


def _unread(before: Candidate, sight: Sight) -> float:
    """Estimate, by the power, what a daily register counted between the last reading and its return to zero, Wh."""
    seconds = sight.at - before.at
    if seconds > MINUTE_S:
        return 0.0
    ratio = sight.turnover.ratio
    # At most one step since the last change of the register, plus the energy of the lower of the two powers.
    since_step = ratio * (sight.area - before.area - sight.expected_W * seconds / 3600)
    return min(max(0.0, since_step), sight.step_Wh) + ratio * sight.steady_W * seconds / 3600


def _last_certain_midnight(before: Candidate, sight: Sight) -> float:
    """Return the latest time at which the device has certainly begun a day."""
    offset = day_offset(before.new_day, sight.zone)
    return day_of(sight.at - DAILY_S - offset, sight.zone)[1] + offset


def _can_begin_a_day(before: Candidate, sight: Sight) -> bool:
    """Whether the device's day may have begun between the two readings."""
    for offset in {0.0, day_offset(before.new_day, sight.zone)}:
        if day_of(sight.at + DAILY_S - offset, sight.zone)[1] + offset >= before.at - DAILY_S:
            return True
    return False
