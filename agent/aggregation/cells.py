"""One quantity of one node over a push interval: seven cells in an array of all quantities of the node. Pure.

A summary keeps the array and the next interval begins with a copy, which costs less than an object per quantity.
The mean is weighted by time: each value holds until the next one, at most for `poll.stale_after_s`; time after that is
left out. Intervals meet at their last readings, so the means add up to the integral. A state counts as 1 while it is
on.
"""

from __future__ import annotations

from array import array
from math import inf
from typing import NamedTuple

LAST, AT, INTERVAL, START, AREA, MINIMUM, MAXIMUM = range(7)
EMPTY = (0.0, -inf, 0.0, 0.0, 0.0, 0.0, 0.0)


class Statistics(NamedTuple):
    """One quantity over a push interval; a state is 1 while it is on."""

    last: float
    mean: float
    minimum: float
    maximum: float


def update(cells: array[float], place: int, number: float, at: float, interval: int, stale_after_s: float) -> None:
    """Add one reading, `number` at monotonic `at`, to the seven cells that begin at `place`."""
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
    if held > stale_after_s:  # after that nothing is known: the time is left out of the mean
        cells[place + START] += held - stale_after_s
        held = stale_after_s
    cells[place + AREA] += before * held
    if number < cells[place + MINIMUM]:
        cells[place + MINIMUM] = number
    elif number > cells[place + MAXIMUM]:
        cells[place + MAXIMUM] = number


def mean(cells: array[float], place: int, interval: int) -> float:
    """The mean over push interval `interval`; the last value if nothing was read in it."""
    seconds = cells[place + AT] - cells[place + START]
    if cells[place + INTERVAL] != interval or seconds <= 0:
        return cells[place]
    return cells[place + AREA] / seconds


def statistics(cells: array[float], place: int, interval: int) -> Statistics:
    """Last, mean, minimum and maximum over push interval `interval`; of the last value if nothing was read in it."""
    last, at, seen_in, start, _, minimum, maximum = cells[place : place + len(EMPTY)]
    if seen_in != interval or at <= start:
        return Statistics(last, last, last, last)
    return Statistics(last, mean(cells, place, interval), minimum, maximum)
