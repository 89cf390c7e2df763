"""What a device can turn over: the bound on the growth of its counter. Pure.

The bound comes from the device's `limits`; else from the largest power that the device was seen with; else from the
site's connection. A power reading is trusted only after it was compared with the counter: a meter whose power reads
five times too low gets a bound that is five times as high.
"""

from __future__ import annotations

from typing import NamedTuple

UNKNOWN_STEP_WH = 1100.0
"""A counter in whole kWh moves by this at once."""
UNKNOWN_POWER_W = 250e3
"""The connection of a large low-voltage site, where neither limits nor connection nor power say anything."""
PERIOD_S = 600.0
"""How often the power is compared with the counter."""
GAP_AFTER_S = 86_400.0
"""A device must be seen for a day before its largest power says what it can do while nobody looks."""
_LIMIT_MARGIN = 1.25
_SEEN_MARGIN = 2.0
_MOST_MARGIN = 4.0
_MEAN_MARGIN = 6.0
_FORGET = 0.99
_ENOUGH_STEPS = 5
_ENOUGH_WH = 100.0
_DEAD = 5.0


class Register(NamedTuple):
    """What is known of a counter's register before it is read."""

    daily: bool = False
    """The device sets it to zero every day."""
    step_Wh: float = UNKNOWN_STEP_WH
    """Its resolution."""
    range_Wh: float = 0.0
    """The counter starts again after so many Wh; 0 where the profile does not say it."""
    limit_W: float = 0.0
    """The most that the device can turn over; 0 where its `limits` do not say it."""
    connection_W: float = 0.0
    """The most that the site's connection lets through; 0 where the configuration does not say it."""

    @property
    def jitter(self) -> float:
        """A lifetime counter may fall by so many Wh: the last digit of a fine register is not always steady."""
        return 1.01 * self.step_Wh if not self.daily and self.step_Wh <= 100.0 else 0.0


class Turnover(NamedTuple):
    """What the device can turn over, as far as it is known now, and what that is learned from."""

    near_W: float
    """Between readings at the usual pace."""
    gap_W: float
    """Over a time without readings."""
    most_W: float
    """What nothing exceeds."""
    ratio: float = 0.0
    """Growth per integrated power; 0 while it is not known."""
    peak_W: float = 0.0
    """The largest power that two readings in a row reached."""
    mean_W: float = 0.0
    """The largest growth over a period, as a power: what is known of a device without a power reading."""
    observed_s: float = 0.0
    grown_Wh: float = 0.0
    flowed_Wh: float = 0.0
    """Growth and integrated power, with older ones weighing less."""
    review: float = PERIOD_S
    """The observed seconds (`Ledger.mass`) at which the next comparison is due."""
    total_then: float = 0.0
    area_then: float = 0.0


def first_turnover(register: Register) -> Turnover:
    """Before anything was seen."""
    most = register.limit_W * _LIMIT_MARGIN or register.connection_W or UNKNOWN_POWER_W
    return Turnover(most, most, most)


def with_peak(turnover: Turnover, peak_W: float, register: Register) -> Turnover:
    """After a larger power was seen."""
    return _bounded(turnover._replace(peak_W=peak_W), register)


def reviewed(turnover: Turnover, total: float, area: float, mass: float, register: Register) -> Turnover:
    """After one more period: compares the counter's growth with the integrated power."""
    grown, flowed = total - turnover.total_then, area - turnover.area_then
    if grown > 0.0 or flowed > 0.0:
        turnover = turnover._replace(
            grown_Wh=_FORGET * turnover.grown_Wh + max(0.0, grown), flowed_Wh=_FORGET * turnover.flowed_Wh + flowed
        )
    enough = max(_ENOUGH_WH, _ENOUGH_STEPS * register.step_Wh)
    ratio = turnover.ratio
    if turnover.flowed_Wh >= enough and turnover.grown_Wh >= enough:
        ratio = turnover.grown_Wh / turnover.flowed_Wh
    elif turnover.grown_Wh >= _DEAD * enough:
        ratio = 0.0  # a power register that is always 0
    return _bounded(
        turnover._replace(
            ratio=ratio,
            mean_W=max(turnover.mean_W, grown * 3600 / PERIOD_S),
            observed_s=turnover.observed_s + PERIOD_S,
            review=mass + PERIOD_S,
            total_then=total,
            area_then=area,
        ),
        register,
    )


def _bounded(turnover: Turnover, register: Register) -> Turnover:
    first = first_turnover(register)
    if register.limit_W:
        return turnover._replace(near_W=first.near_W, gap_W=first.gap_W, most_W=first.most_W)
    seen = _SEEN_MARGIN * turnover.peak_W * max(1.0, turnover.ratio)
    most = max(first.most_W, _MOST_MARGIN * seen)
    known = turnover.observed_s >= GAP_AFTER_S
    if turnover.ratio:
        near = min(most, seen)
        return turnover._replace(near_W=near, gap_W=near if known else most, most_W=most)
    near = min(most, _MEAN_MARGIN * turnover.mean_W) if known and turnover.mean_W else most
    return turnover._replace(near_W=near, gap_W=most, most_W=most)
