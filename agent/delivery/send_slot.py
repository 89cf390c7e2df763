"""When the next message of the backlog may go; the outcomes of all attempts move it."""

from __future__ import annotations

import asyncio

from agent.delivery.pacing import Pace


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
