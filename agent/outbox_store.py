"""The queue's SQLite file: one table, whole transactions, no decisions. Raises sqlite3.Error and OSError."""

from __future__ import annotations

import contextlib
import os
import shutil
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
    boot TEXT,
    mono REAL,
    crc INTEGER,
    body BLOB NOT NULL
)
"""
_FIELDS = ("seq", "id", "created", "attempts", "refusals", "next_try", "parked", "boot", "mono", "crc", "body")
_COLUMNS = ", ".join(_FIELDS)
# Replaces: a commit that failed may still have reached the disk.
_INSERT = f"INSERT OR REPLACE INTO message ({_COLUMNS}) VALUES ({', '.join('?' * len(_FIELDS))})"  # noqa: S608 - our own
_UPDATE = (
    f"UPDATE message SET {', '.join(f'{name} = ?{place}' for place, name in enumerate(_FIELDS, 1))} WHERE seq = ?1"  # noqa: S608
)
RESERVE_BYTES = 512 * 1024
_BUSY_TIMEOUT_S = 5.0
_CACHE_KIB = 512
_WAL_PAGES = 64
_WAL_PAGES_WHEN_TIGHT = 8


class UnusableFileError(sqlite3.DatabaseError):
    """Damaged, somebody else's, or written by a later version of the agent."""


class DamagedRecordError(sqlite3.DatabaseError):
    """One record is not what was stored."""

    def __init__(self, seq: int) -> None:
        super().__init__(f"the message with seq {seq} is damaged")
        self.seq = seq


class Store:
    """One open file."""

    def __init__(self, db: sqlite3.Connection, max_pages: int) -> None:
        """`max_pages` is 0 for a file that can only be read."""
        self._db = db
        self.read_only = max_pages == 0
        self._max_pages = max_pages
        self._durable = True
        self._seen_version = 0
        self._counts: Counts | None = None
        db.execute(f"SELECT {_COLUMNS} FROM message ORDER BY seq DESC LIMIT 1").fetchone()  # noqa: S608 - does it fit?

    @classmethod
    def open(cls, path: Path, max_size_mb: int) -> Store:
        """Open, check, migrate or begin the file at `path`. A file that was closed well is not read as a whole."""
        closed_well = not _has_log(path)
        db = _connect(str(path))
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
            db.execute(f"PRAGMA journal_size_limit = {RESERVE_BYTES}")
            db.execute("BEGIN IMMEDIATE")  # shows whether the disk takes writes
            db.execute("ROLLBACK")
            if not closed_well:
                _require_sound(db)
            _migrate(db)
            store = cls(db, max_size_mb * 1024 * 1024 // _pragma(db, "page_size"))
            db.execute(f"PRAGMA max_page_count = {store._max_pages}")
        except BaseException:
            db.close()
            raise
        return store

    @classmethod
    def open_read_only(cls, path: Path) -> Store:
        """What can still be read of a file on a disk that takes no writes."""
        # SQLite wants a file beside the log and a lock for writing, neither of which can be had.
        how = "vfs=unix-none" if _has_log(path) else "immutable=1"
        db = _connect(f"file:{quote(str(path))}?mode=ro&{how}", uri=True, exclusive=True)
        try:
            return cls(db, 0)
        except BaseException:
            db.close()
            raise

    @classmethod
    def open_beside(cls, path: Path) -> Store:
        """The file of an agent that may be running: nothing is begun, migrated or replaced."""
        db = _connect(f"file:{quote(str(path))}?mode=rw", uri=True)
        try:
            _require_current(db)
            return cls(db, 1)
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
            self._db.executemany(_UPDATE, map(_row, changes.changed.values()))
            self._db.executemany(_INSERT, map(_row, changes.added.values()))
            after = self.tally(changes.seqs)
        if self._counts is not None:
            waiting, parked = self._counts.waiting, self._counts.parked
            self._counts = Counts(waiting + after.waiting - before.waiting, parked + after.parked - before.parked)

    def counts(self) -> Counts:
        """Counted when first asked for, and again only when another process has written."""
        version = _pragma(self._db, "data_version")
        if self._counts is None or version != self._seen_version:
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
        """What can be sent of first <= seq < before, oldest first, as a stream; write nothing while it is open."""
        return self._records(
            "WHERE parked IS NULL AND boot IS NULL AND seq >= ? AND seq < ? ORDER BY seq", first, before
        )

    def parked(self) -> Iterator[Record]:
        return self._records("WHERE parked IS NOT NULL ORDER BY seq")

    def undated(self, after: int, limit: int) -> list[Record]:
        """What was measured before the clock was set, oldest first, beginning after this seq."""
        clause = "WHERE boot IS NOT NULL AND parked IS NULL AND seq > ? ORDER BY seq LIMIT ?"
        return list(self._records(clause, after, limit))

    def summary(self) -> tuple[int, int, float | None]:
        """How many wait, how many of them for the clock, and the date of the oldest in Unix seconds."""
        row = self._db.execute(
            "SELECT count(*), count(boot), min(created) FILTER (WHERE boot IS NULL) FROM message WHERE parked IS NULL"
        ).fetchone()
        return row[0], row[1], row[2]

    def oldest(self, limit: int) -> list[tuple[int, float, bool]]:
        """Seq, date (Unix seconds) and whether that date is right, of the oldest records, parked or not."""
        rows = self._db.execute("SELECT seq, created, boot IS NULL FROM message ORDER BY seq LIMIT ?", (limit,))
        return [(seq, created, bool(dated)) for seq, created, dated in rows]

    def oldest_parked(self, limit: int) -> list[int]:
        rows = self._db.execute("SELECT seq FROM message WHERE parked IS NOT NULL ORDER BY seq LIMIT ?", (limit,))
        return [seq for (seq,) in rows]

    def over_bound(self) -> bool:
        """The configured size was made smaller than what the file holds."""
        return _pragma(self._db, "page_count") - _pragma(self._db, "freelist_count") > self._max_pages

    def at_bound(self) -> bool:
        """The file may not grow any more, whatever the disk has room for."""
        return _pragma(self._db, "page_count") >= _pragma(self._db, "max_page_count")

    def tighten(self) -> None:
        """For a full disk: write the log back into the file, and let neither grow any more."""
        self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        self._db.execute(f"PRAGMA max_page_count = {_pragma(self._db, 'page_count')}")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES_WHEN_TIGHT}")

    def relax(self) -> None:
        """There is room again."""
        self._db.execute(f"PRAGMA max_page_count = {self._max_pages}")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")

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

    def _records(self, clause: str, *arguments: Any) -> Iterator[Record]:
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM message {clause}", arguments)  # noqa: S608 - our own text
        for row in rows:
            yield record_from(row)


class Reserve:
    """Room on the disk that is given back when the disk is full.

    The log can then be written back into the file, which grows by what is new in the log; from then on both have the
    pages that they need.
    """

    def __init__(self, outbox: Path) -> None:
        self._path = outbox.with_name(outbox.name + ".reserve")

    def keep(self) -> bool:
        """Take the room, unless the disk is nearly full anyway; whether it is there."""
        try:
            if self._path.exists() and self._path.stat().st_size >= RESERVE_BYTES:
                return True
            if shutil.disk_usage(self._path.parent).free < 2 * RESERVE_BYTES:
                return False
            with self._path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError:
            return False
        return True

    def give(self) -> bool:
        """Whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


def code(error: BaseException) -> int | None:
    """SQLite's primary result code."""
    extended = getattr(error, "sqlite_errorcode", None)
    return None if extended is None else extended & 0xFF


def means_damage(error: BaseException) -> bool:
    """The file has to be replaced."""
    return isinstance(error, UnusableFileError) or code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def record_from(row: tuple[Any, ...]) -> Record:
    """Raises DamagedRecordError when these are not the bytes that were stored."""
    seq, identity, created, attempts, refusals, next_try, parked, boot, mono, crc, body = row
    # The first schema had no checksum.
    if not isinstance(body, bytes) or (crc is not None and _checksum(identity, body) != crc):
        raise DamagedRecordError(seq)
    return Record(seq, identity, body, created, attempts, refusals, next_try, parked, boot, mono or 0.0)


def salvage(path: Path) -> Iterator[Record]:
    """What can be read of a damaged file, from both ends; a record may come twice."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(str(path))) as db:
        with contextlib.suppress(sqlite3.Error):
            _migrate(db)
        for order in ("DESC", "ASC"):
            with contextlib.suppress(sqlite3.Error):
                for row in db.execute(f"SELECT {_COLUMNS} FROM message ORDER BY seq {order}"):  # noqa: S608 - our own
                    with contextlib.suppress(sqlite3.Error):
                        yield record_from(row)


class _Connection(sqlite3.Connection):
    """Says of statements that the file cannot be meant for that it is unusable, whatever SQLite calls it."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        try:
            return super().execute(*arguments)
        except UnicodeDecodeError as error:  # of a message that quotes the damaged file
            raise UnusableFileError("the file is damaged") from error
        except sqlite3.OperationalError as error:
            if code(error) == sqlite3.SQLITE_ERROR:
                raise UnusableFileError(str(error)) from error
            raise


def _connect(name: str, *, uri: bool = False, exclusive: bool = False) -> sqlite3.Connection:
    db = sqlite3.connect(
        name, uri=uri, check_same_thread=False, timeout=_BUSY_TIMEOUT_S, isolation_level=None, factory=_Connection
    )
    try:
        if exclusive:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except BaseException:
        db.close()
        raise
    return db


def _has_log(path: Path) -> bool:
    """Whether the file was not closed well, so that the newest part of it stands in the log."""
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _checksum(identity: object, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(str(identity).encode()))


def _row(record: Record) -> tuple[Any, ...]:
    return (
        record.seq,
        record.id,
        record.created,
        record.attempts,
        record.refusals,
        record.next_try,
        record.parked,
        record.boot,
        record.mono,
        _checksum(record.id, record.body),
        record.body,
    )


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _require_sound(db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise UnusableFileError("the file is damaged")


def _require_current(db: sqlite3.Connection) -> None:
    if _pragma(db, "user_version") != SCHEMA_VERSION:
        raise UnusableFileError("it is of another version of the agent, which has to run first")


def _migrate(db: sqlite3.Connection) -> None:
    version = _pragma(db, "user_version")
    if version > SCHEMA_VERSION:
        raise UnusableFileError(f"schema {version} is newer than this agent's {SCHEMA_VERSION}")
    if version == SCHEMA_VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'message'").fetchone() is None:
        db.execute(_SCHEMA)
    else:
        # Nothing is copied, so that a full disk is no hindrance.
        for column in ("boot TEXT", "mono REAL", "crc INTEGER"):
            db.execute(f"ALTER TABLE message ADD COLUMN {column}")
        db.execute("DROP INDEX IF EXISTS waiting")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    db.execute("COMMIT")
