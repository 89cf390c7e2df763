"""The queue's SQLite file: one table, whole transactions, no decisions. Raises sqlite3.Error and OSError."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agent.outbox_record import Counts, Record, Unsaved

SCHEMA_VERSION = 2
# No index and no AUTOINCREMENT: each would be one more page to write for every message and every ack.
_SCHEMA = """
CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    created REAL NOT NULL,
    attempts INTEGER NOT NULL,
    refusals INTEGER NOT NULL,
    next_try REAL NOT NULL,
    parked TEXT,
    crc INTEGER NOT NULL,
    body BLOB NOT NULL
)
"""
_COLUMNS = "seq, id, created, attempts, refusals, next_try, parked, crc, body"
_INSERT = "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UPDATE = "UPDATE message SET attempts = ?, refusals = ?, next_try = ?, parked = ? WHERE seq = ?"
_RESERVE_BYTES = 512 * 1024
_BUSY_TIMEOUT_S = 5.0


class UnusableFileError(sqlite3.DatabaseError):
    """Damaged, somebody else's, or written by a later version of the agent."""


class DamagedRecordError(sqlite3.DatabaseError):
    """One record is not what was stored."""

    def __init__(self, seq: int) -> None:
        super().__init__(f"the message with seq {seq} is damaged")
        self.seq = seq


class Store:
    """One open file."""

    def __init__(self, db: sqlite3.Connection, path: Path, max_pages: int) -> None:
        """`max_pages` is 0 for a file that can only be read."""
        self._db = db
        self.read_only = max_pages == 0
        self._reserve = path.with_name(path.name + ".reserve")
        self._max_pages = max_pages
        self._durable = True
        self._seen_version = 0
        self._counts = Counts(0, 0)
        self.counts()

    @classmethod
    def open(cls, path: Path, max_size_mb: int) -> Store:
        """Open, check, migrate or begin the file at `path`."""
        db = sqlite3.connect(path, check_same_thread=False, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA wal_autocheckpoint = 64")
            db.execute(f"PRAGMA journal_size_limit = {_RESERVE_BYTES}")
            _require_sound(db)
            _migrate(db)
            store = cls(db, path, max_size_mb * 1024 * 1024 // _pragma(db, "page_size"))
            db.execute(f"PRAGMA max_page_count = {store._max_pages}")
            store.keep_reserve()
        except BaseException as error:
            db.close()
            if code(error) == sqlite3.SQLITE_ERROR:  # our statements do not fit what the file holds
                raise UnusableFileError(str(error)) from error
            raise
        return store

    @classmethod
    def open_read_only(cls, path: Path) -> Store:
        """What can still be read of a file on a disk that takes no writes."""
        uri = f"file:{quote(str(path))}?mode=ro"
        db = sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")  # the WAL's index in memory, for want of a file
            _require_sound(db)
            return cls(db, path, 0)
        except BaseException:
            db.close()
            raise

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def apply(self, changes: Unsaved, *, durable: bool) -> None:
        """All of it or nothing. Not durable: safe against the end of the process, not against a power cut."""
        if durable is not self._durable:
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        with self._transaction():
            before = self.tally(changes.seqs)
            self._db.executemany("DELETE FROM message WHERE seq = ?", ((seq,) for seq in changes.gone))
            self._db.executemany(
                _UPDATE,
                ((r.attempts, r.refusals, r.next_try, r.parked, r.seq) for r in changes.changed.values()),
            )
            self._db.executemany(_INSERT, map(_row, changes.added.values()))
            after = self.tally(changes.seqs)
        self._counts = Counts(
            self._counts.waiting + after.waiting - before.waiting, self._counts.parked + after.parked - before.parked
        )

    def counts(self) -> Counts:
        """Counted once, and again only when another process has written."""
        version = _pragma(self._db, "data_version")
        if version != self._seen_version:
            row = self._db.execute("SELECT count(*), count(parked) FROM message").fetchone()
            self._counts = Counts(row[0] - row[1], row[1])
            self._seen_version = version
        return self._counts

    def tally(self, seqs: Iterable[int]) -> Counts:
        """How many of these records are here."""
        waiting = parked = 0
        for seq in seqs:
            for (reason,) in self._db.execute("SELECT parked FROM message WHERE seq = ?", (seq,)):
                waiting += reason is None
                parked += reason is not None
        return Counts(waiting, parked)

    def last_seq(self) -> int:
        return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM message").fetchone()[0])

    def get(self, seq: int) -> Record | None:
        return next(self._records("WHERE seq = ?", seq), None)

    def waiting(self, first: int, before: int) -> Iterator[Record]:
        """What waits with first <= seq < before, oldest first, as a stream; write nothing while it is open."""
        return self._records("WHERE parked IS NULL AND seq >= ? AND seq < ? ORDER BY seq", first, before)

    def parked(self) -> Iterator[Record]:
        return self._records("WHERE parked IS NOT NULL ORDER BY seq")

    def between(self, first: int, before: int) -> list[int]:
        """All records, parked or not, with first <= seq < before."""
        return self._seqs("WHERE seq >= ? AND seq < ?", first, before)

    def oldest(self, limit: int) -> list[int]:
        """What goes first when room is needed: dead letters, then the oldest."""
        if self.counts().parked:
            return self.oldest_parked(limit)
        return self._seqs("ORDER BY seq LIMIT ?", limit)

    def oldest_parked(self, limit: int) -> list[int]:
        return self._seqs("WHERE parked IS NOT NULL ORDER BY seq LIMIT ?", limit)

    def over_bound(self) -> bool:
        """The configured size was made smaller than what the file holds."""
        return _pragma(self._db, "page_count") - _pragma(self._db, "freelist_count") > self._max_pages

    def keep_reserve(self) -> None:
        """Room on the disk that is given back when the disk is full, so that deleting can be written down."""
        with contextlib.suppress(OSError), self._reserve.open("ab") as file:
            if file.tell() < _RESERVE_BYTES:
                os.posix_fallocate(file.fileno(), 0, _RESERVE_BYTES)

    def give_reserve(self) -> None:
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            raise

    def _seqs(self, clause: str, *arguments: Any) -> list[int]:
        rows = self._db.execute(f"SELECT seq FROM message {clause}", arguments)  # noqa: S608 - our own text
        return [seq for (seq,) in rows]

    def _records(self, clause: str, *arguments: Any) -> Iterator[Record]:
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM message {clause}", arguments)  # noqa: S608 - our own text
        for row in rows:
            yield record_from(row)


def code(error: BaseException) -> int | None:
    """SQLite's primary result code."""
    extended = getattr(error, "sqlite_errorcode", None)
    return None if extended is None else extended & 0xFF


def means_damage(error: BaseException) -> bool:
    """The file has to be replaced."""
    return isinstance(error, UnusableFileError) or code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def record_from(row: tuple[Any, ...]) -> Record:
    """Raises DamagedRecordError when these are not the bytes that were stored."""
    seq, identity, created, attempts, refusals, next_try, parked, crc, body = row
    if not isinstance(body, bytes) or zlib.crc32(body, zlib.crc32(str(identity).encode())) != crc:
        raise DamagedRecordError(seq)
    return Record(seq, identity, body, created, attempts, refusals, next_try, parked)


def salvage(path: Path) -> Iterator[Record]:
    """What can be read of a damaged file, from both ends; a record may come twice."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as db:
        for order in ("ASC", "DESC"):
            with contextlib.suppress(sqlite3.Error):
                for row in db.execute(f"SELECT {_COLUMNS} FROM message ORDER BY seq {order}"):  # noqa: S608 - our own
                    with contextlib.suppress(sqlite3.Error):
                        yield record_from(row)


def _row(record: Record) -> tuple[Any, ...]:
    crc = zlib.crc32(record.body, zlib.crc32(record.id.encode()))
    return (
        record.seq,
        record.id,
        record.created,
        record.attempts,
        record.refusals,
        record.next_try,
        record.parked,
        crc,
        record.body,
    )


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _require_sound(db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
        raise UnusableFileError("the file is damaged")


def _migrate(db: sqlite3.Connection) -> None:
    version = _pragma(db, "user_version")
    if version > SCHEMA_VERSION:
        raise UnusableFileError(f"schema {version} is newer than this agent's {SCHEMA_VERSION}")
    if version == SCHEMA_VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    old = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'message'").fetchone() is not None
    if old:
        db.execute("ALTER TABLE message RENAME TO message_1")
    db.execute(_SCHEMA)
    if old:
        _copy_1(db)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    db.execute("COMMIT")


def _copy_1(db: sqlite3.Connection) -> None:
    """Schema 1 counted seq from 1 and had no checksum."""
    last = 0
    rows = db.execute(
        "SELECT id, body, created, attempts, refusals, next_try, parked FROM message_1 ORDER BY message_1.seq"
    )
    for identity, body, created, *rest in rows:
        last = max(last + 1, int(created * 1e6))
        db.execute(_INSERT, _row(Record(last, identity, body, created, *rest)))
    db.execute("DROP TABLE message_1")
