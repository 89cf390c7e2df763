"""Stores the last values of a node, and what the means over a push interval need, in the cells of one array. Pure.

Every quantity has two cells: its last value and the time of that value. Only active powers and states can be sent as a
mean, so only these have three more cells. A summary keeps the array of its interval, and the next interval begins with
a copy. One array needs less memory than one object per quantity.

The mean is weighted by time. Each value holds until the next reading, but at most for the node's `stale_after_s`. After
a reading that is missing, no value holds. The mean leaves out the time in which no value holds. The mean over a push
interval begins at the last reading before the interval, so that no time is left out between two intervals. A state
counts as 1 while it is on, else as 0.
"""

from __future__ import annotations

from array import array
from math import inf

LAST, AT, INTERVAL, START, AREA = range(5)
"""The cells of a quantity: last value, its monotonic second, the number of the push interval of the mean, the monotonic
second at which the mean begins, and the integral of the value from that second to the time of the last value. While no
value holds, `AT` is minus infinity, and `START` has the seconds of the mean so far."""
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
    """Note that the last value of these five cells held until monotonic `at`, and that no value holds now."""
    if cells[cell + AT] > -inf:
        update(cells, cell, 0.0, at, interval, stale_after_s)
        cells[cell + START] = at - cells[cell + START]
        cells[cell + AT] = -inf


def mean(cells: array[float], cell: int, interval: int) -> float:
    """Return the mean over push interval `interval`. Without a reading in it, or over 0 s, return the last value."""
    seconds = cells[cell + AT] - cells[cell + START]
    if cells[cell + INTERVAL] != interval or seconds <= 0:
        return cells[cell]
    return cells[cell + AREA] / seconds
