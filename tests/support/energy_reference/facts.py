"""What flows through the reference, and local days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Brussels")
HOUR = 3600.0
DAY_SHIFT = 3 * HOUR
SEEN, REGISTER, INTERPOLATED, ESTIMATED, RESET, REPLACED, PARTIAL = range(7)

Event = tuple[str, float, float, float]


@dataclass(frozen=True)
class Facts:
    """What the profile and the site tell about a register."""

    daily: bool = False
    step: float = 0.0
    range: float = 0.0
    limit_W: float = 0.0
    connection_W: float = 0.0


@dataclass(frozen=True)
class Day:
    date: str
    start: float
    end: float
    base: float
    basis: int
    believed: float = 0.0


@dataclass(frozen=True, eq=False)
class Point:
    """A reading and the cheapest path to it."""

    value: float
    at: float
    changed: float | None
    """None: the counter has not moved since the path is on this level."""
    seen: float
    cost: float
    total: float
    integral: float
    day: Day
    yesterday: Day | None = None
    zeroed: float = 0.0
    events: tuple[Event, ...] = ()


class Link(NamedTuple):
    kind: str
    price: float
    growth: float


@dataclass(frozen=True)
class Now:
    """The new reading."""

    value: float
    at: float
    step: float
    seconds: float
    interval: float
    weight: float
    regular: bool
    integral: float
    flow: float
    steady: float
    expected: float


def date_of(at: float) -> tuple[str, float, float]:
    day = datetime.fromtimestamp(at, ZONE).date()
    start, end = (datetime(each.year, each.month, each.day, tzinfo=ZONE) for each in (day, day + timedelta(days=1)))
    return day.isoformat(), start.timestamp(), end.timestamp()


def shift_of(zeroed: float) -> float:
    """Return the seconds from the local midnight to the device's, which last was at `zeroed`; 0 if it is unknown."""
    if not zeroed:
        return 0.0
    _, start, end = date_of(zeroed)
    return min(zeroed - start, zeroed - end, key=abs)
