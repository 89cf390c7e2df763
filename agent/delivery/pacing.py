"""Decides the rate at which the backlog is sent.

After an outage, every agent of a fleet has a backlog at the same moment. At a fixed rate they would all send it in the
same minutes and cause a second outage. So each agent sends its backlog at random moments, at a part of the live rate.
The backlog of an outage takes `SPREAD` times as long as the outage, and the endpoint sees less than twice its usual
load. A backlog of more than about two hours is sent faster, so that no backlog takes days.
"""

from __future__ import annotations

import asyncio
import random

SPREAD = 1.8
# The mean gap between two of n messages is at most LONG_S / n seconds.
LONG_S = 4 * 3600.0


class Pace:
    """The gaps between the messages of the backlog. `rate_per_s` is a fixed rate instead of a random one."""

    def __init__(self, interval_s: float, rate_per_s: float | None = None) -> None:
        self._interval_s = interval_s
        self._rate_per_s = rate_per_s

    def gap_s(self, waiting: int, per_tick: int) -> float:
        """Return the seconds between two messages, while `waiting` wait and each push interval adds `per_tick`."""
        if self._rate_per_s is not None:
            return 1 / self._rate_per_s
        return self._mean_s(waiting, per_tick) * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, not a secret

    def start_s(self, waiting: int, per_tick: int) -> float:
        """Return the seconds until the first message after the endpoint recovers."""
        if self._rate_per_s is not None:
            return 0.0
        return self._mean_s(waiting, per_tick) * random.random()  # noqa: S311 - as above

    def _mean_s(self, waiting: int, per_tick: int) -> float:
        return min(SPREAD * self._interval_s / max(1, per_tick), LONG_S / max(1, waiting))


class SendSlot:
    """Holds the time of the next message of the backlog worker. The worker reads it again when `changed` is set."""

    def __init__(self, pace: Pace) -> None:
        self.at = 0.0
        """The time, in monotonic seconds."""
        self.per_tick = 1
        """Messages of the newest tick."""
        self.changed = asyncio.Event()
        """Set when the time has changed, or when there is more to send."""
        self._pace = pace

    def begin(self, at: float, waiting: int) -> None:
        """Set the time of the first message after the endpoint recovers at monotonic second `at`."""
        self.at = at + self._pace.start_s(waiting, self.per_tick)

    def hold(self, until: float, waiting: int) -> None:
        """Do not send before monotonic second `until`."""
        self.at = max(self.at, until + self._pace.start_s(waiting, self.per_tick))

    def take(self, now: float, waiting: int) -> None:
        """Set the time of the next message, because one is sent at monotonic second `now`."""
        self.at = max(self.at + self._pace.gap_s(waiting, self.per_tick), now)
