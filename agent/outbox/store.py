"""The SQLite file of the queue: its transactions and queries. Raises sqlite3.Error and OSError.

"The log" is SQLite's write-ahead log. To write the log back, or to make a checkpoint, means to copy the changes in it
into the file.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from agent.outbox.disk_reserve import RESERVE_BYTES
from agent.outbox.recent import RecentRecords
from agent.outbox.record import Counts, PendingWrites, Record
from agent.outbox.schema import (
    COLUMNS,
    INSERT,
    MAX_SEQ,
    UPDATE,
    DamagedRecordError,
    migrate,
    record_from,
    require_current,
    restart_log,
    row_of,
)
from agent.storage import (
    BUSY_S,
    UnusableFileError,
    WatchedFiles,
    free_space,
    is_full,
    keep_log_space,
    open_existing,
    open_for_writing,
    open_read_only,
    pragma,
    transaction,
)

# `apply` writes the log back if the log has at least this many pages. SQLite's own checkpoint is not used, because it
# leaves the old pages in the log. If the log were damaged later, SQLite would treat its undamaged beginning as newer
# than the file.
_WAL_PAGES = 64
_WAL_PAGES_WHEN_TIGHT = 8  # after `use_free_space`
_WAIT_FOR_READERS_S = 0.25
# Bytes that are allocated for the log when the file is opened: 40 pages with their headers. On a full disk, the log
# has only these bytes. It then holds at most about `_WAL_PAGES_WHEN_TIGHT` pages that are not written back yet, and the
# pages of one transaction with 32 KiB of messages. On other disks the log can become larger.
_WAL_BYTES = 40 * 4120
# Pages that one step of `use_free_space` adds to the file.
_CLAIM_PAGES = 16
PAGE_BYTES = 4096  # SQLite's default

# Removes the table of `use_free_space`. `open` does this too, because a killed process leaves the table.
_RELEASE = "DROP TABLE IF EXISTS space"


class Store:
    """One open file."""

    def __init__(self, path: Path, db: sqlite3.Connection, max_pages: int) -> None:
        """`max_pages` is the maximum size of the file in pages; 0 means read-only."""
        self._path = path
        self._db = db
        self.read_only = max_pages == 0
        self._max_pages = max_pages
        self._seen_version: tuple[int] | None = None
        self._counts: Counts | None = None
        self.files = WatchedFiles(path)
        self.recent = RecentRecords()
        """The records that may be only in the log. `list_recent` reads them from the disk."""
        self._uses_free_space = False
        self._log_pages = 0
        """Estimated."""
        self.no_room: Collection[int] = ()
        """If this file replaced a damaged one: the seqs of the messages that were not copied, because this file or the
        disk had no room for them."""
        self.gone: Collection[int] = ()
        """Seqs of deleted records that are still in the file because it could not be written. `get`, `waiting`,
        `parked` and `undated` omit them."""
        row = db.execute(f"SELECT {COLUMNS} FROM message ORDER BY seq DESC LIMIT 1").fetchone()  # noqa: S608 - our own
        if row is not None and not isinstance(row[0], int):
            raise UnusableFileError("the file is damaged")

    @classmethod
    def open(cls, path: Path, max_size_mb: int) -> Store:
        """Open or create the file, check and migrate it. Raises NotAloneError if another agent locked the directory."""
        db = open_for_writing(path, synchronous="FULL")
        try:
            db.execute("PRAGMA wal_autocheckpoint = 0")
            db.execute(f"PRAGMA journal_size_limit = {RESERVE_BYTES}")
            migrate(db)
            max_pages = max_size_mb * 1024 * 1024 // pragma(db, "page_size")
            db.execute(f"PRAGMA max_page_count = {max_pages}")
            db.execute("PRAGMA secure_delete = OFF")  # Debian's default writes every page that becomes free
            with contextlib.suppress(sqlite3.OperationalError):  # the disk may be full
                db.execute(_RELEASE)
            keep_log_space(path, _WAL_BYTES)
            return cls(path, db, max_pages)
        except BaseException:
            db.close()
            raise

    @classmethod
    def open_read_only(cls, path: Path) -> Store:
        """Open a file on a disk that is not writable."""
        db = open_read_only(path)
        try:
            return cls(path, db, 0)
        except BaseException:
            db.close()
            raise

    @classmethod
    def open_beside(cls, path: Path) -> Store:
        """Open the file of an agent that may be running. The file is not created, migrated or replaced."""
        db = open_existing(path)
        try:
            require_current(db)
            store = cls(path, db, 1)
        except BaseException:
            db.close()
            raise
        store.recent = RecentRecords(path, create=False)
        return store

    def list_recent(self) -> int:
        """Read the list of the records that may have been only in the log. Return how many records the file lacks.

        The messages in `no_room` do not count. Call `forget` afterwards.
        """
        self.recent = RecentRecords(self._path)
        missing = sum(not self._has(seq) for seq in self.recent.seqs.difference(self.no_room))
        counts = self.counts()
        return max(missing, self.recent.total - counts.waiting - counts.parked - len(self.no_room))

    def forget(self) -> None:
        """Remove from the list the records that the file does not have, and correct the number of all records."""
        counts = self.counts()
        self.recent.write({seq for seq in self.recent.seqs if self._has(seq)}, counts.waiting + counts.parked)

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self.recent.close()

    def checkpoint(self) -> bool:
        """Write the log back into the file, so that no record depends on the log. Return whether that succeeded."""
        if not self._write_back():
            return False
        # The pages in the old log may be damaged later. Begin a new log, so that SQLite ignores them.
        self._db.execute("PRAGMA synchronous = NORMAL")
        restart_log(self._db)
        self._log_pages = 0
        self.recent.write(set(), self.recent.total)
        return True

    def apply(self, changes: PendingWrites, *, durable: bool) -> None:
        """Write all changes or none. If not `durable`, they survive the end of the process, but not a power cut."""
        new_log = False
        if self._log_pages >= (_WAL_PAGES_WHEN_TIGHT if self._uses_free_space else _WAL_PAGES):
            with contextlib.suppress(sqlite3.Error):  # the next change tries again
                new_log = self._write_back()
        self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        with transaction(self._db):
            counts, before = self.counts(), self.counts_of(changes)
            for seq in changes.gone:
                self._db.execute("DELETE FROM message WHERE seq = ?", (seq,))
            for record in changes.changed.values():
                self._db.execute(UPDATE, (*row_of(record), record.seq))
            for record in changes.added.values():
                self._db.execute(INSERT, row_of(record))
            after = self.counts_of(changes)
            waiting, parked = after.waiting - before.waiting, after.parked - before.parked
            counts = Counts(counts.waiting + waiting, counts.parked + parked)
            total = counts.waiting + counts.parked
            if changes.gone:
                self.recent.write(self.recent.seqs - changes.gone, min(self.recent.total, total))
        self._counts = counts
        recent = set() if new_log and changes.added else self.recent.seqs
        self.recent.write(recent.union(changes.added), total)
        rows = len(changes.gone) + len(changes.changed) + len(changes.added)
        self._log_pages = (0 if new_log else self._log_pages) + 2 + rows // 8 + changes.size // PAGE_BYTES

    def counts(self) -> Counts:
        """Return the counts. Rows are counted at the first call, and again after another process has written."""
        version = self._db.execute("PRAGMA data_version").fetchone()
        if self._counts is None or version != self._seen_version:
            row = self._db.execute("SELECT count(*), count(parked) FROM message").fetchone()
            self._counts = Counts(row[0] - row[1], row[1])
            self._seen_version = version
        return self._counts

    def counts_of(self, changes: PendingWrites) -> Counts:
        """Return the counts of the records in the file whose seqs are in `changes`."""
        waiting = parked = 0
        for seq in chain(changes.added, changes.changed, changes.gone):
            for (reason,) in self._db.execute("SELECT parked FROM message WHERE seq = ?", (seq,)):
                waiting += reason is None
                parked += reason is not None
        return Counts(waiting, parked)

    def last_seq(self) -> int:
        """Return the highest seq below `MAX_SEQ`; 0 if there is none."""
        return int(
            self._db.execute("SELECT coalesce(max(seq), 0) FROM message WHERE seq < ?", (MAX_SEQ,)).fetchone()[0]
        )

    def impossible(self) -> list[int]:
        """Return the seqs in the file that no message of this agent can have."""
        return [seq for (seq,) in self._db.execute("SELECT seq FROM message WHERE seq >= ?", (MAX_SEQ,))]

    def get(self, seq: int) -> Record | None:
        return next(self._records("WHERE seq = ?", seq), None)

    def waiting(self, first: int, before: int) -> Iterator[Record]:
        """Yield the dated waiting records with first <= seq < before, oldest first. Do not write until all are read."""
        return self._records(
            "WHERE parked IS NULL AND boot IS NULL AND seq >= ? AND seq < ? ORDER BY seq", first, before
        )

    def everything(self, *, newest_first: bool = False) -> Iterator[Record]:
        """Yield all legible records, oldest or newest first."""
        order = "DESC" if newest_first else "ASC"
        rows = self._db.execute(f"SELECT {COLUMNS} FROM message ORDER BY seq {order}")  # noqa: S608 - our own text
        for row in rows:
            with contextlib.suppress(DamagedRecordError):
                yield record_from(row)

    def parked(self) -> Iterator[Record]:
        return self._records("WHERE parked IS NOT NULL ORDER BY seq")

    def undated(self, after: int) -> Iterator[Record]:
        return self._records("WHERE boot IS NOT NULL AND parked IS NULL AND seq > ? ORDER BY seq", after)

    def summary(self) -> tuple[int, int, float | None]:
        """Count the records that are not dead letters.

        Return (their number, the number of undated ones, earliest date of a dated one in Unix seconds or None).
        """
        row = self._db.execute(
            "SELECT count(*), count(boot), min(created) FILTER (WHERE boot IS NULL) FROM message WHERE parked IS NULL"
        ).fetchone()
        return row[0], row[1], row[2]

    def oldest(self, limit: int) -> list[tuple[int, float, bool]]:
        """Return the `limit` oldest records, parked or not: seq, date in Unix seconds, whether the record is dated."""
        rows = self._db.execute(
            "SELECT seq, CAST(created AS REAL), boot IS NULL FROM message ORDER BY seq LIMIT ?", (limit,)
        )
        return [(seq, created, bool(dated)) for seq, created, dated in rows]

    def oldest_of_size(self, size: int, spared: PendingWrites) -> list[int]:
        """Return the seqs of records that have at least `size` bytes in total, or of all records if they have less.

        Dead letters come first, then all other records. Both are sorted, oldest first. Records in `spared` are left
        out. Each record counts 80 bytes in addition to its body.
        """
        found: dict[int, None] = {}
        for clause in ("WHERE parked IS NOT NULL", ""):
            rows = self._db.execute(f"SELECT seq, length(body) + 80 FROM message {clause} ORDER BY seq")  # noqa: S608
            for seq, length in rows:
                if size <= 0:
                    break
                if seq not in spared and seq not in found:
                    found[seq] = None
                    size -= length
        return list(found)

    def over_bound(self) -> bool:
        """Whether the used pages of the file exceed the configured size, for example because this size was reduced."""
        return pragma(self._db, "page_count") - pragma(self._db, "freelist_count") > self._max_pages

    def has_pages_beyond_bound(self) -> bool:
        """Whether the file, with its free pages, is larger than the configured size."""
        return pragma(self._db, "page_count") > self._max_pages

    def at_bound(self, size: int) -> bool:
        """Whether the file, with its free pages, has no room in its configured size for `size` bytes and 4 pages."""
        return pragma(self._db, "page_count") + size // PAGE_BYTES + 4 > self._max_pages

    def has_room_for_log(self) -> bool:
        """Whether the disk has room for a checkpoint. An incomplete checkpoint leaves a file that needs its log."""
        growth = pragma(self._db, "page_count") * PAGE_BYTES - self.files.size()
        return growth <= 0 or growth + _WAL_PAGES * PAGE_BYTES // 8 <= free_space(self._path)

    def use_free_space(self, size: int) -> bool:
        """Add free pages to the file, so that no other program can use their space.

        Add steps of `_CLAIM_PAGES` until the new pages have at least `size` bytes, or until the disk or the file has no
        room for another step.

        Call this when the disk has no room for the reserve, or when the reserve was deleted. Until
        `release_free_space`, only this method makes the file larger, so a checkpoint always has room. Return whether
        there are new free pages.
        """
        # Twice the bytes of a step, because another process may write at the same time.
        least = 2 * _CLAIM_PAGES * PAGE_BYTES
        if self._uses_free_space and free_space(self._path) < least:
            return False
        if not self._write_back():
            return False
        keep_log_space(self._path, _WAL_BYTES)
        self._uses_free_space = True
        self._db.execute(f"PRAGMA max_page_count = {self._max_pages}")
        before = pragma(self._db, "freelist_count")
        try:
            while size > 0 and not self.at_bound(_CLAIM_PAGES * PAGE_BYTES) and free_space(self._path) >= least:
                self._db.execute("CREATE TABLE IF NOT EXISTS space (bytes BLOB NOT NULL)")
                self._db.execute("INSERT INTO space VALUES (zeroblob(?))", ((_CLAIM_PAGES - 2) * PAGE_BYTES,))
                if not self._write_back():
                    break
                size -= _CLAIM_PAGES * PAGE_BYTES
        except sqlite3.Error as error:
            if not is_full(error):
                raise
        finally:
            self._db.execute(_RELEASE)
            self._db.execute(f"PRAGMA max_page_count = {pragma(self._db, 'page_count')}")
        return pragma(self._db, "freelist_count") > before

    def release_free_space(self) -> None:
        """Let the file grow again, because the disk has room. The pages from `use_free_space` stay in the file."""
        self._uses_free_space = False
        self._db.execute(f"PRAGMA max_page_count = {self._max_pages}")

    def _write_back(self) -> bool:
        """Write the log back, so that the next write begins a new log. Return whether all of the log is in the file."""
        if not self.has_room_for_log():
            return False
        self._db.execute(f"PRAGMA busy_timeout = {_WAIT_FOR_READERS_S * 1000:.0f}")
        try:
            busy, frames, done = self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")
        return not busy and frames == done

    def _has(self, seq: int) -> bool:
        return self._db.execute("SELECT 1 FROM message WHERE seq = ?", (seq,)).fetchone() is not None

    def _records(self, clause: str, *arguments: Any) -> Iterator[Record]:
        rows = self._db.execute(f"SELECT {COLUMNS} FROM message {clause}", arguments)  # noqa: S608 - our own text
        for row in rows:
            if row[0] not in self.gone:
                yield record_from(row)
