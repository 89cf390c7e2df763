"""Candidates: readings that may be correct, each with the cheapest path of explanations to it. Pure."""

from __future__ import annotations

from datetime import tzinfo
from typing import NamedTuple

from agent.energy.days import Basis, Day, day_of

NEVER = 1e15
"""The value of `changed` while the counter has not moved. A late growth is then not possible."""


class EnergyEvent(NamedTuple):
    """An event of a counter, for the log."""

    name: str
    """The log event: counter_reset, counter_replaced, counter_rolled_over, counter_glitch_removed."""
    at: float
    """Unix time of the reading with the event."""
    before: float
    after: float
    """The counter before and after the event, Wh."""


class Candidate(NamedTuple):
    """A reading and the growth of the counter along the cheapest path to it. Energies in Wh, times in Unix seconds."""

    value: float
    at: float
    changed: float
    """Time of the last change of the counter; `NEVER` before the first change."""
    observed_s: float
    """`Ledger.observed_s` at the reading."""
    cost: float
    """Price of the path, in seconds."""
    total: float
    """Growth along the path since the counter was first seen."""
    integral_Wh: float
    """Integrated power at the last change of the counter."""
    day: Day
    before: Day | None = None
    """The previous day, for a push whose tick is older than its readings."""
    new_day: float = 0.0
    """Time at which the device last set its daily register to zero; 0 if no reading has shown it."""
    events: tuple[EnergyEvent, ...] = ()
    """Events of the path that are not reported yet."""


def day_offset(new_day: float, zone: tzinfo | None) -> float:
    """Return the seconds from local midnight to the midnight of the device; 0 if `new_day` is 0."""
    if not new_day:
        return 0.0
    _, start, end = day_of(new_day, zone)
    return new_day - start if new_day - start < end - new_day else new_day - end


def moved(candidate: Candidate, seconds: float, zone: tzinfo | None, relabel_s: float) -> Candidate:
    """Return the candidate with all times moved by `seconds`, in time zone `zone`."""
    at = candidate.at + seconds
    changed = candidate.changed if candidate.changed == NEVER else candidate.changed + seconds
    candidate = candidate._replace(at=at, changed=changed)
    date, start, end = day_of(at, zone)
    day, before = candidate.day, candidate.before
    if day.start == start or day.end <= at < day.end + relabel_s:  # the next reading handles the midnight
        return candidate
    if before is not None and before.start == start:  # moved back over midnight
        return candidate._replace(day=before, before=None)
    return candidate._replace(day=Day(date, start, end, day.base, Basis.PARTIAL), before=None)
