"""Opens the queue's file; what cannot be used is set aside with a date, and what can be read of it taken over."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import structlog

from agent.outbox_record import Unsaved
from agent.outbox_store import Store, means_damage, salvage

log = structlog.get_logger(__name__)

_CHUNK = 256


def open_or_begin(path: Path, max_size_mb: int) -> Store:
    """Raises sqlite3.Error or OSError only when the disk does not let us write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return Store.open(path, max_size_mb)
    except sqlite3.DatabaseError as error:
        if not means_damage(error):
            raise
        aside = _set_aside(path, str(error))
    store = Store.open(path, max_size_mb)
    log.warning("outbox_salvaged", messages=_take_over(store, aside), set_aside=str(aside))
    return store


def _set_aside(path: Path, reason: str) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    for suffix in ("-wal", ""):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(aside.with_name(aside.name + suffix))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    log.error("outbox_set_aside", path=str(path), set_aside=str(aside), reason=reason)
    return aside


def _take_over(store: Store, aside: Path) -> int:
    """Copy what is legible, a chunk at a time; how many messages that were."""
    saved: set[int] = set()
    chunk = Unsaved()
    for record in salvage(aside):
        if record.seq not in saved:
            saved.add(record.seq)
            chunk.add(record)
        if len(chunk.added) >= _CHUNK:
            store.apply(chunk, durable=False)
            chunk.clear()
    store.apply(chunk, durable=True)
    return len(saved)
