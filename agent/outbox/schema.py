"""The queue's one table: its schema, its migration, and a record as a row of it. Raises sqlite3.Error."""

from __future__ import annotations

import sqlite3
from typing import Any

from agent.outbox.record import Record
from agent.storage import UnusableFileError, checksum, pragma

_VERSION = 2
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
COLUMNS = ", ".join(_FIELDS)
# Replaces: a commit that failed may still have reached the disk.
INSERT = f"INSERT OR REPLACE INTO message ({COLUMNS}) VALUES ({', '.join('?' * len(_FIELDS))})"  # noqa: S608 - our own
# Takes the row, then its seq once more.
UPDATE = f"UPDATE message SET {', '.join(f'{name} = ?' for name in _FIELDS)} WHERE seq = ?"  # noqa: S608 - our own

MAX_SEQ = 2**62
"""Microseconds since 1970 are far below."""
_NUMBERS = frozenset({int, float})


class DamagedRecordError(sqlite3.DatabaseError):
    """One record is not what was stored."""

    def __init__(self, seq: int) -> None:
        super().__init__(f"the message with seq {seq} is damaged")
        self.seq = seq


def migrate(db: sqlite3.Connection) -> None:
    """Begin the table, or bring it to this schema. Raises UnusableFileError for a later one."""
    version = pragma(db, "user_version")
    if version > _VERSION:
        raise UnusableFileError(f"schema {version} is newer than this agent's {_VERSION}")
    if version == _VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'message'").fetchone() is None:
        db.execute(_SCHEMA)
    else:
        # Nothing is copied, so that a full disk is no hindrance.
        for column in ("boot TEXT", "mono REAL", "crc INTEGER"):
            db.execute(f"ALTER TABLE message ADD COLUMN {column}")
        db.execute("DROP INDEX IF EXISTS waiting")
    db.execute(f"PRAGMA user_version = {_VERSION}")
    db.execute("COMMIT")


def require_current(db: sqlite3.Connection) -> None:
    """Raises UnusableFileError unless the table is of this schema."""
    if pragma(db, "user_version") != _VERSION:
        raise UnusableFileError("it is of another version of the agent, which has to run first")


def row_of(record: Record) -> tuple[Any, ...]:
    """The values of COLUMNS."""
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


def record_from(row: tuple[Any, ...]) -> Record:
    """The record in a row of COLUMNS. Raises DamagedRecordError when these are not the bytes that were stored."""
    seq, identity, created, attempts, refusals, next_try, parked, boot, mono, crc, body = row
    # The first schema had no checksum.
    sound = isinstance(body, bytes) and (crc is None or _checksum(identity, body) == crc)
    # What a damaged page makes of the other columns.
    numbers = _NUMBERS.issuperset(map(type, (created, attempts, refusals, next_try, mono or 0.0)))
    if not sound or not numbers or seq >= MAX_SEQ:
        raise DamagedRecordError(seq)
    return Record(seq, identity, body, created, attempts, refusals, next_try, parked, boot, mono or 0.0)


def _checksum(identity: object, body: bytes) -> int:
    return checksum(str(identity).encode(), body)
