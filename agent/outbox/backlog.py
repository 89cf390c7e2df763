"""The state of the queue as plain values, for status and log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from agent.outbox.queue import Outbox


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many messages wait, are parked, and were dropped by which reason."""

    waiting: int
    oldest_s: float | None
    parked: int
    in_memory: bool
    """The disk is not writable, so a restart would lose what is in memory."""
    dropped: Mapping[str, int]


def queued(outbox: Outbox, now: float) -> Backlog:
    """The state of the queue at Unix second `now`. May wait for the disk."""
    counts = outbox.counts()
    first = (outbox.backlog(inf) or outbox.live())[:1]
    return Backlog(
        waiting=counts.waiting,
        oldest_s=max(0.0, now - first[0].created) if first else None,
        parked=counts.parked,
        in_memory=outbox.in_memory,
        dropped=dict(outbox.drops),
    )
