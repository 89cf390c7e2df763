"""Stores the queue's records in the file, and in memory while the disk is not writable.

Reads merge the file with the pending writes. There are none, except during a write or a disk failure.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import structlog

from agent.outbox.disk_reserve import Reserve
from agent.outbox.drops import DROPPED_AT_ONCE, Drops
from agent.outbox.record import Counts, PendingWrites, Record
from agent.outbox.recovery import open_or_begin
from agent.outbox.schema import DamagedRecordError
from agent.outbox.store import Store
from agent.storage import code, means_damage

log = structlog.get_logger(__name__)

T = TypeVar("T")

MEMORY_BYTES = 4 * 1024 * 1024
_TRIES = 16
_CHUNK = 256
# The file is not writable at the moment, but still good for reading.
_PASSING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY)


class ResilientStore:
    """Not thread-safe. No call fails, whatever the state of the disk, and every change takes effect at once."""

    def __init__(self, path: Path, max_size_mb: int, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._max_size_mb = max_size_mb
        self._monotonic = monotonic
        self._store: Store | None = None
        self._reserve = Reserve(path)
        self._unsaved = PendingWrites()
        self._in_memory_since: float | None = None
        self._may_exceed_bound = True
        """The file is new to this process: it may be larger than the configured bound."""
        self.last_seq = 0
        """The highest seq so far."""
        self.drops = Drops()

    def open(self) -> None:
        """Open or create the file and the reserve."""
        self._attach()
        self._reserve.keep()

    def reach(self) -> None:
        """Reopen the file if it could not be written, or if the path no longer names the open file."""
        if self._store is None or self._store.read_only:
            self._attach()
        elif not self._store.in_place(self._path):
            self._move(self._store)

    def _move(self, removed: Store) -> None:
        """Copy the records of a removed file into a new one. The removed file is readable until it is closed."""
        log.error("outbox_removed", path=str(self._path), waiting=self.counts().waiting)
        self._store = None
        self._attach()
        with contextlib.suppress(sqlite3.Error), contextlib.closing(removed):
            records = removed.everything()
            while chunk := list(islice(records, _CHUNK)):
                self.add(chunk)

    @property
    def in_memory(self) -> bool:
        """Whether changes are kept in memory, because the disk is not writable."""
        return self._in_memory_since is not None

    def find(
        self, ask: Callable[[Store], Iterable[Record]], wanted: Callable[[Record], bool], limit: int | None = None
    ) -> list[Record]:
        """The oldest records for which `wanted` is true. `ask` yields at least these of the file, oldest first."""

        def stored(store: Store) -> list[Record]:
            found = (record for record in ask(store) if record.seq not in self._unsaved and wanted(record))
            return list(islice(found, limit))

        here = [record for record in self._unsaved.records if wanted(record)]
        return sorted((self._read(stored) or []) + here, key=lambda record: record.seq)[:limit]

    def get(self, seq: int) -> Record | None:
        """The current state of the record; None if it is gone."""
        if seq in self._unsaved:
            return self._unsaved.added.get(seq) or self._unsaved.changed.get(seq)
        return self._read(lambda store: store.get(seq))

    def counts(self) -> Counts:
        """How many wait and how many are parked."""
        stored = self._read(lambda store: store.counts()) or Counts(0, 0)
        if not self._unsaved:
            return stored
        masked = self._read(lambda store: store.tally(self._unsaved.seqs)) or Counts(0, 0)
        here = self._unsaved.records
        dead = sum(record.parked is not None for record in here)
        return Counts(stored.waiting - masked.waiting + len(here) - dead, stored.parked - masked.parked + dead)

    def oldest(self, limit: int) -> list[tuple[int, float, bool]]:
        """Seq, date in Unix seconds, and whether the date is known, of the oldest records in the file."""
        oldest = self._read(lambda store: store.oldest(limit)) or []
        return [each for each in oldest if each[0] not in self._unsaved]

    def add(self, records: Iterable[Record]) -> None:
        """Add new records, newest last; durable on return unless `in_memory`. Drops the oldest if there is no room."""
        for record in records:
            self._unsaved.add(record)
            self.last_seq = max(self.last_seq, record.seq)
        self._save(durable=True)
        if self._may_exceed_bound and not self._unsaved:
            self._may_exceed_bound = False
            self._read(self._shrink)

    def change(self, records: Iterable[Record]) -> None:
        """Save the new state of these records, if they still exist."""
        for record in records:
            self._unsaved.change(record)
        self._save()

    def remove(self, seqs: Iterable[int]) -> None:
        """Delete these records."""
        for seq in seqs:
            self._unsaved.remove(seq)
        self._save()

    def drop(self, seqs: Sequence[int], reason: str) -> None:
        """Delete these records and count them as dropped."""
        if seqs:
            self.remove(seqs)
            self.drops.add(len(seqs), reason)

    def close(self) -> None:
        """Save what is still in memory, if the disk is writable, and close the file."""
        if self._unsaved:
            self._attach()
            self._save(durable=True)
        self._detach()

    def _read(self, read: Callable[[Store], T]) -> T | None:
        """Read from the file; None if that fails. Damaged records are dropped, a damaged file is replaced."""
        for _ in range(_TRIES):
            if self._store is None:
                break
            try:
                return read(self._store)
            except DamagedRecordError as error:
                self.drop([error.seq], "damaged")
            except (sqlite3.Error, OSError) as error:
                if not self._replaced_damaged(error):
                    break
        return None

    def _save(self, *, durable: bool = False) -> None:
        """Write the pending changes to the file. If that fails, they stay in memory."""
        for _ in range(_TRIES):
            if self._store is None:
                break
            try:
                self._store.apply(self._unsaved, durable=durable or self._in_memory_since is not None)
            except (sqlite3.Error, OSError) as error:
                if not self._made_room(self._store, error) and not self._replaced_damaged(error):
                    break
            else:
                self._unsaved.clear()
                if self._in_memory_since is not None or not self._reserve.held:
                    self._recovered(self._store)
                return
        self.drops.add(self._unsaved.shed(MEMORY_BYTES), "memory")

    def _made_room(self, store: Store, error: Exception) -> bool:
        """Make room on a full disk by dropping old records. Returns whether to write again."""
        if code(error) != sqlite3.SQLITE_FULL:
            return False
        try:
            if not store.at_bound():
                self._reserve.give()
                store.tighten()
            return self._drop_oldest(store)
        except (sqlite3.Error, OSError):
            return False

    def _drop_oldest(self, store: Store) -> bool:
        count = max(DROPPED_AT_ONCE, len(self._unsaved.added))  # one tick of a large site adds that many at once
        oldest = store.oldest_parked(count) or [seq for seq, _, _ in store.oldest(count)]
        victims = PendingWrites(gone={seq for seq in oldest if seq not in self._unsaved})
        if not victims:
            return False
        store.apply(victims, durable=False)
        self.drops.add(len(victims.gone), "size")
        return True

    def _shrink(self, store: Store) -> None:
        while store.over_bound() and self._drop_oldest(store):
            pass

    def _attach(self, damage: str | None = None) -> None:
        """Open the file: for writing, else a new one in its place, else read-only, else none."""
        self._detach()
        self._may_exceed_bound = True
        try:
            self._store = self._open(damage)
        except (sqlite3.Error, OSError) as error:
            self._note_in_memory(error)
            try:
                self._store = Store.open_read_only(self._path)
            except (sqlite3.Error, OSError):
                return
        self._store.gone = self._unsaved.gone
        self.last_seq = max(self.last_seq, self._read(lambda store: store.last_seq()) or 0)
        self.drop(self._read(lambda store: store.impossible()) or [], "damaged")

    def _detach(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _open(self, damage: str | None) -> Store:
        try:
            return open_or_begin(self._path, self._max_size_mb, damage)
        except (sqlite3.Error, OSError):
            if not self._reserve.give():
                raise
            return open_or_begin(self._path, self._max_size_mb, damage)

    def _replaced_damaged(self, error: Exception) -> bool:
        """Handle an error of the disk. Returns whether a new file replaced a damaged one."""
        if code(error) not in _PASSING:
            self._detach()
        if means_damage(error):
            self._attach(str(error))
            return self._store is not None and not self._store.read_only
        self._note_in_memory(error)
        return False

    def _note_in_memory(self, error: Exception) -> None:
        first = self._in_memory_since is None
        if first:
            self._in_memory_since = self._monotonic()
        (log.error if first else log.debug)(
            "outbox_in_memory",
            path=str(self._path),
            reason=str(error),
            at_risk="messages that are measured until the disk is writable",
        )

    def _recovered(self, store: Store) -> None:
        if not self._reserve.held and self._reserve.keep():
            store.relax()
        if self._in_memory_since is not None:
            log.info("outbox_recovered", after_s=round(self._monotonic() - self._in_memory_since, 1))
            self._in_memory_since = None
