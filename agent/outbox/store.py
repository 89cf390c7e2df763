"""The queue's SQLite file: transactions and queries, without decisions. Raises sqlite3.Error and OSError."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from agent.outbox.disk_reserve import RESERVE_BYTES
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
    row_of,
)
from agent.storage import (
    UnusableFileError,
    in_place,
    open_existing,
    open_for_writing,
    open_read_only,
    pragma,
    transaction,
)

_WAL_PAGES = 64
_WAL_PAGES_WHEN_TIGHT = 8


class Store:
    """One open file."""

    def __init__(self, db: sqlite3.Connection, max_pages: int) -> None:
        """`max_pages` 0 means read-only."""
        self._db = db
        self.read_only = max_pages == 0
        self._max_pages = max_pages
        self._durable = True
        self._seen_version = 0
        self._counts: Counts | None = None
        self._file: os.stat_result | None = None
        self.gone: Collection[int] = ()
        """Seqs that queries leave out: the records are deleted, but the file could not be written yet."""
        row = db.execute(f"SELECT {COLUMNS} FROM message ORDER BY seq DESC LIMIT 1").fetchone()  # noqa: S608 - our own
        if row is not None and not isinstance(row[0], int):
            raise UnusableFileError("the file is damaged")

    @classmethod
    def open(cls, path: Path, max_size_mb: int) -> Store:
        """Open or create the file, check it, and migrate it."""
        db = open_for_writing(path, synchronous="FULL")
        try:
            db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
            db.execute(f"PRAGMA journal_size_limit = {RESERVE_BYTES}")
            migrate(db)
            store = cls(db, max_size_mb * 1024 * 1024 // pragma(db, "page_size"))
            db.execute(f"PRAGMA max_page_count = {store._max_pages}")
            store._file = path.stat()
        except BaseException:
            db.close()
            raise
        return store

    @classmethod
    def open_read_only(cls, path: Path) -> Store:
        """Open a file on a disk that is not writable."""
        db = open_read_only(path)
        try:
            return cls(db, 0)
        except BaseException:
            db.close()
            raise

    @classmethod
    def open_beside(cls, path: Path) -> Store:
        """Open the file of an agent that may be running. Nothing is created, migrated or replaced."""
        db = open_existing(path)
        try:
            require_current(db)
            return cls(db, 1)
        except BaseException:
            db.close()
            raise

    def in_place(self, path: Path) -> bool:
        """Whether `path` still names the open file."""
        return self._file is None or in_place(self._file, path)

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def apply(self, changes: PendingWrites, *, durable: bool) -> None:
        """Write all changes or none. If not `durable`, they survive the end of the process, but not a power cut."""
        if durable is not self._durable:
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        seqs = changes.seqs
        with transaction(self._db):
            before = self.tally(seqs)
            self._db.executemany("DELETE FROM message WHERE seq = ?", ((seq,) for seq in changes.gone))
            self._db.executemany(UPDATE, ((*row_of(each), each.seq) for each in changes.changed.values()))
            self._db.executemany(INSERT, map(row_of, changes.added.values()))
            after = self.tally(seqs)
        if self._counts is not None:
            waiting, parked = self._counts.waiting, self._counts.parked
            self._counts = Counts(waiting + after.waiting - before.waiting, parked + after.parked - before.parked)

    def counts(self) -> Counts:
        """Counted at the first call, and again only after another process has written."""
        version = pragma(self._db, "data_version")
        if self._counts is None or version != self._seen_version:
            row = self._db.execute("SELECT count(*), count(parked) FROM message").fetchone()
            self._counts = Counts(row[0] - row[1], row[1])
            self._seen_version = version
        return self._counts

    def tally(self, seqs: Iterable[int]) -> Counts:
        """The counts of those of these records that the file holds."""
        waiting = parked = 0
        for seq in seqs:
            for (reason,) in self._db.execute("SELECT parked FROM message WHERE seq = ?", (seq,)):
                waiting += reason is None
                parked += reason is not None
        return Counts(waiting, parked)

    def last_seq(self) -> int:
        """The highest seq; 0 for an empty file."""
        return int(
            self._db.execute("SELECT coalesce(max(seq), 0) FROM message WHERE seq < ?", (MAX_SEQ,)).fetchone()[0]
        )

    def impossible(self) -> list[int]:
        """Seqs that no message of this agent can have."""
        return [seq for (seq,) in self._db.execute("SELECT seq FROM message WHERE seq >= ?", (MAX_SEQ,))]

    def get(self, seq: int) -> Record | None:
        return next(self._records("WHERE seq = ?", seq), None)

    def waiting(self, first: int, before: int) -> Iterator[Record]:
        """A stream of the waiting records with first <= seq < before, oldest first. Do not write while it is open."""
        return self._records(
            "WHERE parked IS NULL AND boot IS NULL AND seq >= ? AND seq < ? ORDER BY seq", first, before
        )

    def everything(self) -> Iterator[Record]:
        """A stream of all legible records, oldest first."""
        rows = self._db.execute(f"SELECT {COLUMNS} FROM message ORDER BY seq")  # noqa: S608 - our own text
        for row in rows:
            with contextlib.suppress(DamagedRecordError):
                yield record_from(row)

    def parked(self) -> Iterator[Record]:
        return self._records("WHERE parked IS NOT NULL ORDER BY seq")

    def undated(self, after: int) -> Iterator[Record]:
        """A stream of the undated records with a seq larger than `after`, oldest first."""
        return self._records("WHERE boot IS NOT NULL AND parked IS NULL AND seq > ? ORDER BY seq", after)

    def summary(self) -> tuple[int, int, float | None]:
        """The numbers of waiting and of undated records, and the date of the oldest dated one in Unix seconds."""
        row = self._db.execute(
            "SELECT count(*), count(boot), min(created) FILTER (WHERE boot IS NULL) FROM message WHERE parked IS NULL"
        ).fetchone()
        return row[0], row[1], row[2]

    def oldest(self, limit: int) -> list[tuple[int, float, bool]]:
        """Seq, date in Unix seconds, and whether the date is known, of the oldest records, parked or not."""
        rows = self._db.execute(
            "SELECT seq, CAST(created AS REAL), boot IS NULL FROM message ORDER BY seq LIMIT ?", (limit,)
        )
        return [(seq, created, bool(dated)) for seq, created, dated in rows]

    def oldest_parked(self, limit: int) -> list[int]:
        rows = self._db.execute("SELECT seq FROM message WHERE parked IS NOT NULL ORDER BY seq LIMIT ?", (limit,))
        return [seq for (seq,) in rows]

    def over_bound(self) -> bool:
        """Whether the file holds more than the configured size allows, which was larger before."""
        return pragma(self._db, "page_count") - pragma(self._db, "freelist_count") > self._max_pages

    def at_bound(self) -> bool:
        """Whether the file has its largest allowed size."""
        return pragma(self._db, "page_count") >= pragma(self._db, "max_page_count")

    def tighten(self) -> None:
        """For a full disk: write the log back into the file, and forbid both to grow."""
        self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        self._db.execute(f"PRAGMA max_page_count = {pragma(self._db, 'page_count')}")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES_WHEN_TIGHT}")

    def relax(self) -> None:
        """Undo `tighten`: the disk has room again."""
        self._db.execute(f"PRAGMA max_page_count = {self._max_pages}")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")

    def _records(self, clause: str, *arguments: Any) -> Iterator[Record]:
        rows = self._db.execute(f"SELECT {COLUMNS} FROM message {clause}", arguments)  # noqa: S608 - our own text
        for row in rows:
            if row[0] not in self.gone:
                yield record_from(row)
