"""The due times of a device: moments at a fixed distance, which a late poll does not move. Pure.

- The due times are counted from a tick of the pushes. An interval is fitted: it is shortened until it divides the push
  interval or is a multiple of it. So a device whose interval is not longer than the push interval has a due time for
  each tick: the tick minus the lead of its link.
- Up to `LINKS_AT_ONCE` links are all polled at the tick itself. On a larger site, a hash of its address gives each link
  a moment at or before the tick. The time from that moment to the tick is the lead of the link. The leads are less than
  `LINK_S` times the number of links, and less than one interval.
- The link worker skips a due time if the device still waits for its poll or is being polled, or if a later due time
  has passed too.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from math import ceil, floor, inf

LINK_S = 0.005
"""The leads of a site span this many seconds for each link. A controller polls a device in 0.3 to 2 ms of CPU time."""
LINKS_AT_ONCE = 64
"""A site has one moment for every 64 links, at most `MOST_MOMENTS`. Each moment wakes the process, which costs CPU
time: with 32 links per moment, a poll would need a tenth more. A slow controller needs 0.1 s for 64 polls."""
MOST_MOMENTS = 25
"""Maximum number of different moments at or before a tick."""
_SAME_S = 0.001
"""Ticks whose phases differ by less than this many seconds have the same phase."""
_ROUNDING = 1e-9
"""An interval is a multiple of another one if their quotient is this close to a whole number."""


def fitted(interval_s: float, push_s: float) -> float:
    """Return the longest interval up to `interval_s` that divides `push_s`, or is a multiple of it."""
    if interval_s < push_s:
        return push_s / ceil(push_s / interval_s - _ROUNDING)
    return push_s * floor(interval_s / push_s + _ROUNDING)


def lead_share(address: str, links: int) -> float:
    """Return the lead of a link as a share of the span of all leads: 0 (at the tick) to less than 1.

    `links` is the number of links of the site, at least 1.
    """
    moments = min(MOST_MOMENTS, ceil(links / LINKS_AT_ONCE))
    return int.from_bytes(sha256(address.encode()).digest()[:8], "big") % moments / moments


def lead_s(share: float, links: int, interval_s: float) -> float:
    """Return the lead in seconds. `links` is the number of links of the site."""
    return share * min(interval_s, links * LINK_S)


@dataclass(slots=True)
class DueTimes:
    """The due times of devices with the same interval and the same lead. Call `take` once before the first use."""

    interval_s: float
    lead_s: float
    anchor: float
    """A tick, in monotonic seconds."""
    next: float = inf
    """The first due time that is not taken yet."""
    _number: int = 0
    """The number of the next due time. The due time that belongs to the anchor has the number 0."""

    def start(self, at: float) -> None:
        """Add one due time at monotonic second `at`, if it is before the next due time."""
        if at < self.next:
            self._number -= 1
            self.next = at

    def take(self, now: float) -> int:
        """Take all due times up to monotonic second `now`. Return their number."""
        before, first = self._number, self.anchor - self.lead_s
        self._number = floor((now - first) / self.interval_s) + 1
        self.next = first + self._number * self.interval_s
        if self.next <= now:  # the quotient was rounded down
            self._number += 1
            self.next = first + self._number * self.interval_s
        return self._number - before


def same_phase(anchor: float, at: float, push_s: float) -> bool:
    """Whether `at` is a whole number of push intervals from the tick `anchor`, so that the due times need not move."""
    return abs((at - anchor + push_s / 2) % push_s - push_s / 2) < _SAME_S
