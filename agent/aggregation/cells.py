"""The last value of each quantity of a node, and the mean of some over a push interval: cells in one array. Pure.

Every quantity has two cells: its last value and the time of that value. Only powers and states can be sent as a mean,
so only these have three more cells. A summary keeps the array, and the next interval begins with a copy. This costs
less than one object per quantity.

The mean is weighted by time. Each value holds until the next value, but at most for `poll.stale_after_s`. Time after
that is left out of the mean. An interval begins at the last reading of the previous interval, so that the means add up
to the integral. A state counts as 1 while it is on.
"""

from __future__ import annotations

from array import array
from math import inf

LAST, AT, INTERVAL, START, AREA = range(5)
EMPTY = (0.0, -inf)
EMPTY_AVERAGED = (*EMPTY, -1.0, 0.0, 0.0)


def update(cells: array[float], place: int, number: float, at: float, interval: int, stale_after_s: float) -> None:
    """Add the reading `number` at monotonic `at` to the five cells that begin at `place`."""
    before_at = cells[place + AT]
    if before_at == -inf:
        cells[place : place + len(EMPTY_AVERAGED)] = array("d", (number, at, interval, at, 0.0))
        return
    before = cells[place]
    if cells[place + INTERVAL] != interval:
        cells[place + INTERVAL] = interval
        cells[place + START] = before_at
        cells[place + AREA] = 0.0
    cells[place] = number
    cells[place + AT] = at
    held = at - before_at
    if held > stale_after_s:  # then the value is stale
        cells[place + START] += held - stale_after_s
        held = stale_after_s
    cells[place + AREA] += before * held


def mean(cells: array[float], place: int, interval: int) -> float:
    """Return the mean over push interval `interval`, or the last value if the interval has no reading."""
    seconds = cells[place + AT] - cells[place + START]
    if cells[place + INTERVAL] != interval or seconds <= 0:
        return cells[place]
    return cells[place + AREA] / seconds
