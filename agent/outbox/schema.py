"""The table of the queue: schema, migration, and the conversion between record and row.

The functions with a connection raise sqlite3.Error.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from agent.outbox.record import Record
from agent.storage import UnusableFileError, checksum, pragma

_VERSION = 2
_LATER = f"schema {{}} is newer than this agent's {_VERSION}"
# There is no index, because it adds one page to write for every message and every ack. There is no AUTOINCREMENT,
# because it adds one page for every message.
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
COLUMNS = ", ".join(_FIELDS)
# OR REPLACE: a failed commit may still have reached the disk.
INSERT = f"INSERT OR REPLACE INTO message ({COLUMNS}) VALUES ({', '.join('?' * len(_FIELDS))})"  # noqa: S608 - our own
# Parameters: the values of a row, then the seq of that row.
UPDATE = f"UPDATE message SET {', '.join(f'{name} = ?' for name in _FIELDS)} WHERE seq = ?"  # noqa: S608 - our own

MAX_SEQ = 2**62
"""Every valid seq is lower, because a seq is about the microseconds since 1970."""
_NUMBERS = frozenset({int, float})


class DamagedRecordError(sqlite3.DatabaseError):
    """A record differs from what was stored."""

    def __init__(self, seq: int) -> None:
        super().__init__(f"the message with seq {seq} is damaged")
        self.seq = seq


def migrate(db: sqlite3.Connection) -> None:
    """Create the table, or migrate it to this schema. Raises UnusableFileError for a later schema."""
    version = pragma(db, "user_version")
    if version > _VERSION:
        raise UnusableFileError(_LATER.format(version))
    if version == _VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'message'").fetchone() is None:
        db.execute(_SCHEMA)
    else:
        # ADD COLUMN copies no rows, so the migration works on a full disk.
        for column in ("boot TEXT", "mono REAL", "crc INTEGER"):
            db.execute(f"ALTER TABLE message ADD COLUMN {column}")
        db.execute("DROP INDEX IF EXISTS waiting")
    db.execute(f"PRAGMA user_version = {_VERSION}")
    db.execute("COMMIT")


def require_current(db: sqlite3.Connection) -> None:
    """Raise UnusableFileError if the table does not have this schema."""
    version = pragma(db, "user_version")
    if version > _VERSION:
        raise UnusableFileError(f"{_LATER.format(version)}; use the version of the agent that wrote it")
    if version < _VERSION:
        raise UnusableFileError(
            "an earlier version of the agent wrote it; start the agent once, so that it migrates the queue"
        )


def restart_log(db: sqlite3.Connection) -> None:
    """Write the page of `user_version`, although the value does not change. If the write-ahead log was written back
    before, SQLite begins a new log with this page.
    """
    db.execute(f"PRAGMA user_version = {_VERSION}")


def row_of(record: Record) -> tuple[Any, ...]:
    """Return the values of the record in the order of COLUMNS."""
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
        checksum(record.id.encode(), record.body),
        record.body,
    )


def record_from(row: tuple[Any, ...]) -> Record:
    """Return the record of a row of COLUMNS.

    Raises DamagedRecordError if id or body differ from what was stored, if a column of numbers has a value of another
    type, or if the seq is too large.
    """
    seq, identity, created, attempts, refusals, next_try, parked, boot, mono, crc, body = row
    # The first schema had no checksum.
    sound = isinstance(body, bytes) and (crc is None or checksum(str(identity).encode(), body) == crc)
    # A damaged page can put a value of any type into any column.
    numbers = _NUMBERS.issuperset(map(type, (created, attempts, refusals, next_try, mono or 0.0)))
    if not sound or not numbers or seq >= MAX_SEQ:
        raise DamagedRecordError(seq)
    return Record(seq, identity, body, created, attempts, refusals, next_try, parked, boot, mono or 0.0)
