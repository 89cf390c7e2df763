"""SQLite as the queue uses it: how a file is opened, and what its errors say about the file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

_BUSY_TIMEOUT_S = 5.0
_CACHE_KIB = 512


class UnusableFileError(sqlite3.DatabaseError):
    """Damaged, somebody else's, or written by a later version of the agent."""


def code(error: BaseException) -> int | None:
    """SQLite's primary result code."""
    extended = getattr(error, "sqlite_errorcode", None)
    return None if extended is None else extended & 0xFF


def means_damage(error: BaseException) -> bool:
    """The file has to be replaced."""
    return isinstance(error, UnusableFileError) or code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def has_log(path: Path) -> bool:
    """Whether the file was not closed well, so that the newest part of it stands in the log."""
    log = log_of(path)
    return log.exists() and log.stat().st_size > 0


def log_of(path: Path) -> Path:
    """SQLite's write-ahead log beside a file."""
    return path.with_name(path.name + "-wal")


def pragma(db: sqlite3.Connection, name: str) -> int:
    """The value of a setting that is a number."""
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def connect(name: str, *, uri: bool = False, exclusive: bool = False) -> sqlite3.Connection:
    """`name` is a path or, with `uri`, a file: URI; the caller begins and ends transactions."""
    db = sqlite3.connect(
        name, uri=uri, check_same_thread=False, timeout=_BUSY_TIMEOUT_S, isolation_level=None, factory=_Connection
    )
    db.text_factory = _text
    try:
        if exclusive:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except BaseException:
        db.close()
        raise
    return db


def _text(stored: bytes) -> str:
    """Whatever stands there: checksums tell, and one damaged record must not hide the others."""
    return stored.decode("utf-8", "replace")


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
