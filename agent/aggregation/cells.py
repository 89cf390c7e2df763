"""Keeps the last values of a node in one array, with the data for their means over a push interval. Pure.

Each pair of quantity and phase has two cells: its last value and the time of that value. Active powers and states have
three more cells, because only they can be sent as a mean. A summary keeps the array of its interval, and the next
interval begins with a copy. One array needs less memory than one object per quantity.

The mean is weighted by time. A value holds until the next reading, whether that reading has a value or is missing, and
for at most the node's `stale_after_s`. The mean leaves out the time in which no value holds. It covers the time from
the last reading before the push interval to the last reading in the interval, so no time between two intervals is left
out. A state counts as 1 while it is on, else as 0. Invalid readings never reach this module.
"""

from __future__ import annotations

from array import array
from math import inf

LAST, AT, INTERVAL, START, AREA = range(5)
"""The cells of a quantity (the last three: only if it can be sent as a mean):

- `LAST`: the last value; without meaning while `AT` is minus infinity.
- `AT`: the monotonic second of the last value. Minus infinity means that no value holds: the last reading was
  missing, or there was no reading.
- `INTERVAL`: the number of the push interval to which `START` and `AREA` belong.
- `START`: `AT` minus the seconds that the mean covers so far. While `AT` is minus infinity: these seconds.
- `AREA`: the integral of the value over these seconds.
"""
EMPTY = (0.0, -inf)
"""The two cells of a quantity without a value."""
EMPTY_AVERAGED = (*EMPTY, -1.0, 0.0, 0.0)
"""The five cells of a quantity without a value, if it can be sent as a mean."""


def update(cells: array[float], cell: int, number: float, at: float, interval: int, stale_after_s: float) -> None:
    """Add the reading `number` at monotonic `at` to the five cells that begin at `cell`.

    `interval` is the number of the present push interval.
    """
    before_at = cells[cell + AT]
    if before_at == -inf:
        continues = cells[cell + INTERVAL] == interval
        start, area = (at - cells[cell + START], cells[cell + AREA]) if continues else (at, 0.0)
        cells[cell : cell + len(EMPTY_AVERAGED)] = array("d", (number, at, interval, start, area))
        return
    before = cells[cell]
    if cells[cell + INTERVAL] != interval:
        cells[cell + INTERVAL] = interval
        cells[cell + START] = before_at
        cells[cell + AREA] = 0.0
    cells[cell] = number
    cells[cell + AT] = at
    held = at - before_at
    if held > stale_after_s:  # leave out the time in which the previous value was stale
        cells[cell + START] += held - stale_after_s
        held = stale_after_s
    cells[cell + AREA] += before * held


def forget(cells: array[float], cell: int, at: float, interval: int, stale_after_s: float) -> None:
    """End the value in the five cells that begin at `cell`, because the reading at monotonic `at` is missing."""
    if cells[cell + AT] > -inf:
        update(cells, cell, 0.0, at, interval, stale_after_s)
        cells[cell + START] = at - cells[cell + START]
        cells[cell + AT] = -inf


def mean(cells: array[float], cell: int, interval: int) -> float:
    """Return the mean over push interval `interval`. Call this only while `AT` is finite.

    If the interval has no reading, or the mean covers no time, return the last value.
    """
    seconds = cells[cell + AT] - cells[cell + START]
    if cells[cell + INTERVAL] != interval or seconds <= 0:
        return cells[cell]
    return cells[cell + AREA] / seconds
