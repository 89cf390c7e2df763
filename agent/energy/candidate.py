"""A candidate: a reading of a counter that may be correct, with the cheapest path to this reading. Pure.

`agent.energy.ledger` explains path, cost, price and candidate.
"""

from __future__ import annotations

from datetime import tzinfo
from typing import NamedTuple

from agent.energy.days import Basis, Day, day_of

NEVER = 1e15
"""The value of `Candidate.changed` while it is not known how long the counter has been unchanged. `changed` gets this
value at the first reading of a path, and at a reset, a replacement or a new day. It keeps the value until the counter
moves. `agent.energy.transitions` then assumes that the counter last changed at the previous reading."""
DAILY_S = 3 * 3600.0
"""Maximum seconds between the device's midnight and local midnight. Device clocks ignore summer time, use UTC, or
drift."""


class EnergyEvent(NamedTuple):
    """An event of a counter, for the log."""

    name: str
    """The log event: counter_reset, counter_replaced, counter_rolled_over, counter_glitch_removed."""
    at: float
    """Unix time of the reading with the event."""
    before: float
    after: float
    """The counter before and after the event, Wh. For a removed glitch, `after` is the wrong value."""


class Candidate(NamedTuple):
    """A reading and the growth of the counter along the cheapest path to it. Energies in Wh, times in Unix seconds."""

    value: float
    at: float
    changed: float
    """Time of the last change of the counter, or `NEVER`. 0 if `Ledger.at` was moved back (`PATIENCE_S`), because the
    real time of the change is then unknown."""
    observed_s: float
    """`Ledger.observed_s` at the reading."""
    cost: float
    """Cost of the path in seconds."""
    total: float
    """Growth along the path since the counter was first seen."""
    integral_Wh: float
    """`Ledger.integral_Wh` at the time `changed`. While `changed` is `NEVER`: at the reading that began the path, or
    that showed the last reset, replacement or new day."""
    day: Day
    """The local day of the reading."""
    before: Day | None = None
    """The day before `day`; None without data of that day. A push with a tick before midnight needs this day if the
    newest reading is after midnight."""
    new_day: float = 0.0
    """Time at which the device last set its daily register to zero, as far as readings show it; 0 if unknown."""
    events: tuple[EnergyEvent, ...] = ()
    """Events of the path that are not reported yet."""


def day_offset(new_day: float, zone: tzinfo | None) -> float:
    """Return the seconds from local midnight to the midnight of the device, negative if the device's is earlier.

    `new_day` is `Candidate.new_day`. Return 0 if it is unknown.
    """
    if not new_day:
        return 0.0
    _, start, end = day_of(new_day, zone)
    return new_day - start if new_day - start < end - new_day else new_day - end


def moved(candidate: Candidate, seconds: float, zone: tzinfo | None, relabel_s: float) -> Candidate:
    """Return the candidate with `at` and `changed` moved by `seconds`, because the clock was set.

    If only the time zone changed, `seconds` is 0. `zone` is the time zone of the site.

    The candidate keeps its `day` if the local day of the moved `at` has the same beginning, or if the moved `at` is
    less than `relabel_s` seconds after the end of `day`. Otherwise it gets another day. After a move of more than
    `DAILY_S`, `new_day` becomes unknown, because it may come from the wrong clock.
    """
    at = candidate.at + seconds
    changed = candidate.changed if candidate.changed == NEVER else candidate.changed + seconds
    new_day = candidate.new_day if abs(seconds) <= DAILY_S else 0.0
    candidate = candidate._replace(at=at, changed=changed, new_day=new_day)
    date, start, end = day_of(at, zone)
    day, before = candidate.day, candidate.before
    # If `at` is now less than `relabel_s` after the end of `day`, the next reading begins the new day.
    if day.start == start or day.end <= at < day.end + relabel_s:
        return candidate
    if before is not None and before.start == start:  # the time moved back over midnight
        return candidate._replace(day=before, before=None)
    return candidate._replace(day=Day(date, start, end, day.base, Basis.PARTIAL), before=None)
