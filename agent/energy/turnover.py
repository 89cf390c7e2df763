"""Turnover: the power that a device can count, which limits the growth of its counter. Pure.

The limit is the power in the device's `limits`, else a multiple of its largest measured power, else the power of the
site's connection. The measured power is used only after it was compared with the counter. If a meter reads a power that
is five times too low, its limit is five times as high.
"""

from __future__ import annotations

from typing import NamedTuple

SLACK_S = 5.0
"""Devices update their counters with a delay of up to this time."""
UNKNOWN_STEP_WH = 1100.0
"""Step of a register with an unknown step, until it has grown. A counter in whole kWh has this step."""
UNKNOWN_POWER_W = 250e3
"""The connection of a large low-voltage site. Used if limits, connection and power are all unknown."""
UNPROVEN_POWER_W = 30e3
"""The connection of a house. Until the power of a device is known, a growth above it must be confirmed."""
MINUTE_S = 60.0
PERIOD_S = 600.0
"""Interval at which the power is compared with the counter."""
GAP_AFTER_S = 86_400.0
"""After this observed time, the largest measured power also limits the growth in a gap."""
_LIMIT_MARGIN = 1.25
_SEEN_MARGIN = 2.0
_MOST_MARGIN = 4.0
_MEAN_MARGIN = 6.0
_FORGET = 0.99
_ENOUGH_STEPS = 5
_ENOUGH_WH = 100.0
_DEAD = 5.0
_ROUNDING = 1.01
"""A learned step is larger than the growth by this factor, for the rounding of scaled values."""
FINER = 0.98
"""If a growth is less than this part of the learned step, the register has a finer step."""


class Register(NamedTuple):
    """The properties of a counter's register."""

    daily: bool = False
    """The device sets it to zero every day."""
    step_Wh: float = 0.0
    """The step of the register; 0 if unknown."""
    range_Wh: float = 0.0
    """The counter returns to zero after this many Wh; 0 if the profile does not define it."""
    limit_W: float = 0.0
    """Maximum power of the device by its `limits`; 0 if not configured."""
    connection_W: float = 0.0
    """Maximum power of the site's connection; 0 if not configured."""

    @property
    def jitter(self) -> float:
        """A lifetime counter may fall by this many Wh: the last digit of a fine register is not always stable."""
        return 1.01 * self.step_Wh if not self.daily and self.step_Wh <= 100.0 else 0.0


class Turnover(NamedTuple):
    """The limits of the power that a device can count, in W, and the data from which they are learned."""

    near_W: float
    """Limit between readings at the usual interval."""
    gap_W: float
    """Limit over a gap without readings."""
    most_W: float
    """Limit in all cases."""
    ratio: float = 0.0
    """Growth divided by integrated power; 0 if unknown."""
    peak_W: float = 0.0
    """The largest power that two readings in a row reached."""
    mean_W: float = 0.0
    """The largest growth over a period, as a power. For devices without a power reading."""
    compared_s: float = 0.0
    grown_Wh: float = 0.0
    flowed_Wh: float = 0.0
    """Sums of growth and integrated power. Older periods have less weight."""
    review: float = PERIOD_S
    """The observed seconds (`Ledger.observed_s`) at which the next comparison is due."""
    total_then: float = 0.0
    integral_then: float = 0.0
    step_Wh: float = UNKNOWN_STEP_WH
    """The step of the register: known, or the smallest growth between two readings."""


def first_turnover(register: Register) -> Turnover:
    """Return the limits before the first reading."""
    limit = register.limit_W * _LIMIT_MARGIN
    most = limit or register.connection_W or UNKNOWN_POWER_W
    near = limit or _unproven_power(register)
    return Turnover(near, most, most, step_Wh=register.step_Wh or UNKNOWN_STEP_WH)


def with_growth(turnover: Turnover, growth: float) -> Turnover:
    """Return the limits after a growth that shows a finer step."""
    return turnover._replace(step_Wh=growth * _ROUNDING)


def proven_power(turnover: Turnover, register: Register) -> float:
    """Return the largest power at which a growth in a gap is not an estimate: a multiple of the power seen so far."""
    if register.limit_W or turnover.ratio:
        return turnover.near_W
    if turnover.grown_Wh < _enough(turnover):
        return min(turnover.most_W, UNPROVEN_POWER_W)
    return min(turnover.most_W, max(_MEAN_MARGIN * turnover.mean_W, _SEEN_MARGIN * turnover.peak_W))


def proven_step(turnover: Turnover, register: Register) -> float:
    """Return the step of the register, Wh; 0 if unknown. A wrong value can teach it until the counter has grown."""
    learned = turnover.grown_Wh >= _enough(turnover) and turnover.step_Wh < UNKNOWN_STEP_WH
    return register.step_Wh or (turnover.step_Wh if learned else 0.0)


def with_peak(turnover: Turnover, peak_W: float, register: Register) -> Turnover:
    """Return the limits after a larger power was measured."""
    return _bounded(turnover._replace(peak_W=peak_W), register)


def reviewed(turnover: Turnover, total: float, integral_Wh: float, observed_s: float, register: Register) -> Turnover:
    """Compare the counter's growth of a period with the integrated power, and return the new limits."""
    grown, flowed = total - turnover.total_then, integral_Wh - turnover.integral_then
    if grown > 0.0 or flowed > 0.0:
        turnover = turnover._replace(
            grown_Wh=_FORGET * turnover.grown_Wh + max(0.0, grown), flowed_Wh=_FORGET * turnover.flowed_Wh + flowed
        )
    enough = _enough(turnover)
    ratio = turnover.ratio
    if turnover.flowed_Wh >= enough and turnover.grown_Wh >= enough:
        ratio = turnover.grown_Wh / turnover.flowed_Wh
    elif turnover.grown_Wh >= _DEAD * enough:
        ratio = 0.0  # a power register that is always 0
    return _bounded(
        turnover._replace(
            ratio=ratio,
            mean_W=max(turnover.mean_W, grown * 3600 / PERIOD_S),
            compared_s=turnover.compared_s + PERIOD_S,
            review=observed_s + PERIOD_S,
            total_then=total,
            integral_then=integral_Wh,
        ),
        register,
    )


def _enough(turnover: Turnover) -> float:
    """Return the growth that is enough for a comparison, Wh."""
    return max(_ENOUGH_WH, _ENOUGH_STEPS * turnover.step_Wh)


def _bounded(turnover: Turnover, register: Register) -> Turnover:
    first = first_turnover(register)
    if register.limit_W:
        return turnover._replace(near_W=first.near_W, gap_W=first.gap_W, most_W=first.most_W)
    seen = _SEEN_MARGIN * turnover.peak_W * max(1.0, turnover.ratio)
    most = max(first.most_W, _MOST_MARGIN * seen)
    known = turnover.compared_s >= GAP_AFTER_S
    if turnover.ratio:
        near = min(most, seen)
        return turnover._replace(near_W=near, gap_W=near if known else most, most_W=most)
    mean = _MEAN_MARGIN * turnover.mean_W
    near = mean if known and mean else max(_unproven_power(register), mean, seen)
    return turnover._replace(near_W=min(most, near), gap_W=most, most_W=most)


def _unproven_power(register: Register) -> float:
    """Return the limit between readings at the usual interval, until a power of the device is known."""
    return register.connection_W or UNPROVEN_POWER_W
