"""Where days of counters and nights of inverters are kept for a restart. No state of the disk stops the agent.

- Damaged: the file is set aside and another begun. Every `save` writes all there is, so that one that is damaged or
  removed while the agent runs costs nothing.
- Full, read-only or away: what can be read of the file is used, and what is new goes there as soon as it can.
- A checksum guards every row.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog

from agent.domain import Night
from agent.energy.days import Basis, Day
from agent.energy.ledger import Ledger
from drivers.model import Quantity

log = structlog.get_logger(__name__)

_QUANTITIES = {quantity.value: quantity for quantity in Quantity}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger (node_id TEXT NOT NULL, quantity TEXT NOT NULL, ledger TEXT NOT NULL,
                                   PRIMARY KEY (node_id, quantity)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS night (node_id TEXT NOT NULL PRIMARY KEY, night TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""
BUSY_S = 5.0
# The file is as good as it was: the disk is full, read-only or failing, or somebody else is at it.
_PASSING = frozenset(
    {
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN),
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM),
    }
)


class EnergyStore:
    """One row per counter, and one per inverter. Thread-safe; `save` waits for the disk."""

    def __init__(self, path: Path, connection: sqlite3.Connection, inode: int | None) -> None:
        """`inode` is that of the file that `connection` writes to, None while it is in memory."""
        self._path = path
        self._db = connection
        self._inode = inode
        self._lock = threading.Lock()
        self._failing = False

    @classmethod
    def open(cls, path: Path) -> EnergyStore:
        """Open or begin the store; in memory, and saying so, where the disk does not let us."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls(path, _open(path), _inode(path))
        except (OSError, sqlite3.Error) as error:
            log.warning("energies_in_memory", path=str(path), reason=str(error))
        return cls(path, _in_memory(path), None)

    def load(self) -> dict[tuple[str, Quantity], Ledger]:
        """The ledgers by node id and quantity; a row that makes no sense is left out and reported."""
        ledgers = {}
        with self._lock:
            rows = self._db.execute("SELECT node_id, quantity, ledger FROM ledger").fetchall()
        for node_id, quantity, row in rows:
            try:
                ledgers[node_id, _QUANTITIES[quantity]] = _ledger(row)
            except (ValueError, TypeError, KeyError) as error:
                log.warning("energy_unreadable", node=node_id, quantity=quantity, reason=str(error))
        return ledgers

    def load_nights(self) -> dict[str, Night]:
        """The nights by node id, in Unix seconds; a row that makes no sense is left out and reported."""
        nights = {}
        with self._lock:
            rows = self._db.execute("SELECT node_id, night FROM night").fetchall()
        for node_id, row in rows:
            try:
                nights[node_id] = Night(*map(float, _unsealed(row)))
            except (ValueError, TypeError) as error:
                log.warning("night_unreadable", node=node_id, reason=str(error))
        return nights

    def save(self, ledgers: Mapping[tuple[str, Quantity], Ledger], nights: Mapping[str, Night] | None = None) -> None:
        """Keep these; a full or read-only disk is reported once."""
        rows = [(node_id, quantity.value, _row(ledger)) for (node_id, quantity), ledger in ledgers.items()]
        dark = [(node_id, _sealed(night)) for node_id, night in (nights or {}).items()]
        try:
            with self._lock:
                if self._inode is None or self._inode != _inode(self._path):
                    self._reopen()
                try:
                    self._write(rows, dark)
                except sqlite3.Error as error:
                    if not _means_damage(error):
                        raise
                    self._reopen()
                    self._write(rows, dark)
        except (OSError, sqlite3.Error) as error:
            (log.debug if self._failing else log.warning)("energies_not_saved", reason=str(error))
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _write(self, ledgers: list[tuple[str, str, str]], nights: list[tuple[str, str]]) -> None:
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO ledger VALUES (?, ?, ?)", ledgers)
            self._db.executemany("INSERT OR REPLACE INTO night VALUES (?, ?)", nights)

    def _reopen(self) -> None:
        """Take the file that is there now."""
        self._db.close()
        self._db, self._inode = _in_memory(self._path), None
        opened = _open(self._path)
        self._db.close()
        self._db, self._inode = opened, _inode(self._path)


def _open(path: Path) -> sqlite3.Connection:
    """The file at `path`; one that is damaged is set aside first. Raises OSError and sqlite3.Error."""
    try:
        return _connect(path)
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of a message that quotes the damaged file
        if not _means_damage(error):
            raise
        log.warning("energies_unreadable", path=str(path), reason=str(error))
    path.rename(path.with_name(path.name + ".damaged"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return _connect(path)


def _in_memory(path: Path) -> sqlite3.Connection:
    """What can be read of the file, while nothing can be written."""
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    log_file = path.with_name(path.name + "-wal")
    with contextlib.suppress(OSError, sqlite3.Error, UnicodeDecodeError):
        # SQLite wants a lock and a file beside the log, neither of which can be had on a disk that takes nothing.
        how = "vfs=unix-none" if log_file.exists() and log_file.stat().st_size else "immutable=1"
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&{how}", uri=True)) as disk:
            disk.execute("PRAGMA locking_mode = EXCLUSIVE")
            _require_sound(disk)
            disk.backup(memory)
    memory.text_factory = _text
    memory.executescript(_SCHEMA)
    return memory


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=BUSY_S)
    connection.text_factory = _text
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # needs no file for what is shared with nobody
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        _require_sound(connection)
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _require_sound(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"the file is damaged: {found}")


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "replace")


def _means_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return not isinstance(error, OSError) and (code is None or code & 0xFF not in _PASSING)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _sealed(values: tuple[object, ...]) -> str:
    """JSON behind its checksum."""
    text = json.dumps(values, allow_nan=False)
    return f"{_checksum(text)} {text}"


def _unsealed(row: str) -> list[Any]:
    checksum, _, text = row.partition(" ")
    if checksum != _checksum(text):
        raise ValueError("it is not what was stored")
    return list(json.loads(text))


def _row(ledger: Ledger) -> str:
    """All but what is not worth keeping."""
    return _sealed(ledger.bare())


def _ledger(row: str) -> Ledger:
    value, at, changed, total, day, before, *_ = _unsealed(row)
    yesterday = None if before is None else _day(before)
    return Ledger(float(value), float(at), float(changed), float(total), _day(day), yesterday)


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _day(row: list[Any]) -> Day:
    date, start, end, base, basis, believed = row
    return Day(str(date), float(start), float(end), float(base), Basis(basis), float(believed))
