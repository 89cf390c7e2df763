"""Stores the last values of a node, and what the means over a push interval need, in the cells of one array. Pure.

Every quantity has two cells: its last value and the time of that value. Only active powers and states can be sent as a
mean, so only these have three more cells. A summary keeps the array of its interval, and the next interval begins with
a copy. One array needs less memory than one object per quantity.

The mean is weighted by time. Each value holds until the next value, but at most for the node's `stale_after_s`. The
mean leaves out the time in which no value holds. After a reading that is missing, the mean begins anew. The mean over a
push interval begins at the last reading before the interval, so that no time is left out between two intervals. A state
counts as 1 while it is on, else as 0.
"""

from __future__ import annotations

from array import array
from math import inf

LAST, AT, INTERVAL, START, AREA = range(5)
"""The cells of a quantity: last value, its monotonic second, the number of the push interval of the mean, the monotonic
second at which the mean begins, and the integral of the value from that second to the time of the last value."""
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
        cells[cell : cell + len(EMPTY_AVERAGED)] = array("d", (number, at, interval, at, 0.0))
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


def mean(cells: array[float], cell: int, interval: int) -> float:
    """Return the mean over push interval `interval`. Without a reading in it, or over 0 s, return the last value."""
    seconds = cells[cell + AT] - cells[cell + START]
    if cells[cell + INTERVAL] != interval or seconds <= 0:
        return cells[cell]
    return cells[cell + AREA] / seconds
