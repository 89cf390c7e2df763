"""Stores the queue's records in the file, and in memory while the disk is not writable.

While the disk works, `write` is one transaction. During a disk failure, the changes are added to the pending writes,
which are saved in parts as soon as the disk accepts them. Reads merge the file with the pending writes.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import structlog

from agent.outbox.disk_events import DiskFailure
from agent.outbox.drops import Drops
from agent.outbox.full_disk import FullDisk
from agent.outbox.record import Counts, PendingWrites, Record
from agent.outbox.recovery import copy_to, count_missing, legible, open_or_begin
from agent.outbox.schema import DamagedRecordError
from agent.outbox.store import Store
from agent.storage import NotAloneError, check_locks, code, means_damage

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Maximum bytes of new messages that are kept in memory while the disk is not writable.
MEMORY_BYTES = 4 * 1024 * 1024
# A read or write stops after this many tries that find a damaged file or record.
_TRIES = 16
# Number of records in one transaction of a copy.
_CHUNK = 256
# Seconds after which the write-ahead log is written back into the file. The daemon calls `checkpoint_if_due` about
# every 2 s, so at most the messages of a minute are only in this log.
CHECKPOINT_S = 50.0
# If this many records are only in the write-ahead log, it is written back before `CHECKPOINT_S` have passed.
_MAX_RECENT = 256
# After these errors, the file cannot be written at the moment, but can still be read.
_PASSING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY)


class ResilientStore:
    """Not thread-safe. No call fails because of the disk, and every change is visible at once."""

    def __init__(self, path: Path, max_size_mb: int, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._max_size_mb = max_size_mb
        self._monotonic = monotonic
        self._store: Store | None = None
        self._unsaved = PendingWrites()
        """Changes that the disk did not accept yet. Empty except during a write or a disk failure."""
        self._failure = DiskFailure(path, monotonic)
        self._recent_since: float | None = None
        """Monotonic second at which `checkpoint_if_due` first found records that are only in the write-ahead log. None
        if it found none or has just tried a checkpoint."""
        self._told_removed = False
        """Whether the event `outbox_removed` was logged for the open file."""
        self._may_exceed_bound = True
        """Whether the file may be larger than the configured size. If so, SQLite reports no error while it fills the
        free pages, so `write` drops records. `write` sets this to False when it has saved a new message and the file is
        not larger."""
        self.last_seq = 0
        """The highest seq so far."""
        self.drops = Drops()
        self._full_disk = FullDisk(path, self._failure, self.drops)

    def open(self) -> None:
        """Open or create the file and the reserve."""
        self._attach()

    def reopen_if_needed(self) -> None:
        """Reopen the file if it is not open for writing, or if the file or its write-ahead log was removed or
        replaced.

        Raises NotAloneError if another agent has locked the directory at the path. The open file was then moved with
        its former directory, and stays usable.
        """
        store = self._store
        missing = None if store is None else store.files.missing()
        if store is not None and missing is None and not store.read_only:
            return
        check_locks()
        if store is None:
            self._attach()
            return
        reopen = store.read_only
        if not reopen and missing != self._path:
            log.error("outbox_log_removed", path=str(self._path), waiting=self.counts().waiting)
            reopen = self._full_disk.checkpoint(store)
        # The file may have been moved since `missing` was called. A moved file must stay open, because the agent does
        # not know its new path.
        if store.files.moved():
            self._move(store)
        elif reopen:
            self._attach()

    def checkpoint_if_due(self) -> None:
        """Write the write-ahead log back into the file if messages have been only in this log for `CHECKPOINT_S`
        seconds, or if it has at least `_MAX_RECENT` such messages.

        The first call that finds messages that are only in this log notes the time, and writes nothing.
        """
        recent = 0 if self._store is None else len(self._store.recent.seqs)
        if self._store is None or not recent:
            self._recent_since = None
        elif self._recent_since is None:
            self._recent_since = self._monotonic()
        elif self._monotonic() - self._recent_since >= CHECKPOINT_S or recent >= _MAX_RECENT:
            # The time starts again, even if this checkpoint fails.
            self._recent_since = None
            self._full_disk.checkpoint(self._store)

    def _move(self, removed: Store) -> None:
        """Copy the records of a removed file into a new file at the path, or into the file that is there now.

        Until that succeeds, use the removed file.
        """
        if not self._told_removed:
            log.error("outbox_removed", path=str(self._path), waiting=self.counts().waiting)
        held = self._read(lambda store: store.counts()) or Counts(0, 0)
        if self._store is not removed:  # the removed file is damaged too, so the read above closed it
            return
        damaged = False
        try:
            copied = copy_to(self._path, self._max_size_mb, removed)
        except (sqlite3.Error, OSError) as error:
            copied, damaged = None, means_damage(error)
        if copied is not None:
            removed.recent.write(set(), copied)  # all records are in the new file itself, not in a log
            self._attach()
            self.drops.add(max(0, held.waiting + held.parked - copied), "damaged")
        elif damaged or self._path.exists():
            self._add_to_another(removed, held)
        self._told_removed = self._store is removed

    def _add_to_another(self, removed: Store, held: Counts) -> None:
        """Add the records of a removed file to the file that is now at the path. If there is none, create it.

        `held` is the number of these records. If the file at the path cannot be opened for writing, continue with the
        removed file.
        """
        self._store = None
        removed.files.remove_sides()
        listed = removed.recent.seqs, removed.recent.total
        removed.recent.write(set(), 0)  # the file at the path does not have these records yet
        self._attach()
        if self._store is None or self._store.read_only:
            self._detach()
            removed.recent.write(*listed)
            self._store = removed
            return
        copied = 0
        gone, changed = set(self._unsaved.gone), dict(self._unsaved.changed)
        with contextlib.closing(removed):
            records = legible(removed)
            while chunk := list(islice(records, _CHUNK)):
                copied += len(chunk)
                # The removed file lacks the changes that could not be saved.
                added = {each.seq: changed.get(each.seq, each) for each in chunk if each.seq not in gone}
                self.write(PendingWrites(added=added), durable=True)
        self.drops.add(max(0, held.waiting + held.parked - copied), "damaged")

    @property
    def in_memory(self) -> bool:
        return self._failure.in_memory

    def find(
        self, ask: Callable[[Store], Iterable[Record]], wanted: Callable[[Record], bool], limit: int | None = None
    ) -> list[Record]:
        """Return the records for which `wanted` is true, oldest first; at most `limit`, or all.

        `ask` yields records of the file, oldest first: at least those that are wanted.
        """

        def stored(store: Store) -> list[Record]:
            found = (record for record in ask(store) if record.seq not in self._unsaved and wanted(record))
            return list(islice(found, limit))

        unsaved = [record for record in self._unsaved.records if wanted(record)]
        return sorted((self._read(stored) or []) + unsaved, key=lambda record: record.seq)[:limit]

    def get(self, seq: int) -> Record | None:
        if seq in self._unsaved:
            return self._unsaved.added.get(seq) or self._unsaved.changed.get(seq)
        return self._read(lambda store: store.get(seq))

    def counts(self) -> Counts:
        stored = self._read(lambda store: store.counts()) or Counts(0, 0)
        if not self._unsaved:
            return stored
        masked = self._read(lambda store: store.counts_of(self._unsaved)) or Counts(0, 0)
        unsaved = self._unsaved.records
        parked = sum(record.parked is not None for record in unsaved)
        waiting = len(unsaved) - parked
        return Counts(stored.waiting - masked.waiting + waiting, stored.parked - masked.parked + parked)

    def oldest(self, limit: int) -> list[tuple[int, float, bool]]:
        """Return the result of `Store.oldest`, without the records that have unsaved changes."""
        oldest = self._read(lambda store: store.oldest(limit)) or []
        return [each for each in oldest if each[0] not in self._unsaved]

    def write(self, changes: PendingWrites, *, durable: bool = False) -> None:
        """Make these changes. If `durable`, they survive a power cut, except while changes are kept in memory.

        A change of a deleted record has no effect. If the file has no room for new records, other records are dropped:
        first dead letters, then the oldest of the others.
        """
        if changes.added:
            self.last_seq = max(self.last_seq, *changes.added)
        if self._store is not None and self._failure.since is None and not self._may_exceed_bound:
            # If this fails, `_save` meets the same error, and handles it.
            with contextlib.suppress(sqlite3.Error, OSError):
                self._store.apply(changes, durable=durable)
                return
        self._unsaved.merge(changes)
        self._save(durable=durable)
        if self._may_exceed_bound and changes.added and not self._unsaved:
            self._read(lambda store: self._full_disk.shrink(store, self._unsaved))
            self._may_exceed_bound = self._read(lambda store: store.has_pages_beyond_bound()) is not False

    def drop(self, seqs: Sequence[int], reason: str) -> None:
        if seqs:
            self.write(PendingWrites(gone=set(seqs)))
            self.drops.add(len(seqs), reason)

    def close(self) -> None:
        if self._unsaved:
            if self._store is None or self._store.read_only:
                self._attach()
            self._save(durable=True)
        self.drops.add(len(self._unsaved.added), "memory")
        if self._store is not None and self._store.recent.seqs:
            self._full_disk.checkpoint(self._store)
        self._detach()

    def _read(self, read: Callable[[Store], T]) -> T | None:
        """Read from the file; return None if that fails. Damaged records are dropped. A damaged file is replaced."""
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

    def _save(self, *, durable: bool) -> None:
        """Write the pending changes to the file. If that fails, they stay in memory.

        If the new records in memory then have more than `MEMORY_BYTES`, the oldest of them are dropped.
        """
        durable = durable or self.in_memory
        damages = 0
        while self._store is not None and not self._store.read_only and damages < _TRIES:
            part = self._full_disk.part(self._unsaved)
            try:
                self._store.apply(part, durable=durable)
            except (sqlite3.Error, OSError) as error:
                if self._full_disk.make_room(self._store, part, error, self._unsaved):
                    continue
                damages += 1
                if damages == _TRIES:
                    self._failure.note_in_memory(error)
                if not self._replaced_damaged(error):
                    break
            else:
                self._unsaved.settle(part)
                if not self._unsaved:
                    self._full_disk.saved(self._store)
                    return
        self.drops.add(self._unsaved.drop_oldest(MEMORY_BYTES), "memory")

    def _attach(self, damage: str | None = None) -> None:
        """Open the file for writing, or replace it if it is damaged. If that fails, open it read-only, if possible.

        `damage` is the reason to replace the file without opening it. If another agent has locked the directory, open
        nothing.
        """
        self._detach()
        self._may_exceed_bound = True
        try:
            self._store = self._open(damage)
            count_missing(self._store, self.drops)
            if self._store.recent.seqs:
                self._full_disk.checkpoint(self._store)
        except NotAloneError as error:
            self._failure.note_in_memory(error)
            return
        except (sqlite3.Error, OSError) as error:
            self._failure.note_in_memory(error)
            self._detach()
            try:
                self._store = Store.open_read_only(self._path)
            except (sqlite3.Error, OSError):
                return
        else:
            self._full_disk.hold_reserve(self._store)
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
            if not self._full_disk.give_reserve():
                raise
        return open_or_begin(self._path, self._max_size_mb, damage)

    def _replaced_damaged(self, error: Exception) -> bool:
        """Handle an error of the disk. Return whether a new file replaced a damaged one."""
        if self._store is not None and self._store.files.moved():
            # The file was moved. It stays open, because the agent does not know its new path. `reopen_if_needed` copies
            # its records.
            self._failure.note_in_memory(error)
            return False
        if code(error) not in _PASSING:
            self._detach()
        if means_damage(error):
            self._attach(str(error))
            return self._store is not None and not self._store.read_only
        self._failure.note_in_memory(error)
        return False
