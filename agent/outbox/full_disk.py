"""Finds room for the queue on a full disk, and decides which records are dropped for it.

The file grows into its reserve, then into what the disk has left. After that the oldest records are dropped.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import structlog

from agent.outbox.disk_events import DiskTrouble
from agent.outbox.disk_reserve import RESERVE_BYTES, Reserve
from agent.outbox.drops import Drops
from agent.outbox.record import PendingWrites
from agent.outbox.store import PAGE_BYTES, Store
from agent.storage import is_full

log = structlog.get_logger(__name__)

# What one transaction writes: changes of each kind, and bytes of new messages. On a full disk the log has little space.
_PART = (1024, 1024 * 1024)
_PART_WHEN_FULL = (32, 32 * 1024)


class FullDisk:
    """The reserve of one queue, and the steps that make room. `pending` are changes that are not saved yet."""

    def __init__(self, path: Path, trouble: DiskTrouble, drops: Drops) -> None:
        self._reserve = Reserve(path)
        self._trouble = trouble
        self._drops = drops

    def part(self, pending: PendingWrites) -> PendingWrites:
        """The changes that the next transaction writes."""
        return pending.part(*(_PART_WHEN_FULL if self._trouble.full else _PART))

    def hold_reserve(self, store: Store) -> None:
        """Create the reserve. On a full disk, use what there is for the queue."""
        if not self._reserve.keep():
            self._trouble.note_full()
            with contextlib.suppress(sqlite3.Error, OSError):
                store.claim(RESERVE_BYTES)

    def give_reserve(self) -> bool:
        """Delete the reserve. Returns whether there was one."""
        return self._reserve.give()

    def checkpoint(self, store: Store) -> bool:
        """Write the log back. On a full disk, use the space of the reserve. Returns whether it succeeded."""
        try:
            if store.has_room_for_log():
                return store.checkpoint()
            self._trouble.note_full()
            if not self._reserve.give() or not store.checkpoint():
                return False
            store.claim(RESERVE_BYTES)
        except (sqlite3.Error, OSError) as error:
            log.debug("outbox_checkpoint_failed", reason=str(error))
            return False
        return True

    def made_room(self, store: Store, part: PendingWrites, error: Exception, pending: PendingWrites) -> bool:
        """Make room for `part`, whose transaction failed. Returns whether there is more room than before."""
        if not is_full(error):
            return False
        try:
            if not store.at_bound(part.size):
                self._trouble.note_full()
                self._reserve.give()
                if store.claim(RESERVE_BYTES):
                    return True
            return self._drop_oldest(store, max(part.size, PAGE_BYTES), pending)
        except (sqlite3.Error, OSError):
            return False

    def shrink(self, store: Store, pending: PendingWrites) -> None:
        """Drop the oldest records until the file has its configured size."""
        while store.over_bound() and self._drop_oldest(store, _PART_WHEN_FULL[1], pending):
            pass

    def saved(self, store: Store) -> None:
        """Note that all changes are in the file. The trouble ends when the disk has room for the reserve again."""
        if not self._reserve.held and self._reserve.keep():
            store.relax()
        self._trouble.note_saved(reserve_held=self._reserve.held)

    def _drop_oldest(self, store: Store, size: int, pending: PendingWrites) -> bool:
        """Drop the oldest records of `size` bytes together. SQLite reuses only pages that became empty."""
        victims = PendingWrites(gone=set(store.victims(size, pending)))
        if not victims:
            return False
        store.apply(victims, durable=False)
        self._drops.add(len(victims.gone), "size")
        return True
