"""SQLite files on a disk that may be full, read-only or failing: those of the queue and of the energies.

Functions raise sqlite3.Error and OSError.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from agent.storage.folder_lock import check_locks

PRIVATE = 0o600
"""The mode of the files that other modules create beside a database."""
BUSY_S = 5.0
"""Maximum seconds that a statement waits for a lock of another process."""
_CACHE_KIB = 512
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})


class UnusableFileError(sqlite3.DatabaseError):
    """The file is damaged, is not a database of this agent, or has the schema of another version of the agent."""


def code(error: BaseException) -> int | None:
    """Return the primary result code of SQLite; None if the error has no such code."""
    extended = getattr(error, "sqlite_errorcode", None)
    return None if extended is None else extended & 0xFF


def means_damage(error: BaseException) -> bool:
    """Whether the error means that the file cannot be used and must be replaced."""
    return isinstance(error, UnusableFileError) or code(error) in _DAMAGE


def is_full(error: BaseException) -> bool:
    """Whether the error means that the disk is full, or that the file has its maximum size."""
    return code(error) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC


def open_for_writing(
    path: Path, *, synchronous: Literal["FULL", "NORMAL"], exclusive: bool = False, busy_s: float = BUSY_S
) -> sqlite3.Connection:
    """Open or create the file in WAL mode, and check all of it.

    `synchronous` is the value of the PRAGMA of this name. With `exclusive`, no other process can use the file, and
    SQLite needs no `-shm` file.

    Raises sqlite3.Error if the file is damaged (`means_damage` is true), if the disk does not accept writes, or if
    another process holds a lock for `busy_s` seconds. Raises NotAloneError if another agent has locked the directory.
    """
    check_locks()
    db = _connect(_uri(path), exclusive=exclusive, busy_s=busy_s)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute("BEGIN IMMEDIATE")  # fails on a read-only disk
        db.execute("ROLLBACK")
        require_sound(db)
    except BaseException:
        db.close()
        raise
    return db


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open the file on a disk that accepts no writes. The changes in the write-ahead log are read too."""
    log = _log_of(path)
    # To read a write-ahead log, SQLite needs a lock and an `-shm` file. A read-only disk allows neither. With
    # `unix-none`, SQLite uses no locks, and in exclusive mode it needs no `-shm` file.
    how = "vfs=unix-none" if log.exists() and log.stat().st_size > 0 else "immutable=1"
    return _connect(f"{_uri(path)}?mode=ro&{how}", exclusive=True)


def open_existing(path: Path) -> sqlite3.Connection:
    """Open a file that another process may also use. Raises sqlite3.OperationalError if the file does not exist."""
    return _connect(f"{_uri(path)}?mode=rw")


def open_damaged(path: Path) -> sqlite3.Connection:
    """Open the file without any check, to read the parts that are not damaged."""
    return _connect(_uri(path))


def open_in_memory() -> sqlite3.Connection:
    """Open an empty database without a file."""
    return _connect(":memory:")


def require_sound(db: sqlite3.Connection) -> None:
    """Check the whole file. If it is damaged, raises an error for which `means_damage` is true."""
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise UnusableFileError(f"the file is damaged: {found}")


def pragma(db: sqlite3.Connection, name: str) -> int:
    """Return the value of a numeric PRAGMA."""
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit all changes of the block, or none of them if the block raises an error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
        raise


def in_place(opened: os.stat_result, path: Path) -> bool:
    """Whether `path` still names the file that was opened. True if the disk cannot be read."""
    try:
        return os.path.samestat(opened, path.stat())
    except FileNotFoundError:
        return False
    except OSError:
        return True


class WatchedFiles:
    """Detects that an open database, its write-ahead log or the index of the log (`-shm`) was removed or replaced."""

    def __init__(self, path: Path) -> None:
        """The database must be open. The log and the index are watched if they exist now."""
        self._path = path
        self._opened = path.stat()
        self._size = self._opened.st_size
        sides = [(each, each.stat()) for each in (_log_of(path), _index_of(path)) if each.exists()]
        self._all = [(path, self._opened), *sides]

    def size(self) -> int:
        """Return the size of the file in bytes.

        If the file was moved or removed, or cannot be read, return its last known size.
        """
        with contextlib.suppress(OSError):
            now = self._path.stat()
            if os.path.samestat(self._opened, now):
                self._size = now.st_size
        return self._size

    def missing(self) -> Path | None:
        """Return the first path (database, log, index) that does not name the open file any more, or None."""
        for path, opened in self._all:
            if not in_place(opened, path):
                return path
        return None

    def remove_sides(self) -> None:
        """Unlink the write-ahead log and the index if their paths still name the open files.

        Call this after the database was moved. Otherwise SQLite would use both files for the next database at the path.
        The open database still uses them until it is closed.
        """
        for path, opened in self._all[1:]:
            with contextlib.suppress(OSError):
                if in_place(opened, path):
                    path.unlink()

    def moved(self) -> bool:
        """Whether the path of the database no longer names the open file. False if the disk cannot be read."""
        return not in_place(self._opened, self._path)


def free_space(path: Path) -> int:
    """Return the free bytes on the disk of this file."""
    return shutil.disk_usage(path.parent).free


def keep_log_space(path: Path, size: int) -> None:
    """Allocate `size` bytes for the write-ahead log, so that it can be written when the disk is full.

    Errors are ignored.
    """
    with contextlib.suppress(OSError):
        handle = os.open(_log_of(path), os.O_RDWR | os.O_CLOEXEC)
        try:
            os.posix_fallocate(handle, 0, size)
        finally:
            os.close(handle)


def set_aside(path: Path, suffix: str) -> Path:
    """Append `suffix` to the name of the file, and rename its write-ahead log with it. Return the new path of the file.

    With the suffix ".bad", `q.db` becomes `q.db.bad`, and `q.db-wal` becomes `q.db.bad-wal`. Existing files with the
    new names are deleted first.
    """
    aside = path.with_name(path.name + suffix)
    remove(aside)
    rename(path, aside)
    return aside


def rename(path: Path, target: Path) -> None:
    """Rename the file and its write-ahead log, and delete the index of the log.

    If a power cut interrupts this, the same call completes it later.
    """
    _index_of(path).unlink(missing_ok=True)
    for source in _files(path):
        source.rename(target.with_name(target.name + source.name.removeprefix(path.name)))


def remove(path: Path) -> None:
    """Delete the file and its write-ahead log. A file that does not exist is no error."""
    for file in _files(path):
        file.unlink()


def sync_folder(folder: Path) -> None:
    """Make the renames and deletions in this directory survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checksum(*parts: bytes) -> int:
    """Return the CRC-32 of the concatenated parts."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


def _connect(name: str, *, exclusive: bool = False, busy_s: float = BUSY_S) -> sqlite3.Connection:
    """Open a connection. Transactions begin and end only with explicit statements."""
    db = sqlite3.connect(
        name,
        uri=True,
        check_same_thread=False,
        timeout=busy_s,
        isolation_level=None,
        factory=_Connection,
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


class _Connection(sqlite3.Connection):
    """Replaces errors of statements, so that `means_damage` is true for a damaged file and for another schema."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        try:
            return super().execute(*arguments)
        except (UnicodeDecodeError, sqlite3.OperationalError) as error:
            raise _explained(error) from error

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        try:
            return super().executemany(*arguments)
        except (UnicodeDecodeError, sqlite3.OperationalError) as error:
            raise _explained(error) from error


def _explained(error: UnicodeDecodeError | sqlite3.OperationalError) -> Exception:
    # SQLite's message quotes bytes of the damaged file. Python cannot decode the message if they are not UTF-8.
    if isinstance(error, UnicodeDecodeError):
        return UnusableFileError("the file is damaged")
    return UnusableFileError(str(error)) if code(error) == sqlite3.SQLITE_ERROR else error


def _text(stored: bytes) -> str:
    """Decode without errors, so that one damaged record does not prevent the reading of the others. Its checksum shows
    the damage."""
    return stored.decode("utf-8", "replace")


def _uri(path: Path) -> str:
    return f"file:{quote(str(path))}"


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _index_of(path: Path) -> Path:
    return path.with_name(path.name + "-shm")


def _files(path: Path) -> list[Path]:
    """Return the write-ahead log and the file, if they exist.

    The log comes first, because `rename` must move it first. If the file came first, a power cut could leave it at the
    new path without its log, so without a part of its data. A log at the new path without its file is harmless.
    """
    return [file for file in (_log_of(path), path) if file.exists()]
