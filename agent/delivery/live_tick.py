"""The live messages of one tick, which share its turns and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from agent.outbox import Record
from agent.runtime import Clock, sleep_unless

TURNS = 1
"""Attempts of one tick side by side."""


class LiveTick:
    """Live until a newer tick replaces it; then its messages are backlog."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.turns = asyncio.Semaphore(TURNS)
        self.retry_at = 0.0
        """Monotonic second before which no message of this tick is tried again."""
        self.open = 0
        """Messages that are not settled."""
        self._seqs: set[int] = set()
        self._new: list[Record] = []
        self._over = asyncio.Event()
        self.offer(records)

    @property
    def over(self) -> bool:
        """A newer tick replaced this one, or the agent ends."""
        return self._over.is_set()

    def end(self) -> None:
        """Start no further attempt of this tick."""
        self._over.set()

    def offer(self, records: Iterable[Record]) -> None:
        """Add messages, except those that were offered before: a message in two hands would be sent twice."""
        for record in records:
            if record.seq not in self._seqs:
                self._seqs.add(record.seq)
                self._new.append(record)
                self.open += 1

    def take(self) -> list[Record]:
        """Return the messages that were offered and not taken yet."""
        new, self._new = self._new, []
        return new

    async def sleep(self, clock: Clock, seconds: float) -> None:
        """Sleep for `seconds`, or until the tick is over."""
        if seconds > 0:
            await sleep_unless(clock, seconds, self._over)
