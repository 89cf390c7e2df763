"""When to push: ticks by the monotonic clock, labelled by the wall clock. Pure.

- The label of a tick is its time by the wall clock, in whole Unix seconds.
- While the wall clock moves by less than half a second against the ticks, each tick is exactly one interval after the
  previous one, by the monotonic clock.
- A tick that is already in the past, for example because the process was blocked, is skipped. The next tick is then
  later by whole intervals.
- If the wall clock has moved by half a second or more against the ticks (NTP at boot, the command `date`, drift), the
  next tick returns to its phase (`phase_s`): it comes 0.5 to 1.5 intervals after the previous tick. So no push is
  repeated, and pushes do not accumulate.
- If the label of that tick would be equal to the last label, or earlier by at most `WAIT_S`, the pushes wait until the
  label is later. So labels increase.
- If the wall clock was set back by more than `WAIT_S`, the pushes do not wait, and the labels go back once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from math import ceil
from typing import Literal

# Ticks move only if they are at least this many seconds off their phase. A smaller error cannot change a label, because
# labels are rounded to whole seconds.
_STEP_S = 0.5
WAIT_S = 900.0
"""If the wall clock is set back by more than this many seconds, the labels go back too. Otherwise the pushes wait."""
# 2^64 divided by the golden ratio, as an odd number.
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Tick:
    """The moment of a push: `at` in monotonic seconds, and its label `time` in whole Unix seconds."""

    at: float
    time: int


def phase_s(align: Literal["splay", "clock"], node_id: str, interval_s: int, endpoint: str = "") -> int:
    """Return the phase: whole seconds after a multiple of the interval.

    "splay" distributes the sites of a fleet over the interval by a hash of the site's id. The digits of the id are
    hashed by multiples of the golden ratio (Fibonacci hashing), the other characters by SHA-256. So consecutive serial
    numbers fill the interval evenly, and other ids are distributed at random. `endpoint` moves the phase of all sites
    by the same share of the interval.
    """
    if align == "clock":
        return 0
    number = reduce(lambda sum_, digit: (10 * sum_ + int(digit)) % 2**64, re.findall("[0-9]", node_id), 0)
    rest = int.from_bytes(sha256(re.sub("[0-9]", "#", node_id).encode()).digest()[:8], "big")
    if endpoint:
        rest += int.from_bytes(sha256(endpoint.encode()).digest()[:8], "big")
    return ((number * _GOLDEN + rest) % 2**64) * interval_s >> 64


def first_tick(monotonic: float, wall: float, interval_s: int, phase_s: int) -> Tick:
    """Return the first tick that is not before the present `monotonic` and `wall` time."""
    time = ceil((wall - phase_s) / interval_s) * interval_s + phase_s
    return Tick(monotonic + (time - wall), time)


def next_tick(previous: Tick, monotonic: float, wall: float, interval_s: int, phase_s: int) -> Tick:
    """Return the tick after `previous` at the present `monotonic` and `wall` time. Ticks in the past are skipped."""
    at = previous.at + interval_s
    if at < monotonic:
        at += ceil((monotonic - at) / interval_s) * interval_s
    time = at - monotonic + wall
    error = (time - phase_s + interval_s / 2) % interval_s - interval_s / 2
    if abs(error) >= _STEP_S:
        at -= error
        time -= error
        if at < monotonic:
            at += interval_s
            time += interval_s
    return later_tick(Tick(at, round(time)), previous.time, interval_s)


def later_tick(tick: Tick, label: int, interval_s: int) -> Tick:
    """Return `tick`, moved by whole intervals until its label is later than `label`, the label of the last tick.

    If the label of `tick` is more than `WAIT_S` earlier than `label`, do not move it.
    """
    behind = label - tick.time
    if not 0 <= behind <= WAIT_S:
        return tick
    waits = (behind // interval_s + 1) * interval_s
    return Tick(tick.at + waits, tick.time + waits)
