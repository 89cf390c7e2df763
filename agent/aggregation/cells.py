"""Statistics of one quantity of a node over a push interval: seven cells in an array for all quantities. Pure.

A summary keeps the array, and the next interval begins with a copy. This costs less than one object per quantity.

The mean is weighted by time. Each value holds until the next value, but at most for `poll.stale_after_s`. Time after
that is left out of the mean. An interval begins at the last reading of the previous interval, so that the means add up
to the integral. A state counts as 1 while it is on.
"""

from __future__ import annotations

from array import array
from math import inf
from typing import NamedTuple

LAST, AT, INTERVAL, START, AREA, MINIMUM, MAXIMUM = range(7)
EMPTY = (0.0, -inf, 0.0, 0.0, 0.0, 0.0, 0.0)


class Statistics(NamedTuple):
    """Statistics of one quantity over a push interval. A state is 1 while it is on."""

    last: float
    mean: float
    minimum: float
    maximum: float


def update(cells: array[float], place: int, number: float, at: float, interval: int, stale_after_s: float) -> None:
    """Add the reading `number` at monotonic `at` to the seven cells that begin at `place`."""
    before_at = cells[place + AT]
    if before_at == -inf:
        cells[place : place + len(EMPTY)] = array("d", (number, at, interval, at, 0.0, number, number))
        return
    before = cells[place]
    if cells[place + INTERVAL] != interval:
        cells[place + INTERVAL] = interval
        cells[place + START] = before_at
        cells[place + AREA] = 0.0
        cells[place + MINIMUM] = cells[place + MAXIMUM] = before
    cells[place] = number
    cells[place + AT] = at
    held = at - before_at
    if held > stale_after_s:  # then the value is stale
        cells[place + START] += held - stale_after_s
        held = stale_after_s
    cells[place + AREA] += before * held
    if number < cells[place + MINIMUM]:
        cells[place + MINIMUM] = number
    elif number > cells[place + MAXIMUM]:
        cells[place + MAXIMUM] = number


def mean(cells: array[float], place: int, interval: int) -> float:
    """Return the mean over push interval `interval`, or the last value if the interval has no reading."""
    seconds = cells[place + AT] - cells[place + START]
    if cells[place + INTERVAL] != interval or seconds <= 0:
        return cells[place]
    return cells[place + AREA] / seconds


def statistics(cells: array[float], place: int, interval: int) -> Statistics:
    """Return the statistics of push interval `interval`. If it has no reading, all four are the last value."""
    last, at, seen_in, start, _, minimum, maximum = cells[place : place + len(EMPTY)]
    if seen_in != interval or at <= start:
        return Statistics(last, last, last, last)
    return Statistics(last, mean(cells, place, interval), minimum, maximum)
