"""The state of the queue as plain values, for status and log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from agent.outbox.queue import Outbox


@dataclass(frozen=True, slots=True)
class Backlog:
    """The state of the queue."""

    waiting: int
    """This includes the live and the undated messages."""
    oldest_s: float | None
    """Age of the oldest waiting message that is dated, in seconds; None if there is none."""
    parked: int
    in_memory: bool
    """Whether changes are only in memory, because the disk is not writable. A restart then loses them."""
    dropped: Mapping[str, int]
    """Number of messages dropped since the start, by reason."""


def queued(outbox: Outbox, now: float) -> Backlog:
    """Return the state of the queue at Unix second `now`. May wait for the disk."""
    counts = outbox.counts()
    first = outbox.backlog(inf) or outbox.live()
    return Backlog(
        waiting=counts.waiting,
        oldest_s=max(0.0, now - first[0].created) if first else None,
        parked=counts.parked,
        in_memory=outbox.in_memory,
        dropped=dict(outbox.drops),
    )
