"""Readings at which the counter may be, each as the end of the cheapest path to it. Pure."""

from __future__ import annotations

from datetime import tzinfo
from typing import NamedTuple

from agent.energy.days import Basis, Day, day_of

NEVER = 1e15
"""`changed` of a level at which the counter was not seen to move yet. A late growth is not possible there."""


class EnergyEvent(NamedTuple):
    """What happened to a counter that is worth a line in the log."""

    name: str
    """The log event: counter_reset, counter_replaced, counter_rolled_over, counter_glitch_removed."""
    at: float
    """Unix seconds of the reading that showed it."""
    before: float
    after: float
    """What the counter showed, Wh."""


class Candidate(NamedTuple):
    """A reading, with what the counter grew along the cheapest path to it. Energies in Wh, times in Unix seconds."""

    value: float
    at: float
    changed: float
    """When the counter last moved; `NEVER` while it was not seen to."""
    mass: float
    """The ledger's observed seconds at the reading."""
    cost: float
    """Price of the path, in seconds."""
    total: float
    """Growth along the path since the counter was first seen."""
    area: float
    """Integrated power when the counter last moved."""
    day: Day
    before: Day | None = None
    """The day before, for a push whose tick is older than its readings."""
    new_day: float = 0.0
    """When the device last set its daily register to zero; 0 if that was not seen."""
    events: tuple[EnergyEvent, ...] = ()
    """Those of the path that are not reported yet."""


def day_offset(new_day: float, zone: tzinfo | None) -> float:
    """Seconds from local midnight to that of the device; 0 if the latter was not seen."""
    if not new_day:
        return 0.0
    _, start, end = day_of(new_day, zone)
    return new_day - start if new_day - start < end - new_day else new_day - end


def moved(candidate: Candidate, seconds: float, zone: tzinfo | None, relabel_s: float) -> Candidate:
    """The candidate when its readings were dated wrong by `seconds`, or in another zone."""
    at = candidate.at + seconds
    changed = candidate.changed if candidate.changed == NEVER else candidate.changed + seconds
    candidate = candidate._replace(at=at, changed=changed)
    date, start, end = day_of(at, zone)
    day, before = candidate.day, candidate.before
    if day.start == start or day.end <= at < day.end + relabel_s:  # a midnight that is past waits for the next reading
        return candidate
    if before is not None and before.start == start:  # it was not midnight yet
        return candidate._replace(day=before, before=None)
    return candidate._replace(day=Day(date, start, end, day.base, Basis.PARTIAL), before=None)
