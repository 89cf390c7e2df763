"""The live messages of one tick, which share its turns and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.outbox import Record
from agent.runtime import Clock, sleep_unless

TURNS = 1
"""Attempts of one tick side by side."""


@dataclass(slots=True, eq=False)
class LiveTick:
    """Live until a newer tick replaces it; then its messages are backlog."""

    new: list[Record] = field(default_factory=list)
    """Messages that no task has taken yet."""
    open: int = 0
    """Messages that are not settled."""
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TURNS))
    retry_at: float = 0.0
    """Monotonic second before which no message of this tick is tried again."""
    tried: set[int] = field(default_factory=set)
    """Seqs of messages that had an attempt in this tick."""
    offered: set[int] = field(default_factory=set)
    """Seqs of all messages of this tick: a message in two hands would be sent twice."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a newer tick replaces this one, or when the agent ends. No further attempt starts."""

    def offer(self, records: Iterable[Record]) -> None:
        """Add messages, except those that were offered before."""
        fresh = [record for record in records if record.seq not in self.offered]
        self.offered.update(record.seq for record in fresh)
        self.new += fresh
        self.open += len(fresh)

    async def sleep(self, clock: Clock, seconds: float) -> None:
        """Sleep for `seconds`, or until the tick is over."""
        if seconds > 0:
            await sleep_unless(clock, seconds, self.over)
