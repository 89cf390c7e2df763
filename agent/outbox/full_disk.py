"""Makes room for the queue on a full disk, and decides which records are dropped for this.

When a write fails:

- If the queue's file has its configured size, records are dropped at once.
- If the disk is full, the reserve (`agent.outbox.disk_reserve`) is deleted if it still exists. The file then grows into
  the free space of the disk. If there is no free space, records are dropped.

Dead letters are dropped first, then the oldest other records.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import structlog

from agent.outbox.disk_events import DiskFailure
from agent.outbox.disk_reserve import RESERVE_BYTES, Reserve
from agent.outbox.drops import Drops
from agent.outbox.record import PendingWrites
from agent.outbox.store import PAGE_BYTES, Store
from agent.storage import is_full

log = structlog.get_logger(__name__)

# Limits of one transaction: number of changes of each kind, and bytes of messages. On a full disk they are small,
# because the write-ahead log has little space.
_PART = (1024, 1024 * 1024)
_PART_WHEN_FULL = (32, 32 * 1024)


class FullDisk:
    """The reserve of one queue, and the steps that make room.

    In all methods, `pending` contains the changes that are not saved yet. Their records are not dropped.
    """

    def __init__(self, path: Path, failure: DiskFailure, drops: Drops) -> None:
        self._reserve = Reserve(path)
        self._failure = failure
        self._drops = drops

    def part(self, pending: PendingWrites) -> PendingWrites:
        """Return the changes that the next transaction writes."""
        return pending.part(*(_PART_WHEN_FULL if self._failure.full else _PART))

    def hold_reserve(self, store: Store) -> None:
        """Create the reserve. If the disk has no room for it, the queue's file gets the free space instead."""
        if not self._reserve.keep():
            self._failure.note_full()
            with contextlib.suppress(sqlite3.Error, OSError):
                store.use_free_space(RESERVE_BYTES)

    def give_reserve(self) -> bool:
        """Delete the reserve. Return whether there was one."""
        return self._reserve.give()

    def checkpoint(self, store: Store) -> bool:
        """Write the write-ahead log back into the file. If the disk has no room for this, delete the reserve first.

        Return whether all of the log was written back.
        """
        try:
            if store.has_room_for_log():
                return store.checkpoint()
            self._failure.note_full()
            if not self._reserve.give() or not store.checkpoint():
                return False
            store.use_free_space(RESERVE_BYTES)
        except (sqlite3.Error, OSError) as error:
            log.debug("outbox_checkpoint_failed", reason=str(error))
            return False
        return True

    def make_room(self, store: Store, part: PendingWrites, error: Exception, pending: PendingWrites) -> bool:
        """Make room for `part`, whose transaction failed with `error`. Return whether there is more room now."""
        if not is_full(error):
            return False
        try:
            if not store.at_bound(part.size):
                self._failure.note_full()
                self._reserve.give()
                if store.use_free_space(RESERVE_BYTES):
                    return True
            return self._drop_oldest(store, max(part.size, PAGE_BYTES), pending)
        except (sqlite3.Error, OSError):
            return False

    def shrink(self, store: Store, pending: PendingWrites) -> None:
        """Drop records until the others fit into the configured size of the file, or only those in `pending` remain."""
        while store.over_bound() and self._drop_oldest(store, _PART_WHEN_FULL[1], pending):
            pass

    def saved(self, store: Store) -> None:
        """Note that all changes are in the file. Create the reserve again if the disk has room for it."""
        if not self._reserve.held and self._reserve.keep():
            store.release_free_space()
        self._failure.note_saved(reserve_held=self._reserve.held)

    def _drop_oldest(self, store: Store, size: int, pending: PendingWrites) -> bool:
        """Drop records with at least `size` bytes in total, or all of them. Return False if there are none to drop."""
        oldest = PendingWrites(gone=set(store.oldest_of_size(size, pending)))
        if not oldest:
            return False
        store.apply(oldest, durable=False)
        self._drops.add(len(oldest.gone), "size")
        return True
