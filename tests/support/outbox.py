"""A queue for tests, and what waits in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from agent.outbox.queue import Outbox
from agent.outbox.record import Record


def opened(path: Path, max_size_mb: int = 64, max_age_s: float = 604_800, at: float = 1000.0) -> Outbox:
    """The queue at `path`, where it is `at` (Unix seconds)."""
    return Outbox.open(path, max_age_s=max_age_s, max_size_mb=max_size_mb, now=lambda: at)


def ids_of(records: Iterable[Record]) -> list[str]:
    """Their ids, in the same order."""
    return [record.id for record in records]


def waiting(outbox: Outbox) -> list[Record]:
    """All that could be sent, oldest first."""
    return sorted(outbox.backlog(1e12, limit=100_000) + outbox.live(), key=lambda record: record.seq)


def bodies_of(outbox: Outbox) -> list[bytes]:
    """The same, as bytes."""
    return [record.body for record in waiting(outbox)]
