"""Moves the messages of one queue to another one: the endpoint was renamed. No agent may have either file open."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import structlog

from agent.outbox.files import delete_queue, rename_queue
from agent.outbox.record import PendingWrites, Record
from agent.outbox.store import Store
from agent.storage import sync_folder

log = structlog.get_logger(__name__)

_CHUNK = 256


def take_over(former: Path, path: Path, max_size_mb: int) -> None:
    """Move all messages of the file `former` to the file `path`. After a power cut, a second call completes it.

    If a disk or a damaged file does not allow it, the file `former` stays as it is, and the log says so.
    """
    if not former.exists():
        return
    try:
        if path.exists():
            _merge(former, path, max_size_mb)
            delete_queue(former)
        else:
            rename_queue(former, path)
        sync_folder(path.parent)
    except (sqlite3.Error, OSError) as error:
        log.warning("queue_not_taken_over", path=str(former), by=str(path), reason=str(error))
        return
    log.info("queue_taken_over", path=str(former), by=str(path))


def _merge(former: Path, path: Path, max_size_mb: int) -> None:
    """Copy all messages, each under its id."""
    source = Store.open(former, max_size_mb)
    try:
        target = Store.open(path, max_size_mb)
        try:
            chunk = PendingWrites()
            for record in source.everything():
                _add(chunk, record, target)
                if len(chunk.added) >= _CHUNK:
                    target.apply(chunk, durable=True)
                    chunk.clear()
            target.apply(chunk, durable=True)
        finally:
            target.close()
    finally:
        source.close()


def _add(chunk: PendingWrites, record: Record, target: Store) -> None:
    """Add the record under its seq, or under the next free one. Do nothing if the target has the record already."""
    while (other := chunk.added.get(record.seq) or target.get(record.seq)) is not None:
        if other.id == record.id:
            return
        record = replace(record, seq=record.seq + 1)
    chunk.add(record)
