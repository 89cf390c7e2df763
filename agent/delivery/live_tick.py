"""The live messages of one tick, and the limit of their parallel attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil

from agent.outbox import Record
from agent.runtime import Clock, WakeEvent, sleep_unless

# The messages of a tick should be sent within this share of the push interval.
_SHARE = 0.25


def attempts_needed(messages: int, round_trip_s: float, interval_s: float, most: int) -> int:
    """Return how many parallel attempts send `messages` within `_SHARE` of `interval_s`; at most `most`.

    An attempt takes `round_trip_s` seconds. If `round_trip_s` is 0, it is not known, and the result is 0.
    """
    return min(most, messages, ceil(messages * round_trip_s / (_SHARE * interval_s)))


@dataclass(slots=True, eq=False)
class LiveTick:
    """The messages of one tick. When a newer tick replaces this one, the undelivered messages become backlog."""

    new: list[Record] = field(default_factory=list)
    """Messages for which the live worker has not started a task yet."""
    open: int = 0
    """Number of messages for which `RetryLink.send` has not ended."""
    width: int = 1
    """Maximum number of parallel attempts. `RetryLink` increases it while the endpoint is well."""
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Limits the parallel attempts to `width`."""
    retry_at: float = 0.0
    """No attempt of this tick starts before this monotonic second. This includes first attempts."""
    tried: set[int] = field(default_factory=set)
    """Seqs of messages that had an attempt in this tick."""
    offered: set[int] = field(default_factory=set)
    """Seqs of all messages of this tick, so that no message is given to two tasks and sent twice."""
    over: WakeEvent = field(default_factory=WakeEvent)
    """Set when a newer tick replaces this one, or when the live worker stops. Then no further attempt of this tick
    starts."""

    def offer(self, records: Iterable[Record]) -> None:
        fresh = [record for record in records if record.seq not in self.offered]
        self.offered.update(record.seq for record in fresh)
        self.new += fresh
        self.open += len(fresh)

    def widen(self, width: int) -> None:
        """Allow `width` parallel attempts, if fewer are allowed now."""
        while self.width < width:
            self.width += 1
            self.turns.release()

    async def sleep(self, clock: Clock, seconds: float) -> None:
        await sleep_unless(clock, seconds, self.over)
