"""How fast the backlog follows the live messages.

After an outage every agent of a fleet has a backlog at the same moment. At a fixed rate each, they would all send it in
the same minutes: a second outage. So the backlog goes at a share of the live rate, at random moments: what an outage
left behind takes `SPREAD` times as long as the outage, and the endpoint sees less than twice its usual load. A backlog
of more than about two hours goes faster, so that none takes days.
"""

from __future__ import annotations

import asyncio
import random

SPREAD = 1.8
# A backlog of n messages sends its next within this many seconds / n, if that is sooner.
LONG_S = 4 * 3600.0


class Pace:
    """Gaps between the messages of the backlog; `rate_per_s` fixes them for whoever knows that he may."""

    def __init__(self, interval_s: float, rate_per_s: float | None = None) -> None:
        self._interval_s = interval_s
        self._rate_per_s = rate_per_s

    def gap_s(self, waiting: int, per_tick: int) -> float:
        """Seconds from one message to the next while `waiting` wait and each push interval makes `per_tick` more."""
        if self._rate_per_s is not None:
            return 1 / self._rate_per_s
        return self._mean_s(waiting, per_tick) * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing

    def start_s(self, waiting: int, per_tick: int) -> float:
        """Seconds until the first message, when the endpoint takes messages again."""
        if self._rate_per_s is not None:
            return 0.0
        return self._mean_s(waiting, per_tick) * random.random()  # noqa: S311 - as above

    def _mean_s(self, waiting: int, per_tick: int) -> float:
        return min(SPREAD * self._interval_s / max(1, per_tick), LONG_S / max(1, waiting))


class SendSlot:
    """Read by the backlog worker, which looks again when `changed` is set."""

    def __init__(self, pace: Pace) -> None:
        self.at = 0.0
        """In monotonic seconds."""
        self.per_tick = 1
        """As many messages as the newest tick made."""
        self.changed = asyncio.Event()
        """The slot is another, or there is more to send."""
        self._pace = pace

    def begin(self, at: float, waiting: int) -> None:
        """The endpoint takes messages from monotonic second `at` on."""
        self.at = at + self._pace.start_s(waiting, self.per_tick)

    def hold(self, until: float, waiting: int) -> None:
        """It will, and not before monotonic second `until`."""
        self.at = max(self.at, until + self._pace.start_s(waiting, self.per_tick))

    def take(self, now: float, waiting: int) -> None:
        """One goes now."""
        self.at = max(self.at + self._pace.gap_s(waiting, self.per_tick), now)
