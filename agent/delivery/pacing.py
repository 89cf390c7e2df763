"""Decides the rate at which the backlog is sent.

After an outage, every agent of a fleet has a backlog at the same moment. At a fixed rate, all agents would send their
backlogs in the same minutes and cause a second outage. So each agent sends its backlog at random moments. After an
outage of up to about two hours, the backlog takes `SPREAD` times as long as the outage. The backlog is then sent more
slowly than live messages are made, so the endpoint gets less than twice its usual load. After a longer outage, the
backlog is sent faster, so that no backlog takes days.

If `outbox.backlog_rate_per_s` is set, every agent sends its backlog at this rate instead.
"""

from __future__ import annotations

import random

from agent.runtime import WakeEvent

# The mean gap between two messages of the backlog is at most this many times the mean gap between two live messages.
SPREAD = 1.8
# While n messages wait, the mean gap between two messages of the backlog is at most LONG_S / n seconds.
LONG_S = 4 * 3600.0


class Pace:
    """The gaps between the messages of the backlog: random, or all equal if `rate_per_s` is given."""

    def __init__(self, interval_s: float, rate_per_s: float | None = None) -> None:
        self._interval_s = interval_s
        self._rate_per_s = rate_per_s

    def gap_s(self, waiting: int, per_tick: int) -> float:
        """Return the seconds between two messages, while `waiting` messages wait and each tick adds `per_tick`."""
        if self._rate_per_s is not None:
            return 1 / self._rate_per_s
        return self._mean_s(waiting, per_tick) * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, not a secret

    def start_s(self, waiting: int, per_tick: int) -> float:
        """Return the seconds until the first message after a start, a recovery of the endpoint or a pause."""
        if self._rate_per_s is not None:
            return 0.0
        return self._mean_s(waiting, per_tick) * random.random()  # noqa: S311 - as above

    def _mean_s(self, waiting: int, per_tick: int) -> float:
        return min(SPREAD * self._interval_s / max(1, per_tick), LONG_S / max(1, waiting))


class SendSlot:
    """The time of the backlog worker's next message. `changed` wakes the worker, which then reads the time again."""

    def __init__(self, pace: Pace) -> None:
        self.at = 0.0
        """Monotonic second of the next message."""
        self.per_tick = 1
        """Number of messages of the newest tick."""
        self.changed = WakeEvent()
        """Set when the endpoint recovers, when there is more to send, or when the worker must stop."""
        self._pace = pace

    def begin(self, at: float, waiting: int) -> None:
        """Set the time of the first message after a start or a recovery; not before monotonic second `at`."""
        self.at = at + self._pace.start_s(waiting, self.per_tick)

    def hold(self, until: float, waiting: int) -> None:
        """Do not send before monotonic second `until`."""
        self.at = max(self.at, until + self._pace.start_s(waiting, self.per_tick))

    def take(self, now: float, waiting: int) -> None:
        """Note that a message is sent at monotonic second `now`, and set the time of the next message."""
        self.at = max(self.at + self._pace.gap_s(waiting, self.per_tick), now)
