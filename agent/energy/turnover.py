"""Turnover: the largest power that a device can count. It limits the growth of the device's counter. Pure.

- If `limits` are configured for the device, the limit is the power in `limits`, with a margin.
- Otherwise the integrated power is compared with the growth of the counter at the end of each period, if both are
  large enough. After the first comparison, the limit between readings is a multiple of the largest measured power. The
  comparison also corrects the power: if a meter reads a fifth of the real power, the limit is five times as high.
- Until the first comparison, and while the power register is not used (`_DEAD`), the limit between readings is at least
  the power that the site's connection allows. If that connection is not configured, the connection of a house is
  assumed. After a day of periods, a multiple of `mean_W` replaces this limit if `mean_W` is not 0. Usually, that
  happens only to devices that measure no power.
"""

from __future__ import annotations

from typing import NamedTuple

SLACK_S = 5.0
"""Devices update their counters with a delay of up to this many seconds."""
UNKNOWN_STEP_WH = 1100.0
"""The assumed step of a register with an unknown step, until the counter has grown by a smaller step. The largest usual
step is 1000 Wh (a counter in whole kWh); the rest is a margin."""
UNKNOWN_POWER_W = 250e3
"""The connection of a large low-voltage site: the first `gap_W` and `most_W` if neither `limits` nor the site's
connection are configured."""
UNPROVEN_POWER_W = 30e3
"""The connection of a house, which is assumed while the power of the device is not known. A growth at a higher power
must be confirmed. If the site's connection is configured, only `proven_power` uses this value."""
MINUTE_S = 60.0
PERIOD_S = 600.0
"""The length of a period, in observed seconds."""
GAP_AFTER_S = 86_400.0
"""From this value of `Turnover.compared_s` on, the largest measured power also limits the growth in a gap."""
_LIMIT_MARGIN = 1.25
"""If `limits` are configured, all power limits are this many times the power in `limits`."""
_SEEN_MARGIN = 2.0
"""The limit between readings is this many times the largest measured power."""
_MOST_MARGIN = 4.0
"""`most_W` is at least this many times the limit that the measured power gives."""
_MEAN_MARGIN = 6.0
"""The limits use this many times `mean_W` while `ratio` is 0."""
_FORGET = 0.99
"""The sums of the earlier periods are multiplied by this factor when a period is added to them."""
_ENOUGH_STEPS = 5
"""A comparison needs a growth of at least this many steps of the register."""
_ENOUGH_WH = 100.0
"""A comparison needs a growth of at least this many Wh."""
_DEAD = 5.0
"""If the growth is at least this many times the minimum for a comparison, but the integrated power is below that
minimum, the power register is not used."""
_ROUNDING = 1.01
"""A learned step is the smallest growth times this factor, because scaled values are rounded."""
FINER = 0.98
"""If a growth is less than this part of the learned step, the register has a finer step."""


class Register(NamedTuple):
    """The properties of a counter's register."""

    daily: bool = False
    """Whether the device sets the counter to zero every day."""
    step_Wh: float = 0.0
    """0 if unknown."""
    range_Wh: float = 0.0
    """The counter returns to zero after this many Wh; 0 if the profile does not define it."""
    limit_W: float = 0.0
    """Maximum power of the device from its `limits`, W; 0 if not configured."""
    connection_W: float = 0.0
    """Maximum power of a device that the site's connection allows, W; 0 if not configured."""

    @property
    def jitter(self) -> float:
        """The counter may fall by this many Wh, because the last digit of a fine register is not always stable.

        0 for a daily register, a step of more than 100 Wh, and an unknown step.
        """
        return 1.01 * self.step_Wh if not self.daily and self.step_Wh <= 100.0 else 0.0


class Turnover(NamedTuple):
    """The limits of the power that a device can count, and the data from which they are learned."""

    near_W: float
    """Limit between readings at the usual interval, W."""
    gap_W: float
    """Limit over a gap without readings, W."""
    most_W: float
    """Limit in all cases, W. A growth at a higher power shows that another counter replaced this one."""
    ratio: float = 0.0
    """Growth of the counter divided by integrated power; 0 before a comparison, or if the power is not usable."""
    peak_W: float = 0.0
    """The largest power that two readings in a row both reached, W."""
    mean_W: float = 0.0
    """The mean power in the period with the largest growth, W. It is used while `ratio` is 0."""
    compared_s: float = 0.0
    """`PERIOD_S` times the number of periods so far, with and without a comparison."""
    grown_Wh: float = 0.0
    """Growth of the counter, summed over the periods. Older periods have less weight."""
    flowed_Wh: float = 0.0
    """Integrated power, summed over the same periods with the same weights."""
    review: float = PERIOD_S
    """The observed seconds (`Ledger.observed_s`) at which the present period ends."""
    total_then: float = 0.0
    """The ledger's total at the end of the last period, Wh, plus the growth in gaps since then."""
    integral_then: float = 0.0
    """The ledger's integrated power at the end of the last period, Wh."""
    step_Wh: float = UNKNOWN_STEP_WH
    """The step of the register: known, or learned from the smallest growth; `UNKNOWN_STEP_WH` until one is learned."""


def first_turnover(register: Register) -> Turnover:
    """Return the limits before the first reading."""
    limit = register.limit_W * _LIMIT_MARGIN
    most = limit or register.connection_W or UNKNOWN_POWER_W
    near = limit or _unproven_power(register)
    return Turnover(near, most, most, step_Wh=register.step_Wh or UNKNOWN_STEP_WH)


def with_growth(turnover: Turnover, growth: float) -> Turnover:
    """Return the turnover with the step that `growth` shows. The caller checks that this step is finer."""
    return turnover._replace(step_Wh=growth * _ROUNDING)


def proven_power(turnover: Turnover, register: Register) -> float:
    """Return the highest power that explains a growth in a gap, or a late growth, W.

    A growth at a higher power is accepted as an estimate.
    """
    if register.limit_W or turnover.ratio:
        return turnover.near_W
    if turnover.grown_Wh < _enough(turnover):
        return min(turnover.most_W, UNPROVEN_POWER_W)
    return min(turnover.most_W, max(_MEAN_MARGIN * turnover.mean_W, _SEEN_MARGIN * turnover.peak_W))


def proven_step(turnover: Turnover, register: Register) -> float:
    """Return the step of the register, Wh; 0 if unknown.

    A learned step counts only after the counter has grown enough, because one wrong value can give a wrong step.
    """
    learned = turnover.grown_Wh >= _enough(turnover) and turnover.step_Wh < UNKNOWN_STEP_WH
    return register.step_Wh or (turnover.step_Wh if learned else 0.0)


def with_peak(turnover: Turnover, peak_W: float, register: Register) -> Turnover:
    """Return the limits after two readings in a row reached a larger power."""
    return _bounded(turnover._replace(peak_W=peak_W), register)


def reviewed(turnover: Turnover, total: float, integral_Wh: float, observed_s: float, register: Register) -> Turnover:
    """Return the limits after a period. Compare the growth of the counter with the integrated power if both are enough.

    `total`, `integral_Wh` and `observed_s` are the present values of the ledger.
    """
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
    """Return the least growth and the least integrated power that a comparison needs, Wh."""
    return max(_ENOUGH_WH, _ENOUGH_STEPS * turnover.step_Wh)


def _bounded(turnover: Turnover, register: Register) -> Turnover:
    """Return the turnover with `near_W`, `gap_W` and `most_W` calculated from its other data."""
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
    """Return the limit between readings at the usual interval until the power of the device is known, W."""
    return register.connection_W or UNPROVEN_POWER_W
