"""Transitions: what a counter did between two readings, with a price for each kind. Pure.

`agent.energy.ledger` explains path, cost, price and candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from enum import Enum, auto
from typing import NamedTuple

from agent.energy.candidate import DAILY_S, NEVER, Candidate, day_offset
from agent.energy.days import day_of
from agent.energy.turnover import MINUTE_S, SLACK_S, Register, Turnover, proven_power, proven_step

LATE_FACTOR = 1.5
"""The possible growth includes this factor times `Turnover.ratio` times the power integrated since the last change of
the counter, because a counter may be updated late."""
BEGIN_FACTOR = 1.0
"""The possible growth includes this factor times `Turnover.ratio` times the power integrated since the previous
reading. If a load begins right after the previous reading, its energy is twice the integrated power, because the
integral uses the mean of the powers at both readings."""
DAY_S = 24 * 3600.0

# The prices of transitions, in seconds.
LATE_PRICE = ROLLOVER_PRICE = JITTER_PRICE = 60.0
ESTIMATED_PRICE = 300.0
DAY_PRICE = 10.0
RESET_PRICE = 600.0
RUN_PRICE = 1000.0
"""Maximum cost of skipped readings in a row, and the price of a replacement by which a daily register rises. It is less
than the price of two resets."""
FITS_SHARE = 0.05
"""If the counter can grow in a gap by more than this share of the register's range, the growth in the gap is an
estimate, because the counter of a replacement device would often fit by chance."""
_SINGLE = 1.5
"""A late growth, and a fall that a rollover explains, cost at least this factor times the weight of the reading,
whether they are ESTIMATED or not. It is cheaper to skip this one reading. So the growth counts only after another
reading confirms it."""


class TransitionKind(Enum):
    """What a counter did between two readings."""

    CONTINUED = auto()
    LATE = auto()
    """The growth is too large for the time between the two readings, but possible since the last change of the
    counter."""
    ESTIMATED = auto()
    """The growth is possible but not certain, for one of these reasons:

    - The power seen so far does not explain it.
    - The counter probably rolled over more often than the two readings show.
    - Skipped readings show more growth.
    - After a gap, the counter of a replacement device would often fit by chance, because the range of the register is
      small.
    """
    ROLLED_OVER = auto()
    NEW_DAY = auto()
    """The device set its daily register to zero."""
    RESET = auto()
    REPLACED = auto()


class Transition(NamedTuple):
    """An explanation of the difference of two readings. `price` in seconds, `growth` in Wh."""

    kind: TransitionKind
    price: float
    growth: float


class Observation(NamedTuple):
    """A new reading, with the data that explain it. `value` in Wh, `at` in Unix seconds."""

    value: float
    at: float
    zone: tzinfo | None
    register: Register
    turnover: Turnover
    step_Wh: float
    """The step of the register: known, learned, or assumed (`UNKNOWN_STEP_WH`)."""
    interval_s: float
    """The seconds since the previous reading."""
    weight: float
    """The seconds that the reading represents."""
    regular: bool
    """Whether the time since the previous reading is usual. If not, there is a gap: readings are missing."""
    integral_Wh: float
    """Power integrated from the first reading to this one, Wh."""
    flow_Wh: float
    """Power integrated since the previous reading, Wh; 0 over a gap or if a power is unknown."""
    steady_W: float
    """The lower power of this reading and the previous one; 0 if unknown."""
    expected_W: float
    """The mean power of this reading and the previous one; 0 if unknown."""


def explain(before: Candidate, reading: Observation) -> Transition:
    """Return the transition that explains the difference between `before` and `reading`."""
    if reading.register.daily and reading.at - before.at > 2 * DAILY_S:
        midnight = _last_certain_midnight(before, reading)
        if before.at + DAILY_S < midnight:
            return _of_another_day(before, reading, midnight)
    bound = _bound(before, reading)
    if reading.value >= before.value:
        return _rise(before, reading, bound)
    return _fall(before, reading, bound)


def exceeds_power(
    before: Candidate, transition: Transition, skipped: Sequence[Candidate], reading: Observation
) -> bool:
    """Whether the growth of a continuation exceeds the measured power; False for any other kind of transition.

    If the measured power was not compared with the counter yet, the limit is `_near_power`. `skipped` are the readings
    between `before` and `reading`. If a skipped value is between the values of `before` and `reading`, it divides the
    growth into parts. Each part that lasts at most `MINUTE_S` is checked.
    """
    if transition.kind is not TransitionKind.CONTINUED:
        return False
    for each in skipped:
        if before.value <= each.value <= reading.value:
            if _exceeds(before, each, reading):
                return True
            before = each
    return _exceeds(before, reading, reading)


def _exceeds(before: Candidate, after: Candidate | Observation, reading: Observation) -> bool:
    turnover, seconds, growth = reading.turnover, after.at - before.at, after.value - before.value
    if seconds > MINUTE_S:
        return False
    if turnover.ratio:
        measured = LATE_FACTOR * turnover.ratio * (after.integral_Wh - before.integral_Wh)
        return growth > reading.step_Wh + measured + turnover.near_W * SLACK_S / 3600
    step = proven_step(turnover, reading.register)
    return growth > step + _near_power(reading) * max(seconds, SLACK_S) / 3600


def confirmed(transition: Transition, skipped: Sequence[Candidate], step_Wh: float) -> Transition:
    """Return `transition`, or an ESTIMATED one if it is a continuation and skipped readings show more growth.

    `skipped` are the readings that the transition skips. Only growth between skipped readings on the same path counts.
    If they show more growth than `transition`, the counter may have been set to zero and may have reached its earlier
    value again.
    """
    if transition.kind is not TransitionKind.CONTINUED:
        return transition
    # Cost → total at the first skipped reading with this cost. Readings with equal cost count as readings of one path,
    # because the cost of a path changes only when it skips a reading or has a transition with a price.
    begins: dict[float, float] = {}
    grown = max((each.total - begins.setdefault(each.cost, each.total) for each in skipped), default=0.0)
    return transition._replace(kind=TransitionKind.ESTIMATED) if grown > transition.growth + step_Wh else transition


def _bound(before: Candidate, reading: Observation) -> float:
    """Return the maximum growth of the counter from `before` to `reading`, Wh."""
    return _at_power(_near_power(reading) if reading.regular else reading.turnover.gap_W, before, reading)


def _near_power(reading: Observation) -> float:
    """Return the maximum power between readings at the usual interval, W."""
    turnover = reading.turnover
    return turnover.near_W if turnover.ratio else min(turnover.most_W, max(turnover.near_W, 2 * reading.expected_W))


def _proven(before: Candidate, reading: Observation, bound: float) -> float:
    """Return the largest growth that the power seen so far explains, Wh; at most `bound`."""
    if reading.regular:
        return bound
    at_ends = 2 * reading.expected_W * max(1.0, reading.turnover.ratio)
    return min(bound, _at_power(max(at_ends, proven_power(reading.turnover, reading.register)), before, reading))


def _at_power(power_W: float, before: Candidate, reading: Observation) -> float:
    """Return the maximum growth of the counter from `before` to `reading` at `power_W`, Wh."""
    late = reading.turnover.ratio * (
        LATE_FACTOR * (reading.integral_Wh - before.integral_Wh) + BEGIN_FACTOR * reading.flow_Wh
    )
    return reading.step_Wh + power_W * (reading.at - before.at + SLACK_S) / 3600 + late


def _rise(before: Candidate, reading: Observation, bound: float) -> Transition:
    register, turnover = reading.register, reading.turnover
    rise = reading.value - before.value
    if before.value == before.total == 0.0 and before.changed == NEVER and not register.daily:
        # All readings so far are 0. A device that starts may show 0 before it shows its counter.
        bound = min(bound, reading.step_Wh + turnover.near_W * MINUTE_S / 3600)
    if rise <= bound:
        turns = _turns(rise, before, reading, bound)
        estimated = turns or rise > _proven(before, reading, bound) or _fits_any(reading, bound)
        return Transition(
            TransitionKind.ESTIMATED if estimated else TransitionKind.CONTINUED, 0.0, rise + turns * register.range_Wh
        )
    # `unchanged_s` is the time since the last change of the counter. If `changed` is NEVER, this time is not known. If
    # `before` is then the previous reading and there is no gap, `unchanged_s` is the time since `before`. Otherwise it
    # is negative, so that the rise is a replacement.
    first = before.changed == NEVER and reading.regular and reading.at - before.at <= reading.interval_s
    since = before.at if first else before.changed
    unchanged_s = reading.at - since + SLACK_S
    single = _SINGLE * reading.weight
    if rise <= reading.step_Wh + turnover.gap_W * unchanged_s / 3600:
        estimated = rise > reading.step_Wh + proven_power(turnover, register) * unchanged_s / 3600
        return Transition(TransitionKind.ESTIMATED if estimated else TransitionKind.LATE, max(LATE_PRICE, single), rise)
    if rise <= reading.step_Wh + turnover.most_W * unchanged_s / 3600:
        return Transition(TransitionKind.ESTIMATED, max(ESTIMATED_PRICE, single), rise)
    # A daily register seldom rises by a replacement: the new device must have counted more on this day than the old
    # one.
    return Transition(TransitionKind.REPLACED, RUN_PRICE if register.daily else RESET_PRICE, 0.0)


def _fall(before: Candidate, reading: Observation, bound: float) -> Transition:
    register, value = reading.register, reading.value
    rise = value - before.value
    if -rise <= register.jitter:
        return Transition(TransitionKind.CONTINUED, JITTER_PRICE, rise)
    if register.range_Wh:
        around = rise + register.range_Wh
        if 0.0 <= around <= bound:
            turns = _turns(around, before, reading, bound)
            price = max(ROLLOVER_PRICE, _SINGLE * reading.weight)
            kind = TransitionKind.ESTIMATED if turns or _fits_any(reading, bound) else TransitionKind.ROLLED_OVER
            return Transition(kind, price, around + turns * register.range_Wh)
    if register.daily and 0.0 <= value <= bound and _can_begin_a_day(before, reading):
        return Transition(TransitionKind.NEW_DAY, DAY_PRICE, max(value, min(bound, _unread(before, reading))))
    from_zero = 0.0 <= value <= min(bound, before.value / 2)
    return Transition(
        TransitionKind.RESET if from_zero else TransitionKind.REPLACED, RESET_PRICE, value if from_zero else 0.0
    )


def _of_another_day(before: Candidate, reading: Observation, midnight: float) -> Transition:
    """Explain a daily register after the device's midnight: its value is the energy since that midnight."""
    value = reading.value
    if not 0.0 <= value <= reading.step_Wh + reading.turnover.gap_W * (reading.at - midnight + DAILY_S) / 3600:
        return Transition(TransitionKind.REPLACED, RESET_PRICE, 0.0)
    # An inverter that wakes up may show the value of the previous day for some time.
    repeated = value > 0.0 and abs(value - before.value) < reading.step_Wh / 2
    return Transition(TransitionKind.NEW_DAY, RESET_PRICE if repeated else 0.0, value)


def _fits_any(reading: Observation, bound: float) -> bool:
    """Whether the growth is in a gap, and `bound` is so large that the counter of a replacement device would often fit
    by chance. False if the register has no known range.
    """
    return not reading.regular and bound > FITS_SHARE * reading.register.range_Wh > 0.0


def _turns(growth: float, before: Candidate, reading: Observation, bound: float) -> int:
    """Return how many rollovers to add to `growth`, so that it fits the measured power best and is at most `bound`."""
    size, turnover = reading.register.range_Wh, reading.turnover
    if not size:
        return 0
    expected = turnover.ratio * reading.expected_W * (reading.at - before.at) / 3600
    return max(0, min(int((bound - growth) / size), round((expected - growth) / size)))


def _unread(before: Candidate, reading: Observation) -> float:
    """Return an estimate of the energy, in Wh, that a daily register did not show before it returned to zero.

    The estimate is calculated from the power. It is 0 if the readings are more than `MINUTE_S` apart.
    """
    seconds = reading.at - before.at
    if seconds > MINUTE_S:
        return 0.0
    ratio = reading.turnover.ratio
    # The result is the sum of two energies. The first one is from the time between the last change of the register and
    # `before`. It is at most one step, and 0 if the step is unknown. The second one is from the time between `before`
    # and `reading`, at the lower of the powers at both readings.
    since_step = ratio * (reading.integral_Wh - before.integral_Wh - reading.expected_W * seconds / 3600)
    return min(max(0.0, since_step), reading.register.step_Wh) + ratio * reading.steady_W * seconds / 3600


def _last_certain_midnight(before: Candidate, reading: Observation) -> float:
    """Return the latest time at which the device has certainly begun a day, in Unix seconds."""
    offset = day_offset(before.new_day, reading.zone)
    return day_of(reading.at - DAILY_S - offset, reading.zone)[1] + offset


def _can_begin_a_day(before: Candidate, reading: Observation) -> bool:
    """Whether the device may have begun a day between the two readings. A device begins at most one day in 18 hours."""
    if reading.at - before.new_day < DAY_S - 2 * DAILY_S:  # an unknown `new_day` is 0, which is long ago
        return False
    for offset in {0.0, day_offset(before.new_day, reading.zone)}:
        if day_of(reading.at + DAILY_S - offset, reading.zone)[1] + offset >= before.at - DAILY_S:
            return True
    return False
