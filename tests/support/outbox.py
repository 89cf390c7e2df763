"""A queue for tests, and its waiting messages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from agent.outbox.queue import Outbox
from agent.outbox.record import Record


def opened(path: Path, max_size_mb: int = 64, max_age_s: float = 604_800, at: float = 1000.0) -> Outbox:
    """Open the queue at `path`. Its clock always shows `at`, in Unix seconds."""
    return Outbox.open(path, max_age_s=max_age_s, max_size_mb=max_size_mb, now=lambda: at)


def ids_of(records: Iterable[Record]) -> list[str]:
    """Return the ids of the records, in the same order."""
    return [record.id for record in records]


def waiting(outbox: Outbox) -> list[Record]:
    """Return all records that can be sent, oldest first."""
    return sorted(outbox.backlog(1e12, limit=100_000) + outbox.live(), key=lambda record: record.seq)


def bodies_of(outbox: Outbox) -> list[bytes]:
    """Return the bodies of all records that can be sent, oldest first."""
    return [record.body for record in waiting(outbox)]
